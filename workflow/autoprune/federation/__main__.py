"""Train one run: federated rounds of a method on a partitioned data set, on the local grid."""

import argparse
import logging
import os
from collections.abc import Sequence

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # before flwr is imported, which reads it

from flwr.app import Context, RecordDict

from autoprune import methods
from autoprune.core.errors import InputError, run_main
from autoprune.data.partition import Partition
from autoprune.federation import client_app, simulation
from autoprune.federation.interruption import Interrupted
from autoprune.federation.local_grid import RUN_ID, LocalGrid
from autoprune.federation.server_app import app
from autoprune.federation.settings import Settings
from autoprune.federation.strategy import TooFewClients

# imported, not only named: the client's code is part of this stage's code version
CLIENT_APP = f"{client_app.__name__}:app"


def parser_of_run() -> argparse.ArgumentParser:
    """The flags that every method has; they are the fields of ``Settings``."""
    parser = argparse.ArgumentParser(prog="autoprune.federation", description=__doc__)
    add = parser.add_argument
    add("--dataset", required=True, help="name in the results")
    add(
        "--stands-for",
        default="none",
        choices=("none", "femnist", "celeba"),
        help="the paper's data set that this one is, or stands in for",
    )
    add("--store", required=True, help="folder of the client store")
    add("--partition", required=True, help="folder of the partition")
    add("--target", required=True, help="what is predicted, one of the store's targets")
    add("--model", required=True, help="network family")
    add("--widths", type=int, nargs="+", required=True, help="filters, before pruning")
    add("--method", required=True, help="what the server does between rounds")
    add("--variant", required=True, help="variant of the method")
    add("--like", default="", help="the method's own variant, where --variant is another name")
    add("--seed", type=int, required=True)
    add("--rounds", type=int, required=True, help="federated rounds, the search included")
    add("--clients-per-round", type=int, required=True, help="size of a cohort")
    add("--local-epochs", type=int, required=True, help="epochs a client trains in a round")
    add("--batch-size", type=int, required=True, help="images")
    add("--learning-rate", type=float, required=True, help="Adam's")
    add("--epsilon", type=float, required=True, help="Adam's")
    add("--precision", default="fp32", help="of the clients' arithmetic: fp32, or bf16 autocast")
    add(
        "--optimizer-state",
        default="fresh",
        help="fresh at every client, or carried from client to client within a round",
    )
    add(
        "--batch-norm",
        default="refreshed",
        help="its statistics in evaluations: refreshed by the cohort, or averaged from training",
    )
    add("--min-clients", type=int, default=1, help="usable replies that a round needs")
    add("--evaluate-every", type=int, required=True, help="rounds between validations")
    add("--checkpoint-every", type=int, required=True, help="rounds between checkpoints")
    add("--backend", default="local", choices=("local", "simulation"), help="the grid to run on")
    add("--workers", type=int, default=1, help="client processes; 1 trains in this process")
    add("--torch-threads", type=int, default=1, help="of each process; not the scheduler's threads")
    add("--output", required=True, help="folder for the run's files")
    return parser


def settings_of(argv: Sequence[str] | None) -> tuple[Settings, argparse.Namespace]:
    """The run's settings, and all flags, from the command line; raises InputError."""
    parser = parser_of_run()
    known, _ = parser.parse_known_args(argv)
    methods.load(known.method).add_arguments(parser)
    args = parser.parse_args(argv)
    if args.workers < 1:
        raise InputError(f"workers: found {args.workers}, expected at least 1")
    values = vars(args).copy()
    for how in ("backend", "workers"):  # how a run goes is no setting of it
        del values[how]
    own = Settings.__dataclass_fields__.keys() - {"method_settings"}
    values["widths"] = tuple(values["widths"])
    method_settings = {name: values.pop(name) for name in list(values) if name not in own}
    return Settings(**values, method_settings=method_settings), args


def main(argv: Sequence[str] | None) -> None:
    """The command: run the ServerApp on a grid of the partition's clients."""
    settings, args = settings_of(argv)
    logging.getLogger("flwr").setLevel(logging.ERROR)  # our own line a round says more
    clients = Partition.open(settings.partition).clients
    try:
        if args.backend == "simulation":
            simulation.run(settings.run_config(), clients, args.workers)
        else:
            run_locally(settings, clients, args.workers)
    except TooFewClients as failure:
        raise InputError(f"{settings.output}: {failure}") from failure
    except Interrupted as interruption:
        raise InputError(f"{settings.output}: stopped by {interruption}") from interruption


def run_locally(settings: Settings, clients: int, workers: int) -> None:
    """Run the ServerApp on a LocalGrid, its workers ended afterwards."""
    run_config = settings.run_config()
    with LocalGrid(CLIENT_APP, clients, run_config, workers=workers) as grid:
        app(grid, Context(RUN_ID, 0, {}, RecordDict(), run_config))


if __name__ == "__main__":
    run_main(main)
