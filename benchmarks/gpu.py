"""Measure clients a second on one GPU: the local grid against Flower's runtime on the same GPU.

The six pairs of config/paper.yaml on random images, ragged clients of about the data sets' mean
size. Then whether a run's files are the same bytes with one worker and with several, and what the
hours of config/paper.yaml come to at this speed. Writes OUTPUT.csv and OUTPUT.md; leave the machine
alone meanwhile.
"""

import argparse
import os
import statistics
import sys
import tempfile
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "workflow"), str(HERE)]
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before flwr is imported, which reads it

import pandas as pd  # noqa: E402
from bench_parts import Bench, CannotRun, same_work, seconds  # noqa: E402
from bench_report import where  # noqa: E402
from bench_work import Work, environment, make_data, progress, say  # noqa: E402

from autoprune.core.errors import InputError  # noqa: E402
from autoprune.core.files import sha256_file, write_text  # noqa: E402
from autoprune.federation import device  # noqa: E402
from autoprune.study.grid import read_config, runs_of  # noqa: E402

PAPER = HERE.parent / "config/paper.yaml"
# training images a client, on average, shape and classes: docs/data.md
DATA = {"femnist": (198, 28, 1, 62), "celeba": (21, 84, 3, 2)}
ROUNDS = 3  # timed ones of a measurement


@dataclass(frozen=True)
class Scale:
    """How much is measured: clients there are, repeats, rounds of the runs that are compared."""

    clients: int
    repeats: int
    rounds: int


FULL, QUICK = Scale(100, 3, 3), Scale(6, 1, 2)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--device", choices=["cuda", "cpu"], default="cuda", help="cpu only to try the script")
    add("--workers", type=int, default=4, help="client processes on the GPU (default: %(default)s)")
    add("--only", nargs="+", metavar="PAIR", help="these pairs of config/paper.yaml")
    add("--without-flower", action="store_true", help="leave out Flower's runtime")
    add("--quick", action="store_true", help="shrink everything: does it run? Numbers mean nothing")
    add("--output", default="benchmarks/gpu", help="start of the files' names")
    return parser.parse_args()


def works(args: argparse.Namespace) -> dict[str, Work]:
    """The pairs of config/paper.yaml as works, on the device that is measured."""
    config, found = read_config([PAPER]), {}
    for name in config["study"]:
        pair = config["pairs"][name]
        samples, side, channels, classes = DATA[pair["dataset"]]
        work = Work(
            *(pair["dataset"], FULL.clients, samples, side, channels, classes),
            cohort=pair["clients_per_round"],
            epochs=pair["local_epochs"],
            widths=tuple(pair["widths"]),
            family=pair["model"],
            device=args.device,
        )
        if args.quick:
            small = {"clients": QUICK.clients, "samples": 10, "cohort": 4, "epochs": 1}
            work = replace(work, **small)
        found[name] = work
    unknown = [name for name in args.only or () if name not in found]
    if unknown:
        sys.exit(f"--only: {unknown[0]}: no such pair; there are {', '.join(found)}")
    return {name: found[name] for name in args.only or found}


def ragged(work: Work) -> list[int]:
    """Images of each client, about the mean: their last batches are of many sizes."""
    return [max(2, work.samples + offset % 41 - 20) for offset in range(0, 13 * work.clients, 13)]


def rates(
    bench: Bench, name: str, args: argparse.Namespace, repeats: int
) -> list[dict[str, object]]:
    """Clients a second of a pair on both grids, in turn; a row each."""
    work, rows = bench.works[name], []
    how = {"workers": args.workers, "rounds": 1 if args.quick else ROUNDS}
    share = 1 / args.workers if args.device == device.CUDA else 0.0
    sides: dict[str, dict[str, object]] = {"local grid": {}}
    if not args.without_flower:
        sides["Flower"] = {"grid": "flower", "client_cpus": 1, "client_gpus": share}
    for repeat in range(repeats):
        answers = {}
        for side, more in sides.items():
            answers[side] = answer = bench.rounds(name, warm_up=work.cohort, **how, **more)
            rate = work.cohort / seconds(answer)
            say(f"  {repeat + 1}/{repeats} {name}, {side}: {rate:.4g} clients/s")
            rows.append({"pair": name, "side": side, "repeat": repeat, "clients_per_second": rate})
        if len(answers) > 1:
            same_work(answers["Flower"], answers["local grid"], "fp32")
    return rows


