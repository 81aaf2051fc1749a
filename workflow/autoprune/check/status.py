"""The state of a study while it runs: which runs wait, train, are done or failed, and until when.

It reads only the files that runs write, so it works beside any Snakemake, over ssh, and piped.
Exit code: 0 every run is done, 1 a run failed, 3 neither yet, 130 left with Ctrl-C.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.live import Live

from autoprune.check.failures import Failure, describe
from autoprune.check.status_runs import Status, Study, working_since
from autoprune.check.status_view import as_json, lines, summary, view
from autoprune.core.errors import InputError, run_main
from autoprune.study.grid import read_config

UNFINISHED = 3
PIPED_WIDTH = 120  # columns where nobody says how wide: room for every name
SUMMARY_EVERY = 60.0  # seconds between summaries where only lines are printed


def parser_of_status() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="autoprune.check.status",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "--configfile",
        "--configfiles",
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="the overlays that Snakemake was given, in the same order",
    )
    add("--all", action="store_true", help="every run, instead of the seeds together")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--follow", action="store_true", help="go on until every run is done or failed"
    )
    how.add_argument("--json", action="store_true", help="for scripts")
    add("--interval", type=float, default=2.0, help="seconds between looks (2)")
    return parser


def screen() -> Console:
    """The console for the study's state; what is not a terminal gets plain text."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(
        highlight=False, no_color=True, width=int(os.environ.get("COLUMNS", PIPED_WIDTH))
    )


def is_live() -> bool:
    """Whether there is a terminal on which a view can be redrawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def failures_of(study: Study, statuses: Sequence[Status]) -> list[Failure]:
    """The runs that failed, as jobs that can be run again."""
    return [
        Failure(status.name, str(study.folder(status.run) / "run.json"), status.log, status.reason)
        for status in statuses
        if status.state == "failed"
    ]


def is_over(statuses: Sequence[Status], working: bool) -> bool:
    """Whether nothing more will happen: all done, or failures and nobody who works on the rest."""
    states = {status.state for status in statuses}
    return states == {"done"} or (not working and "running" not in states and "failed" in states)


def exit_code(statuses: Sequence[Status]) -> int:
    """0 when every run is done, 1 when one failed, 3 otherwise."""
    states = {status.state for status in statuses}
    return 1 if "failed" in states else 0 if states == {"done"} else UNFINISHED


def follow_live(study: Study, console: Console, interval: float, every: bool) -> list[Status]:
    """Redraw the view until nothing more will happen."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            since = working_since(Path.cwd())
            statuses = study.look(since)
            shown = view(statuses, console.width, every=every, rows=console.height)
            live.update(shown, refresh=True)
            if is_over(statuses, since is not None):
                return statuses
            time.sleep(interval)


def follow_lines(study: Study, console: Console, interval: float) -> list[Status]:
    """Print a line for each change, and a summary now and then, until nothing more will happen."""
    before, told = None, time.monotonic()
    while True:
        since = working_since(Path.cwd())
        statuses = study.look(since)
        changes = lines(before, statuses)
        if time.monotonic() - told > SUMMARY_EVERY:
            told = time.monotonic()
            changes.append(summary(statuses).plain)
        for change in changes:
            print(time.strftime("%H:%M:%S"), change, flush=True)
        if is_over(statuses, since is not None):
            print(time.strftime("%H:%M:%S"), summary(statuses).plain, flush=True)
            return statuses
        before = statuses
        time.sleep(interval)


def show(args: argparse.Namespace, study: Study) -> int:
    """Do what the flags ask for; the exit code."""
    results = study.config["pathvars"]["results"]
    if args.json:
        statuses = study.look(working_since(Path.cwd()))
        print(json.dumps(as_json(statuses, results), indent=1))
        return exit_code(statuses)
    console = screen()
    if args.follow and is_live():
        statuses = follow_live(study, console, args.interval, args.all)
    elif args.follow:
        statuses = follow_lines(study, console, args.interval)
    else:
        statuses = study.look(working_since(Path.cwd()))
        live = is_live()
        console.print(view(statuses, console.width, every=args.all, bar=live))
    for text in describe(failures_of(study, statuses), "all", args.configfile):
        print(text)
    return exit_code(statuses)


def main(argv: Sequence[str] | None) -> None:
    """The command; exits with the study's state."""
    args = parser_of_status().parse_args(argv)
    if not args.interval > 0:
        raise InputError(f"--interval: found {args.interval}, expected seconds above 0")
    study = Study(read_config(args.configfile))
    for number in (signal.SIGTERM, signal.SIGHUP):  # leave the terminal as it was
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        code = show(args, study)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    except BrokenPipeError:  # `status | head`: nobody reads on, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    sys.exit(code)


if __name__ == "__main__":
    run_main(main)
