"""``python -m autoprune.android``: logs of phone benchmark tools, and sessions made of them."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from autoprune.android import check, import_logs
from autoprune.android.logs import parse
from autoprune.android.session import read_log
from autoprune.errors import run_main


def main(argv: Sequence[str] | None) -> None:
    """The command: ``parse`` a log, ``import-logs`` into a session, ``check`` sessions."""
    parser = argparse.ArgumentParser(prog="python -m autoprune.android", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("parse", help="print a log's measurement as JSON, times in ms")
    one.add_argument(
        "log",
        type=Path,
        help="of benchmark_model, onnxruntime_perf_test, executor_runner, or minibench's JSON",
    )
    import_logs.add_parser(commands)
    check.add_parser(commands)
    args = parser.parse_args(argv)
    if args.command == "import-logs":
        import_logs.main(args)
    elif args.command == "check":
        check.main(args)
    else:
        print(json.dumps(parse(read_log(args.log), str(args.log)).to_json()))


if __name__ == "__main__":
    run_main(main)
