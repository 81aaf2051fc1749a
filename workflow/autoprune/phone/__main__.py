"""``python -m autoprune.phone``: measure on a phone; logs, and sessions that are made of them."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from autoprune.core.errors import run_main
from autoprune.phone import import_logs, lab_request, measure
from autoprune.phone.exported import read_models
from autoprune.phone.raw import read_run
from autoprune.phone.session import read_sessions


def main(argv: Sequence[str] | None) -> None:
    """``measure`` on a phone, ``parse`` a log, ``import-logs`` into a session, ``check`` one;
    ``lab-request`` for a phone of a lab's."""
    parser = argparse.ArgumentParser(prog="python -m autoprune.phone", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("parse", help="print a log's measurement as JSON, times in ms")
    one.add_argument(
        "log",
        type=Path,
        help="of benchmark_model, onnxruntime_perf_test, executor_runner; or minibench's JSON, or "
        "a lab's results.pb",
    )
    measure.add_parser(commands)
    import_logs.add_parser(commands)
    lab_request.add_parser(commands)
    several = commands.add_parser(
        "check",
        help="say whether sessions of phone runs are right, and what they come to",
        description="Check sessions before you hand them in; docs/how-to/hand-in-measurements.md.",
    )
    several.add_argument("sessions", nargs="+", type=Path, metavar="SESSION", help="folders")
    several.add_argument(
        "--manifests", nargs="*", type=Path, default=[],
        help="of the exports that were measured; without them no run is held against its network",
    )  # fmt: skip
    args = parser.parse_args(argv)
    match args.command:
        case "parse":
            print(json.dumps(read_run(args.log).to_json()))
        case "check":
            check(args)
        case "measure":
            measure.main(args)
        case "import-logs":
            import_logs.main(args)
        case "lab-request":
            lab_request.main(args)


def check(args: argparse.Namespace) -> None:
    """Say what sessions come to; InputError names file, line and column of what is wrong."""
    from autoprune.phone.summary import summary  # pandas and scipy: not for other commands

    sessions = read_sessions(args.sessions, read_models(args.manifests))
    print("\n\n".join(map(summary, sessions)))
    if not args.manifests:
        print("\nNot held against the exports: give their --manifests for that.")


if __name__ == "__main__":
    run_main(main)
