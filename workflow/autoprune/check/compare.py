"""A study against its reference, cell by cell: what moved, by how much, and whether it may."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from autoprune.check.reference import KEYS, PUBLISHED, Record, Row, columns_of
from autoprune.core.tasks import plain

# Kinds of figures, the most telling first: the data decide everything, and what needs no training
# is the same on every machine.
KINDS = (
    "runs",
    "data",
    "published networks",
    "null draws",
    "plans",
    "widths and counts",
    "bytes",
    "accuracy",
    "loss",
    "published tables",
)
OF_TABLE = {
    "data": "data",
    "published": "published networks",
    "null": "null draws",
    "plans": "plans",
}
WHEN = ("shrinks", "search_rounds", "shrunk", "searching")  # how long a search lasts
UNTRAINED_TABLE = f"{PUBLISHED}partition"  # of the published tables the one that no run decides


@dataclass(frozen=True)
class Tolerances:
    """How far figures may be apart on another class of platform; on the same class not at all.

    ``points``: the reported accuracy, a mean of evaluations, or ``images`` of the test set where
    those are more; ``single``: any one evaluation. ``loss``, and ``percent`` for counts and bytes
    of runs pruned by trained weights, in percent. ``boundary``: of a run's first shrink, in
    percent, before which nothing has been decided by weights.

    Measured on config/ci.yaml, whose runs end near chance, between two makers' processors:
    reported accuracy 2.2 points apart, one evaluation 6.2, losses 5.3 %, boundaries 0.003 %
    (0.7, 6.7, 3.5 % and 0.000005 % between the AVX2, SSE and AVX-512 kernels of one); counts,
    bytes, data and the filters kept were the same.
    """

    points: float = 5.0
    single: float = 10.0
    images: int = 2
    loss: float = 10.0
    percent: float = 10.0
    boundary: float = 0.1


@dataclass(frozen=True)
class _Run:
    """What tolerances ask of a run: ``images`` of its test set, and how it was pruned."""

    untrained: bool
    images: float
    first_shrink: str


@dataclass(frozen=True)
class Change:
    """One cell that is not the reference's; ``size`` in points (accuracy) or percent, None for
    text; ``allowed`` where the platforms differ and the tolerance covers it."""

    kind: str
    where: str
    what: str
    old: str
    new: str
    size: float | None
    allowed: bool = False


@dataclass
class Comparison:
    """The changes, and how many cells of each kind were compared (``skipped``: were not)."""

    changes: list[Change] = field(default_factory=list)
    compared: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)

    def moved(self) -> list[Change]:
        """What may not have changed: the most telling kind first, the largest change first."""
        return self._sorted(change for change in self.changes if not change.allowed)

    def allowed(self) -> list[Change]:
        """What changed within the tolerances of another platform."""
        return self._sorted(change for change in self.changes if change.allowed)

    @staticmethod
    def _sorted(changes: Iterator[Change]) -> list[Change]:
        def rank(change: Change) -> tuple[int, float]:
            # rows that only one has, then numbers, then text such as the digest of a list
            size = abs(change.size) if change.size is not None else -1
            return KINDS.index(change.kind), -(math.inf if change.what in ("run", "row") else size)

        return sorted(changes, key=rank)


def compare(
    reference: Record, results: Record, same_platform: bool, tolerances: Tolerances
) -> Comparison:
    """Every cell of two records against each other.

    On one class of platform every cell must be the same text. On another one everything that no
    training decides still must: data, the counts of published and dense networks, the null draws,
    and the plans, counts and bytes of runs whose filters are chosen by random weights. What
    training decides is held to ``tolerances``; the plans of such runs and the tables made from
    them are not judged.
    """
    found = Comparison()
    gone = _whole_runs(found, reference, results)
    runs = _runs_of(reference)
    names = dict.fromkeys([*reference.tables, *results.tables])
    for table in names:
        if table == "settings":  # what was asked for, not what came out: see causes
            continue
        old, new = reference.tables.get(table, []), results.tables.get(table, [])
        keys = KEYS.get(table) or leading_text(old, new)
        before, after = keyed(old, keys), keyed(new, keys)
        columns = [name for name in columns_of([*old, *new]) if name not in keys]
        for key in dict.fromkeys([*before, *after]):
            run = key[0] if "run" in keys else None
            if run in gone:
                continue
            judged = same_platform or table == UNTRAINED_TABLE or not table.startswith(PUBLISHED)
            for change in _row(table, key, columns, before.get(key), after.get(key), found, judged):
                if not same_platform and run is not None:
                    change = replace(change, allowed=_allowed(change, runs[run], tolerances))
                found.changes.append(change)
    return found


def _runs_of(reference: Record) -> dict[str, _Run]:
    """Of each run of the reference what tolerances ask."""
    untrained = {
        row["run"]: row["decided_on"] != "trained weights" for row in reference.tables["settings"]
    }
    first: dict[str, str] = {}
    for row in reference.tables["plans"]:
        first.setdefault(row["run"], row["round"])
    return {
        row["run"]: _Run(
            untrained[row["run"]], max(1, float(row["test_examples"])), first.get(row["run"], "")
        )
        for row in reference.tables["runs"]
    }


def _whole_runs(found: Comparison, reference: Record, results: Record) -> set[str]:
    """Note the runs that only one of both has; their names."""
    before, after = ([row["run"] for row in r.tables["runs"]] for r in (reference, results))
    found.compared["runs"] = len({*before, *after})
    for run in before:
        if run not in after:
            found.changes.append(Change("runs", run, "run", "there", "missing", None))
    for run in after:
        if run not in before:
            found.changes.append(Change("runs", run, "run", "not there", "new", None))
    return set(before) ^ set(after)


def _row(
    table: str,
    key: tuple[str, ...],
    columns: Sequence[str],
    old: Row | None,
    new: Row | None,
    found: Comparison,
    judged: bool,
) -> Iterator[Change]:
    """The changes of one row; of a row that only one has, one change."""
    where = place(table, key)
    if not judged:
        found.skipped[kind_of(table, "")] += len(columns)
        return
    if old is None or new is None:
        kind = kind_of(table, "")
        found.compared[kind] += 1
        there = ("not there", "new") if old is None else ("there", "missing")
        yield Change(kind, where, "row", *there, None)
        return
    for column in columns:
        before, after, kind = old.get(column, ""), new.get(column, ""), kind_of(table, column)
        if before or after:
            found.compared[kind] += 1
        if before != after:
            by = size(kind, before, after)
            # a published table's wording is no number; its verdicts are what it says
            worded = kind == "published tables" and by is None and column != "verdict"
            yield Change(kind, where, column, before, after, by, worded and bool(before and after))


def place(table: str, key: tuple[str, ...]) -> str:
    """Where a row stands, for people."""
    if table in ("runs", "rounds", "plans"):
        run, *at = key
        return " ".join([run, *(["round"] if at else []), *at])
    return f"{table.removeprefix(PUBLISHED)}: {', '.join(part for part in key if part)}"


def kind_of(table: str, column: str) -> str:
    """Which of KINDS a cell is."""
    if table.startswith(PUBLISHED):
        return "published tables"
    if table in OF_TABLE:
        return OF_TABLE[table]
    if "bytes" in column:
        return "bytes"
    if "accuracy" in plain(column):
        return "accuracy"
    return "loss" if "loss" in column else "widths and counts"


def size(kind: str, old: str, new: str) -> float | None:
    """By how much: accuracy in points, other numbers in percent of the old one; None for text."""
    try:
        before, after = float(old), float(new)
    except ValueError:
        return None
    if kind == "accuracy":
        return 100 * (after - before)
    if before == 0:
        return math.copysign(math.inf, after) if after else 0.0
    return 100 * (after - before) / abs(before)


def _allowed(change: Change, run: _Run, tolerances: Tolerances) -> bool:
    """Whether another class of platform excuses a change of a run's figures."""
    size = math.inf if change.size is None else abs(change.size)
    if change.kind == "accuracy":
        reported = change.what == "test_accuracy" and " round " not in change.where
        points = tolerances.points if reported else tolerances.single
        return size <= max(points, 100 * tolerances.images / run.images) + 1e-9
    if change.kind == "loss":
        return size <= tolerances.loss
    if change.kind == "plans" and change.what in ("lower", "upper"):
        decided = run.untrained or f" round {run.first_shrink} " in change.where
        return not decided or size <= tolerances.boundary
    if run.untrained:
        return False
    if change.kind == "plans" or change.what in ("row", *WHEN):
        return True
    if change.what == "widths":
        return len(change.old.split()) == len(change.new.split())
    return size <= tolerances.percent


def keyed(rows: Sequence[Row], keys: Sequence[str]) -> Mapping[tuple[str, ...], Row]:
    """Rows by the cells that name them; of rows with the same name the second is ``#2``."""
    found: dict[tuple[str, ...], Row] = {}
    for row in rows:
        name = tuple(row.get(key, "") for key in keys)
        count, key = 1, name
        while key in found:
            count += 1
            key = (*name, f"#{count}")
        found[key] = row
    return found


def leading_text(*tables: Sequence[Row]) -> tuple[str, ...]:
    """Columns before the first that holds a number in any of the tables: they name its rows."""
    rows = [row for table in tables for row in table]
    names: list[str] = []
    for column in columns_of(rows):
        if any(_is_number(row.get(column, "")) for row in rows):
            break
        names.append(column)
    return tuple(names)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
