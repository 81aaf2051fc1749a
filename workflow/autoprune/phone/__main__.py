"""``python -m autoprune.phone``: measure on a phone; logs, and sessions that are made of them."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from autoprune.core.errors import run_main
from autoprune.phone import check, import_logs, measure
from autoprune.phone.logs import parse
from autoprune.phone.session import read_log


def main(argv: Sequence[str] | None) -> None:
    """``measure`` on a phone, ``parse`` a log, ``import-logs`` into a session, ``check`` one."""
    parser = argparse.ArgumentParser(prog="python -m autoprune.phone", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("parse", help="print a log's measurement as JSON, times in ms")
    one.add_argument(
        "log",
        type=Path,
        help="of benchmark_model, onnxruntime_perf_test, executor_runner, or minibench's JSON",
    )
    measure.add_parser(commands)
    import_logs.add_parser(commands)
    check.add_parser(commands)
    args = parser.parse_args(argv)
    if args.command == "parse":
        print(json.dumps(parse(read_log(args.log), str(args.log)).to_json()))
        return
    {"measure": measure, "import-logs": import_logs, "check": check}[args.command].main(args)


if __name__ == "__main__":
    run_main(main)
