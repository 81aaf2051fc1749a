"""Stage: the rule on random networks, nothing learnt, many times over: how much it prunes alone."""

import argparse
import csv
import io
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from autoprune.data.store import ClientStore
from autoprune.errors import InputError, run_main
from autoprune.files import write_text
from autoprune.models import Architecture, count_parameters, new_network
from autoprune.pruning.plan import Plan
from autoprune.pruning.search import advance, searching
from autoprune.seeds import torch_seed

COLUMNS = ("draw", "parameters_with_statistics", "rounds", "widths")


def draws(
    base: Architecture, number: int, seed: int, k: float, patience: int, cap: int
) -> Iterator[tuple[int, int, int, str]]:
    """Of each draw: its number, the final parameters, the search's last round, the final widths.

    Each is a whole search in which every decision is made on a fresh random network of the
    current widths: exactly null-norms/reinit without the training, which changes nothing there.
    """
    for draw in range(number):
        own = torch_seed(seed, "null-draw", draw) % 2**31
        plan = Plan(base, "reinit", own, k, patience, cap, norms="null")
        architecture, network = base, new_network(base, own)
        server_round = 1
        while server_round < cap and (server_round == 1 or searching(plan, server_round)):
            server_round += 1
            architecture, network = advance(plan, server_round, architecture, network)
        widths = " ".join(map(str, architecture.widths))
        yield draw, count_parameters(network)[1], server_round, widths


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", required=True, help="folder of the client store: image shape")
    parser.add_argument("--target", required=True, help="what is predicted: number of classes")
    parser.add_argument("--model", required=True, help="network family")
    parser.add_argument("--widths", type=int, nargs="+", required=True, help="before pruning")
    parser.add_argument("--k", type=float, required=True, help="boundary, standard deviations")
    parser.add_argument("--patience", type=int, required=True, help="rounds")
    parser.add_argument("--cap", type=int, required=True, help="rounds")
    parser.add_argument("--draws", type=int, required=True, help="searches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, help="CSV, a row a draw")
    args = parser.parse_args(argv)
    for name in ("draws", "patience", "cap"):
        if getattr(args, name) < 1:
            raise InputError(f"--{name}: found {getattr(args, name)}, expected at least 1")
    store = ClientStore.open(args.store)
    height, width, channels = store.shape
    classes = len(store.classes(args.target))
    base = Architecture(args.model, tuple(args.widths), (channels, height, width), classes)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    found = draws(base, args.draws, args.seed, args.k, args.patience, args.cap)
    writer.writerows(tqdm(found, total=args.draws, desc="draws", disable=None))
    write_text(args.output, stream.getvalue())


if __name__ == "__main__":
    run_main(main)
