"""Measure the local grid and the client's training against Flower's runtime and a plain loop.

Each comparison is of two sides on this machine, measured in turn. Writes OUTPUT.csv, OUTPUT.md,
OUTPUT.svg, OUTPUT.png and OUTPUT_profile.md; leave the machine alone meanwhile.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "workflow"), str(HERE)]
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before flwr is imported, which reads it

from bench_parts import Bench, CannotRun, Pair, Part  # noqa: E402
from bench_report import Result, write_profile, write_report  # noqa: E402
from bench_work import environment, make_data, say, works  # noqa: E402

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
        help="parts whose names start so, as loop, flower/light",
    )
    add("--output", default="benchmarks/federation", help="start of the files' names")
    add(
        "--smoke",
        action="store_true",
        help="shrink everything: does it run? The numbers mean nothing",
    )
    args = parser.parse_args()
    if args.smoke:
        args.repeats = 1
    if args.repeats < 1:
        parser.error("--repeats: expected at least 1")
    return args


def measured(part: Part, repeats: int) -> list[Result]:
    """A part's results; a failure is one too, and is told with its traceback."""
    pairs: dict[str, list[Pair]] = {row.name: [] for row in part.rows}
    trouble = ""
    started = time.perf_counter()
    try:
        with part.open() as measure:
            for repeat in range(repeats):
                for name, pair in measure().items():
                    pairs[name].append(pair)
                    b = "" if pair[1] is None else f"  B {pair[1]:.4g}"
                    say(f"  {repeat + 1}/{repeats} {name}: A {pair[0]:.4g}{b}")
    except CannotRun as reason:
        trouble = f"cannot run: {reason}"
        say(f"  {trouble}")
    except Exception as error:  # the other parts can still be measured; the exit status tells
        trouble = f"failed: {(str(error).splitlines() or [type(error).__name__])[-1]}"
        say(traceback.format_exc())
    say(f"  {time.perf_counter() - started:.0f} s")
    return [Result(row, pairs[row.name], trouble) for row in part.rows]


def main() -> int:
    """Measure, write, and return 1 when a part failed."""
    args = parse()
    results: list[Result] = []
    with (
        tempfile.TemporaryDirectory(prefix="federation-") as folder,
        environment(uuid.uuid4().hex) as end,
    ):
        bench = Bench(works(args.smoke), Path(folder), end, args.smoke)
        parts = bench.parts()
        names = [part.name for part in parts] + [PROFILE]
        chosen = [n for n in names if any(n.startswith(start) for start in args.only or [""])]
        if not chosen:
            sys.exit(f"--only: no part's name starts so; there are {', '.join(names)}")
        for work in {work.data: work for work in bench.works.values()}.values():
            make_data(bench.folder, work)
        for part in parts:
            if part.name in chosen:
                say(part.name)
                results += measured(part, args.repeats)
        if results:
            Path(args.output).parent.mkdir(parents=True, exist_ok=True)
            write_report(args.output, results, args.repeats, args.smoke)
        if PROFILE in chosen:
            say(PROFILE)
            write_profile(args.output, bench.profile())
    return int(any(result.trouble for result in results))


if __name__ == "__main__":
    sys.exit(main())
