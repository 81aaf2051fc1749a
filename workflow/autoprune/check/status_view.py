"""How the state of a study is shown: on terminals of any width, as plain lines, as JSON."""

from collections import Counter
from collections.abc import Sequence
from statistics import mean
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoprune.check.status_runs import STATES, Status, time_left

NONE = "—"
NARROW, WIDE = 72, 100  # columns: below the first only what matters most is shown
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


def view(
    statuses: Sequence[Status],
    width: int,
    *,
    every: bool = False,
    bar: bool = True,
    rows: int | None = None,
) -> RenderableType:
    """The study for people: a line, a bar, the runs that train, those that failed, all in groups.

    ``every``: each run instead of groups of seeds. ``rows`` is how many lines there is room for.
    """
    parts: list[RenderableType] = [summary(statuses)]
    if bar:
        parts.append(_bar(statuses, width))
    wrapped = parts[0].cell_len // width  # type: ignore[union-attr]
    room = None if rows is None else max(4, rows - len(parts) - wrapped - 1)
    if every:
        order = {state: place for place, state in enumerate(STATES)}
        parts += _cut(sorted(statuses, key=lambda s: order[s.state]), room, width, _each)
        return Group(*parts)
    running = [status for status in statuses if status.state == "running"]
    failed = [status for status in statuses if status.state == "failed"]
    if running:
        parts += _cut(running, None if room is None else room // 2, width, _training)
    limit = len(failed) if room is None else min(len(failed), max(1, room // 6))
    for status in failed[:limit]:
        text = Text(f"{status.name}: {status.reason}", STYLES["failed"], no_wrap=True)
        text.truncate(width, overflow="ellipsis")
        parts.append(text)
    if limit < len(failed):
        parts.append(Text(f"and {len(failed) - limit} more that failed", "dim"))
    if room is not None:
        room -= min(len(running) + 2 if running else 0, room // 2) + min(limit + 1, len(failed)) + 1
    if running or failed:
        parts.append(Text(""))
    parts += _cut(_groups(statuses), room, width, _grouped)
    return Group(*parts)


def lines(before: Sequence[Status] | None, after: Sequence[Status]) -> list[str]:
    """What has changed, a plain line each; of the first look what is not waiting or done."""
    if before is None:
        shown = [status for status in after if status.state not in ("waiting", "done")]
        return [summary(after).plain, *map(line, shown)]
    return [line(new) for old, new in zip(before, after, strict=True) if old.state != new.state]


def line(status: Status) -> str:
    """One run in a line."""
    words = [f"{status.name}: {status.state}"]
    if status.round and status.state != "done":
        words.append(f"round {status.round}/{status.rounds}")
    if status.accuracy is not None:
        words.append(f"validation accuracy {percent(status.accuracy)}")
    if status.parameters is not None:
        words.append(f"{status.parameters:,} parameters")
    if status.seconds_left is not None:
        words.append(f"{duration(status.seconds_left)} left")
    return ", ".join(words) + (f": {status.reason}" if status.reason else "")


def as_json(statuses: Sequence[Status], results: str) -> dict[str, Any]:
    """The study for scripts; null where something is not known."""
    seconds, unknown = time_left(statuses)
    counts = Counter(status.state for status in statuses)
    return {
        "schema_version": 1,
        "results": results,
        "counts": {state: counts[state] for state in STATES},
        "seconds_left": seconds,
        "runs_not_estimated": unknown,
        "runs": [
            {
                **status.run._asdict(),
                "state": status.state,
                "round": status.round,
                "rounds": status.rounds,
                "validation_accuracy": status.accuracy,
                "parameters": status.parameters,
                "clients_per_second": status.clients_per_second,
                "seconds_left": status.seconds_left,
                "seconds": status.seconds,
                "resumed_after": status.resumed_after,
                "reason": status.reason,
                "log": status.log,
            }
            for status in statuses
        ],
    }


def _bar(statuses: Sequence[Status], width: int) -> Text:
    """How many of all rounds are finished."""
    counted = [s.round for s in statuses if s.state in ("running", "done", "stopped")]
    share = sum(counted) / sum(status.rounds for status in statuses)
    room = width - 7
    full = int(share * room)
    return Text.assemble(
        ("━" * full, "green"), ("━" * (room - full), "bright_black"), f" {100 * share:.0f} %"
    )


def _cut(rows: Sequence[Any], room: int | None, width: int, table: Any) -> list[RenderableType]:
    """A table of as many rows as there is room for below its head, and how many are not shown."""
    if room is None or len(rows) + 1 <= room:
        return [table(rows, width)]
    shown = max(1, room - 2)
    more = Text(f"and {len(rows) - shown} more; --all without --follow shows every run", "dim")
    more.truncate(width, overflow="ellipsis")
    return [table(rows[:shown], width), more]


def _columns(width: int, first: str, columns: dict[str, int], rows: list[list[Text]]) -> Table:
    """A table of those columns that fit, each named with the least width it is shown at.

    The first column gives way where the width does not suffice.
    """
    shown = [place for place, least in enumerate(columns.values(), 1) if width >= least]
    names = list(columns)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    taken = sum(
        2 + max(len(names[place - 1]), *(row[place].cell_len for row in rows)) for place in shown
    )
    longest = max(len(first), *(row[0].cell_len for row in rows))
    room = max(8, min(longest, width - taken))
    table.add_column(first, no_wrap=True, overflow="ellipsis", width=room)
    for place in shown:
        words = names[place - 1] in ("now", "state")
        table.add_column(names[place - 1], justify="left" if words else "right", no_wrap=True)
    for row in rows:
        table.add_row(_shortened(row[0], room), *(row[place] for place in shown))
    return table


def _shortened(name: Text, room: int) -> Text:
    """A name in as much room; the seed at its end stays, by which runs are told apart."""
    start, word, seed = name.plain.rpartition(" seed ")
    if name.cell_len <= room or not word:
        return name
    return Text(f"{start[: room - len(word + seed) - 1]}…{word}{seed}", name.style)


def _training(statuses: Sequence[Status], width: int) -> Table:
    """Running runs, one a row."""
    rows = []
    for status in statuses:
        speed = status.clients_per_second
        cells = [
            f"{status.round}/{status.rounds}" + ("*" if status.resumed_after else ""),
            percent(status.accuracy),
            NONE if status.parameters is None else f"{status.parameters:,}",
            NONE if speed is None else f"{speed:.3g}",
            duration(status.seconds_left),
        ]
        rows.append([Text(status.name, STYLES["running"]), *map(Text, cells)])
    columns = {"round": 0, "accuracy": 0, "parameters": NARROW, "clients/s": WIDE, "left": 0}
    table = _columns(width, "training now", columns, rows)
    if any(status.resumed_after for status in statuses):
        table.caption, table.caption_justify = "* went on at a checkpoint", "left"
    return table


def _each(statuses: Sequence[Status], width: int) -> Table:
    """Runs in whatever state, one a row."""
    rows = [
        [
            Text(status.name),
            Text(status.state, STYLES.get(status.state, "")),
            Text(f"{status.round}/{status.rounds}"),
            Text(percent(status.accuracy)),
            Text(NONE if status.parameters is None else f"{status.parameters:,}"),
            Text(duration(status.seconds if status.state == "done" else None)),
            Text(duration(status.seconds_left)),
        ]
        for status in statuses
    ]
    columns = {"state": 0, "round": 0, "accuracy": NARROW, "parameters": NARROW}
    return _columns(width, "run", {**columns, "took": WIDE, "left": WIDE}, rows)


def _groups(statuses: Sequence[Status]) -> list[list[Status]]:
    """The seeds of each pair, method and variant; what is under way first, what is done last."""
    groups: dict[tuple[str, str, str], list[Status]] = {}
    for status in statuses:
        run = status.run
        groups.setdefault((run.pair, run.method, run.variant), []).append(status)
    return sorted(groups.values(), key=lambda group: min(STATES.index(s.state) for s in group))


def _grouped(groups: Sequence[Sequence[Status]], width: int) -> Table:
    """Seeds together, one row for each pair, method and variant; means over what is done."""
    rows = []
    for group in groups:
        run, counts = group[0].run, Counter(status.state for status in group)
        done = [status for status in group if status.state == "done"]
        accuracies = [status.accuracy for status in done if status.accuracy is not None]
        sizes = [status.parameters for status in done if status.parameters is not None]
        now = [state for state in STATES if counts[state] and state != "done"]
        rows.append(
            [
                Text(f"{run.pair} {run.method}/{run.variant}"),
                Text(f"{counts['done']}/{len(group)}", "" if now else STYLES["done"]),
                Text(", ").join(Text(f"{counts[s]} {s}", STYLES.get(s, "dim")) for s in now),
                Text(percent(mean(accuracies) if accuracies else None)),
                Text(f"{mean(sizes):,.0f}" if sizes else NONE),
            ]
        )
    columns = {"done": 0, "now": 0, "accuracy": 0, "parameters": 90}
    return _columns(width, "pair, method/variant", columns, rows)
