"""Stage: did a number move? A study's results against a reference, or a study made twice.

    python -m autoprune.check.verify --results results/ci --reference tests/reference
    python -m autoprune.check.verify --results results/ci --reference tests/reference --record
    python -m autoprune.check.verify --twice --configfile config/ci.yaml --cores 1 8

Exit code 0: the same; 1: something moved, or other library versions; 2: no comparison was possible.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from autoprune.check.causes import Causes, causes, stale
from autoprune.check.compare import Comparison, Tolerances, compare
from autoprune.check.reference import Record, gather, read, write
from autoprune.check.report import SAME, SHOWN, report, verdict
from autoprune.check.twice import twice
from autoprune.core.errors import InputError, run_main

NO_REFERENCE = (
    "no reference to compare with (config: verify.reference is null); record one with: "
    "python -m autoprune.check.verify --record --results {results} --reference FOLDER, and set it "
    "there"
)


def parser_of_verify() -> argparse.ArgumentParser:
    """The command line's flags."""
    parser = argparse.ArgumentParser(
        prog="autoprune.check.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--results", default="results", metavar="DIR", help="a finished study")
    add("--reference", metavar="DIR", help="the reference's folder")
    add("--record", action="store_true", help="make the results the reference")
    add("--overwrite", action="store_true", help="with --record: replace the reference there is")
    add("--any-versions", action="store_true", help="other library versions are no failure")
    add("--all", action="store_true", help=f"show every change, not the first {SHOWN}")
    add("--twice", action="store_true", help="run a study in two folders and compare all bytes")
    add("--configfile", nargs="+", action="extend", help="with --twice: the study (ci.yaml)")
    add("--cores", type=int, nargs=2, default=[1, 8], help="with --twice: of each (default 1 8)")
    add("--keep", action="store_true", help="with --twice: leave the two folders where they are")
    return parser


def judge(
    reference: Record, results: Record, args: argparse.Namespace
) -> tuple[Comparison, Causes, str]:
    """Comparison, causes and the report's text."""
    why, tolerances = causes(reference, results), Tolerances()
    found = compare(reference, results, not why.platform, tolerances)
    text = report(found, why, tolerances, args.any_versions, None if args.all else SHOWN)
    return found, why, text


def check(results: Path, reference: Path, args: argparse.Namespace) -> int:
    """Compare, print, and return the exit code."""
    found, why, text = judge(read(reference), gather(results), args)
    print(f"Results {results} against the reference {reference}\n\n{text}")
    return int(verdict(found, why, args.any_versions) != SAME)


def record(results: Path, reference: Path, args: argparse.Namespace) -> int:
    """Make the results the reference, saying what that changes; raises InputError."""
    new = gather(results)
    if notes := stale(new):  # the digests of modules would be those of other code
        raise InputError(f"{results}: {notes[0]}; nothing was recorded")
    if reference.is_dir() and any(reference.iterdir()):
        try:
            print(f"Against the reference there is:\n\n{judge(read(reference), new, args)[2]}\n")
        except InputError as error:
            print(f"The reference there is cannot be read: {error}\n")
    write(new, reference, args.overwrite)
    rows = sum(map(len, new.tables.values()))
    print(f"{reference}: recorded {len(new.tables['runs'])} runs, {rows} rows; commit the folder")
    return 0


def act(args: argparse.Namespace) -> int:
    """What the flags ask for; returns the exit code. Raises InputError."""
    if args.twice:
        # the default action would leave the study running, and its folders
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return twice(args.configfile or ["config/ci.yaml"], args.cores, args.keep)
    if args.reference is None:
        raise InputError(NO_REFERENCE.format(results=args.results))
    action = record if args.record else check
    return action(Path(args.results), Path(args.reference), args)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line: see ``--help``. Returns the exit code; wrong input is one line and 2."""
    try:
        return act(parser_of_verify().parse_args(argv))
    except InputError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2


if __name__ == "__main__":
    run_main(lambda argv: sys.exit(main(argv)))
