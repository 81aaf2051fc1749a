"""Measure how fast and in how much memory full-size data become a store, and how that is read.

The data are generated in TensorFlow Federated's layout (make_full_size.py). Each comparison
is of two sides on this machine, measured in turn. Writes OUTPUT.csv, OUTPUT.md, OUTPUT.svg and
OUTPUT.png; leave the machine alone meanwhile. At full size it needs 15 GB of disk.
"""

import argparse
import csv
import io
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "workflow"), str(HERE)]
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])  # of the sides, which are processes
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before flwr is imported, which reads it

from bench_preparation import PreparationBench  # noqa: E402
from bench_report import HEADER, Result, draw, measured, where  # noqa: E402
from bench_work import say  # noqa: E402
from make_full_size import SIZES  # noqa: E402
from tabulate import tabulate  # noqa: E402

from autoprune.core.files import write_text  # noqa: E402

SMOKE = 0.01  # share of the full size


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="pairs of A and B (default: %(default)s)")
    add("--only", nargs="+", choices=SIZES, default=list(SIZES), help="data sets (default: all)")
    add("--output", default="benchmarks/preparation", help="start of the files' names")
    add("--scratch", type=Path, help="folder for the data (default: the system's)")
    add(
        "--smoke",
        action="store_true",
        help="a hundredth of the size, once: does it run? The numbers mean nothing",
    )
    args = parser.parse_args()
    if args.smoke:
        args.repeats = 1
    if args.repeats < 1:
        parser.error("--repeats: expected at least 1")
    return args


def write_report(args: argparse.Namespace, results: list[Result]) -> None:
    """The table as CSV and Markdown, and the ratios as a plot."""
    table = [result.cells() for result in results]
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([HEADER, *table])
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    write_text(f"{args.output}.csv", stream.getvalue())
    lines = [
        "# Benchmark of the preparation",
        "",
        *(["A smoke run: the numbers mean nothing.", ""] if args.smoke else []),
        f"{where()}. {args.repeats} interleaved pairs of A and B; the ratio is how many times "
        "better A is, the median of the pairs with their least and most. The file was just "
        "written and may be in the page cache for both sides. "
        "Memory is that of all processes together. A sorts, divides and checks the data and "
        "computes a checksum; B does none of it. The kernel reads on beyond what is touched.",
        "",
        tabulate(table, HEADER, tablefmt="github", disable_numparse=True),
    ]
    write_text(f"{args.output}.md", "\n".join(lines) + "\n")
    draw(args.output, [result for result in results if result.ratios])


def main() -> int:
    """Measure, write, and return 1 when a part failed."""
    args = parse()
    results: list[Result] = []
    for kind in args.only:
        with tempfile.TemporaryDirectory(prefix="preparation-", dir=args.scratch) as folder:
            say(kind)
            bench = PreparationBench(kind, Path(folder), SMOKE if args.smoke else 1)
            results += measured(bench.part(), args.repeats)
    write_report(args, results)
    return int(any(result.trouble for result in results))


if __name__ == "__main__":
    sys.exit(main())
