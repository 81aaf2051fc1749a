"""The state of a study: which runs wait, train, are done or failed, and how long it will take.

It reads only the files that runs write, so it works beside any Snakemake, over ssh, and piped.
Exit code: 0 every run is done, 1 a run failed, 3 neither yet.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autoprune.check.failures import Failure, describe
from autoprune.check.status_runs import STATES, Status, Study, time_left, working_since
from autoprune.core.errors import run_main
from autoprune.core.tasks import worded
from autoprune.study.grid import read_config

UNFINISHED = 3
PIPED_WIDTH = 120  # columns where nobody says how wide: room for every name
NONE = "—"
STYLES = {"running": "cyan", "failed": "bold red", "stopped": "yellow", "done": "green"}


def duration(seconds: float | None) -> str:
    """A time span in one unit: 40 s, 12 min, 3.5 h."""
    if seconds is None:
        return NONE
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def percent(fraction: float | None) -> str:
    """A fraction as percent with one decimal."""
    return NONE if fraction is None else f"{100 * fraction:.1f} %"


def number(value: float | None) -> str:
    """A count, its thousands apart."""
    return NONE if value is None else f"{value:,.0f}"


def summary(statuses: Sequence[Status]) -> Text:
    """One line: how many runs are in which state, and how long it will take."""
    counts = Counter(status.state for status in statuses)
    line = Text(f"{len(statuses)} run{'s' * (len(statuses) != 1)}: ")
    parts = [Text(f"{counts[s]} {s}", STYLES.get(s, "")) for s in STATES if counts[s]]
    line.append_text(Text(", ").join(parts))
    seconds, unknown = time_left(statuses)
    if seconds is not None:
        bound = "at least" if unknown else "about"
        line.append(f"; {bound} {duration(seconds)} of training left")
    elif counts["running"]:
        line.append("; time left not known yet")
    elif counts["waiting"] or counts["stopped"]:
        line.append("; nothing is training now")
    return line


def line(status: Status) -> str:
    """One run in a line."""
    words = [f"{status.name}: {status.state}"]
    if status.round and status.state != "done":
        words.append(f"round {status.round}/{status.rounds}")
    if status.accuracy is not None:
        score = worded("accuracy", status.score)
        words.append(f"validation {score} {percent(status.accuracy)}")
    if status.parameters is not None:
        words.append(f"{number(status.parameters)} parameters")
    if status.seconds_left is not None:
        words.append(f"{duration(status.seconds_left)} left")
    return ", ".join(words) + (f": {status.reason}" if status.reason else "")


def view(statuses: Sequence[Status], every: bool = False) -> Group:
    """The study for people: a line, a bar, what trains, all in groups of seeds.

    ``every``: each run instead of groups.
    """
    parts: list[RenderableType] = [summary(statuses), bar(statuses)]
    if every:
        order = {state: place for place, state in enumerate(STATES)}
        return Group(*parts, runs(sorted(statuses, key=lambda s: order[s.state]), EVERY))
    return Group(*parts, *training(statuses), grouped(statuses))


def bar(statuses: Sequence[Status]) -> Table:
    """How many of all rounds are finished."""
    done = sum(s.round for s in statuses if s.state in ("running", "done", "stopped"))
    total = sum(status.rounds for status in statuses)
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1)
    line.add_row(ProgressBar(total, done), f"{100 * done / total:.0f} %")
    return line


def training(statuses: Sequence[Status]) -> list[RenderableType]:
    """The runs that train, one a row; nothing where none does."""
    running = [status for status in statuses if status.state == "running"]
    shown: list[RenderableType] = [runs(running, TRAINING)] if running else []
    if any(status.resumed_after for status in running):
        shown.append(Text("* went on at a checkpoint", "dim"))
    return shown


CELLS: dict[str, Callable[[Status], str | Text]] = {
    "run": lambda s: Text(s.name, STYLES.get(s.state, "")),
    "state": lambda s: Text(s.state, STYLES.get(s.state, "")),
    "round": lambda s: f"{s.round}/{s.rounds}{'*' * bool(s.resumed_after)}",
    "accuracy": lambda s: percent(s.accuracy),
    "parameters": lambda s: number(s.parameters),
    "clients/s": lambda s: NONE if s.clients_per_second is None else f"{s.clients_per_second:.3g}",
    "took": lambda s: duration(s.seconds if s.state == "done" else None),
    "left": lambda s: duration(s.seconds_left),
}
TRAINING = ("run", "round", "accuracy", "parameters", "clients/s", "left")
EVERY = ("run", "state", "round", "accuracy", "parameters", "took")


def runs(statuses: Sequence[Status], names: Sequence[str]) -> Table:
    """Runs, one a row, in the columns of CELLS that are named."""
    titles = [scored(name, statuses) for name in names]
    return table(titles, [[CELLS[name](status) for name in names] for status in statuses])


def scored(title: str, statuses: Sequence[Status]) -> str:
    """A column's title in words of the runs' score, of which a study has one."""
    return worded(title, statuses[0].score) if statuses else title


def grouped(statuses: Sequence[Status]) -> Table:
    """Seeds together, a row for each pair, method and variant: what is under way first.

    Means are over what is done.
    """
    groups: dict[str, list[Status]] = {}
    for status in sorted(statuses, key=lambda s: STATES.index(s.state)):
        run = status.run
        groups.setdefault(f"{run.pair} {run.method}/{run.variant}", []).append(status)
    rows: list[list[str | Text]] = []
    for name, group in groups.items():
        counts = Counter(status.state for status in group)
        done = [status for status in group if status.state == "done"]
        now = [Text(f"{counts[s]} {s}", STYLES.get(s, "dim")) for s in STATES[:-1] if counts[s]]
        accuracies = [s.accuracy for s in done if s.accuracy is not None]
        sizes = [s.parameters for s in done if s.parameters is not None]
        share = Text(f"{counts['done']}/{len(group)}", "" if now else STYLES["done"])
        means = [percent(_mean(accuracies)), number(_mean(sizes))]
        rows.append([name, share, Text(", ").join(now), *means])
    score = scored("accuracy", statuses)
    return table(("pair, method/variant", "done", "now", score, "parameters"), rows)


def _mean(values: Sequence[float]) -> float | None:
    return mean(values) if values else None


def table(names: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """Rows under their columns' names; the first column gives way where the width does not do."""
    made = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for place, name in enumerate(names):
        words = place == 0 or name in ("state", "now")
        made.add_column(
            name, justify="left" if words else "right", no_wrap=place > 0, overflow="fold"
        )
    for row in rows:
        made.add_row(*row)
    return made


def screen() -> Console:
    """The console for the study's state; what is not a terminal gets plain text."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    wide = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, markup=False, width=None if wide else PIPED_WIDTH)


def main(argv: Sequence[str] | None) -> None:
    """The command; exits with the study's state."""
    parser = argparse.ArgumentParser(
        prog="autoprune.check.status",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--configfile", "--configfiles", nargs="+", action="extend", default=[], metavar="FILE",
        help="the overlays that Snakemake was given, in the same order",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help="every run, not the seeds together")
    args = parser.parse_args(argv)
    study, console = Study(read_config(args.configfile)), screen()
    statuses = study.look(working_since(Path.cwd()))
    console.print(view(statuses, args.all))
    failures = [
        Failure(status.name, str(study.folder(status.run) / "run.json"), status.log, status.reason)
        for status in statuses
        if status.state == "failed"
    ]
    for text in describe(failures, "all", args.configfile):
        console.print(text, soft_wrap=True)
    states = {status.state for status in statuses}
    sys.exit(1 if failures else 0 if states == {"done"} else UNFINISHED)


if __name__ == "__main__":
    run_main(main)
