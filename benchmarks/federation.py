"""Measure the local grid and the client's training against other simulators and a plain loop.

`make peers` installs BlazeFL and pfl, which are compared where they are there. Each comparison is
of two sides on this machine, measured in turn. Writes OUTPUT.csv, OUTPUT.md, OUTPUT.svg, OUTPUT.png
and OUTPUT_profile.md; leave the machine alone meanwhile. --page only writes what OUTPUT.csv says
into docs/federation.md and README.md.
"""

import argparse
import os
import sys
import tempfile
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "workflow"), str(HERE)]
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before flwr is imported, which reads it

from bench_grid import (  # noqa: E402
    ceiling_part,
    memory_part,
    overhead_part,
    startup_part,
    workers_part,
)
from bench_page import write_pages  # noqa: E402
from bench_parts import PEERS, Bench, Part  # noqa: E402
from bench_report import FAILED, Result, measured, write_profile, write_report  # noqa: E402
from bench_runtimes import runtime_parts  # noqa: E402
from bench_steps import loop_part, peak_part, profile, torchs_part  # noqa: E402
from bench_work import environment, say, works  # noqa: E402

PROFILE = "profile"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--repeats", type=int, default=3, help="pairs of A and B (default: %(default)s)")
    add(
        "--only",
        nargs="+",
        metavar="NAME",
        help="parts whose names start so, as loop, peers/light",
    )
    add(
        "--peers-python",
        default=str(PEERS),
        metavar="PYTHON",
        help="interpreter that has benchmarks/peers.txt and this project's packages "
        "(default: that of `make peers`)",
    )
    add("--output", default="benchmarks/federation", help="start of the files' names")
    add(
        "--smoke",
        action="store_true",
        help="shrink everything: does it run? The numbers mean nothing",
    )
    add("--page", action="store_true", help="write the pages from OUTPUT.csv; measure nothing")
    args = parser.parse_args()
    if args.smoke:
        args.repeats = 1
    if args.repeats < 1:
        parser.error("--repeats: expected at least 1")
    return args


def all_parts(bench: Bench) -> list[Part]:
    """All parts, in the order of the report."""
    return [
        peak_part(bench),
        loop_part(bench),
        torchs_part(bench),
        workers_part(bench),
        ceiling_part(bench),
        overhead_part(bench),
        *runtime_parts(bench),
        memory_part(bench),
        startup_part(bench),
    ]


def main() -> int:
    """Measure, write, and return 1 when a part failed; what is not installed is no failure."""
    args = parse()
    if args.page:
        write_pages(f"{args.output}.csv")
        return 0
    results: list[Result] = []
    with (
        tempfile.TemporaryDirectory(prefix="federation-") as folder,
        environment(uuid.uuid4().hex) as end,
    ):
        bench = Bench(works(args.smoke), Path(folder), end, args.smoke, args.peers_python)
        parts = all_parts(bench)
        names = [part.name for part in parts] + [PROFILE]
        chosen = [n for n in names if any(n.startswith(start) for start in args.only or [""])]
        if not chosen:
            sys.exit(f"--only: no part's name starts so; there are {', '.join(names)}")
        for part in parts:
            if part.name in chosen:
                say(part.name)
                results += measured(part, args.repeats)
        if results:
            Path(args.output).parent.mkdir(parents=True, exist_ok=True)
            peak = next((max(a for a, _ in r.pairs) for r in results if r.row.name == "peak"), None)
            write_report(args.output, results, args.repeats, args.smoke, peak, bench.notes)
        if PROFILE in chosen:
            say(PROFILE)
            write_profile(args.output, profile(bench))
    return int(any(result.trouble.startswith(FAILED) for result in results))


if __name__ == "__main__":
    sys.exit(main())