def same_bytes(bench: Bench, name: str, workers: int, rounds: int) -> bool:
    """Whether a run's files are equal with one worker and with several."""
    found = []
    for number in (1, workers):
        output = bench.folder / f"{name}-{number}"
        settings = bench.works[name].settings(bench.folder, "fp32")
        settings = settings.model_copy(update={"output": str(output), "rounds": rounds})
        for _, line in progress(settings, number):
            say(line.rstrip())
        found.append({path.name: sha256_file(path) for path in sorted(output.iterdir())})
    return found[0] == found[1]


def hours(name: str, rate: float) -> float:
    """Hours of all runs of a pair of config/paper.yaml, as if no network shrank."""
    config = read_config([PAPER])
    pair = config["pairs"][name]
    clients = pair["rounds"] * pair["clients_per_round"]
    return sum(run.pair == name for run in runs_of(config)) * clients / rate / 3600


def page(rows: pd.DataFrame, equal: dict[str, bool], args: argparse.Namespace) -> str:
    """The measurements as markdown."""
    told = device.facts(args.device).get("gpu", "no GPU")
    lines = [f"# One GPU: {told}" if args.device == device.CUDA else "# A trial without a GPU", ""]
    lines += [f"{where()}. `benchmarks/gpu.py`, {args.workers} workers, median of the repeats.", ""]
    if args.quick or args.device != device.CUDA:
        lines += ["A trial: the numbers mean nothing.", ""]
    table = []
    for name, of_pair in rows.groupby("pair", sort=False):
        sides = {side: list(part["clients_per_second"]) for side, part in of_pair.groupby("side")}
        ours, theirs = sides["local grid"], sides.get("Flower")
        ratios = [one / other for one, other in zip(ours, theirs or (), strict=False)]
        rate = statistics.median(ours)
        row = {"pair": name, "local grid, clients/s": f"{rate:.4g}"}
        row["Flower's runtime, clients/s"] = f"{statistics.median(theirs):.4g}" if theirs else "-"
        row["ratio"] = f"{min(ratios):.3g} to {max(ratios):.3g}" if ratios else "-"
        row[f"same bytes, 1 and {args.workers} workers"] = "yes" if equal[name] else "NO"
        row["hours of config/paper.yaml"] = f"{hours(name, rate):.2g}"
        table.append(row)
    lines += [pd.DataFrame(table).to_markdown(index=False, disable_numparse=True), ""]
    total = sum(float(row["hours of config/paper.yaml"]) for row in table)
    lines += [
        f"Hours are of all runs of a pair, one after the other, {total:.2g} together: training"
    ]
    lines += ["as if no network shrank, and no evaluation.", ""]
    return "\n".join(lines)


def main() -> int:
    """Measure and write; 1 where two runs differ, 2 where there is no GPU."""
    args = parse()
    try:
        device.resolved(args.device)
    except InputError as error:
        print(f"gpu.py: {error}; nothing was measured", file=sys.stderr)
        return 2
    scale = QUICK if args.quick else FULL
    rows, equal = [], {}
    with (
        tempfile.TemporaryDirectory(prefix="gpu-") as folder,
        environment(uuid.uuid4().hex) as end,
    ):
        bench = Bench(works(args), Path(folder), end, args.quick)
        for work in {work.data: work for work in bench.works.values()}.values():
            make_data(bench.folder, work, sizes=ragged(work))
        for name in bench.works:
            try:
                rows += rates(bench, name, args, scale.repeats)
            except CannotRun as reason:
                print(f"gpu.py: {reason}; --without-flower goes without", file=sys.stderr)
                return 2
            equal[name] = same_bytes(bench, name, args.workers, scale.rounds)
            say(f"  {name}: {'the same' if equal[name] else 'OTHER'} bytes")
    table = pd.DataFrame(rows)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    write_text(f"{args.output}.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(f"{args.output}.md", page(table, equal, args))
    print(f"{args.output}.md")
    return int(not all(equal.values()))


if __name__ == "__main__":
    sys.exit(main())
