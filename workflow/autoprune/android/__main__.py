"""``python -m autoprune.android``: read the logs of phone benchmark tools, measure on a phone."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from autoprune.android import measure
from autoprune.android.logs import parse
from autoprune.errors import InputError, run_main


def read_log(path: str | Path) -> str:
    """A log as text; raises InputError when it is not there or not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error.reason})") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def main(argv: Sequence[str] | None) -> None:
    """The command: ``parse LOG`` prints one JSON object, ``measure`` measures a session."""
    parser = argparse.ArgumentParser(prog="python -m autoprune.android", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("parse", help="print a log's measurement as JSON, times in ms")
    one.add_argument("log", help="log of benchmark_model, onnxruntime_perf_test, executor_runner")
    measure.add_parser(commands)
    args = parser.parse_args(argv)
    if args.command == "measure":
        measure.main(args)
    else:
        print(json.dumps(parse(read_log(args.log), args.log).to_json()))


if __name__ == "__main__":
    run_main(main)
