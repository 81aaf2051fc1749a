"""How a table reads, one module a table: columns, title and notes, made from its CSV alone.

Beside the literals of ``publish.items`` a module defines ``COLUMNS``, ``notes(rows)`` (texts that
stand below the table) and, where rows of the CSV are not rows of the table, ``shown(rows)``. Where
the CSV has a column ``source_files`` (``statistics.files_behind`` makes it), numbers open to their
runs.
"""

import csv
import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.labels import arm_label, dataset_label, decimal, label
from autoprune.core.tasks import ACCURACY, worded
from autoprune.core.tasks import plain as plain_name
from autoprune.evidence.statistics import Summary
from autoprune.publish.items import known

Row = Mapping[str, str]  # a row of a CSV: a text for each column, "" for none


class Column(NamedTuple):
    """A column of a table: how its text is read from a row; <b></b> around all of it is bold.

    ``behind`` are the columns of the CSV that a number is made of, the one to sort by first; none
    for words. ``check.trace`` goes by the others where no metric has the name of the first. A
    reader of the report may choose among the values of a ``facet``. ``paper``: where a page has
    less room than a screen, "heading" (its values stand once, over the rows that share them),
    "below" (long texts, by a number under the table) or "left out".
    """

    title: str
    text: Callable[[Row], str]
    behind: tuple[str, ...] = ()
    facet: bool = False
    paper: str = ""


DATA = Column(
    "data",
    lambda row: dataset_label(row["dataset"], row["data_kind"]),
    facet=True,
    paper="heading",
)
MODEL = Column("model", lambda row: label(row["model"]), facet=True, paper="heading")
METHOD = Column("method", lambda row: arm_label(row["method"], row["variant"]))


def plain(name: str, title: str = "", **more: Any) -> Column:
    """Words or whole numbers of the CSV as they stand; ``more`` as of Column.

    For other numbers see ``written``: as they stand they have all their digits.
    """
    return Column(title or name, lambda row: row[name], **more)


def load(name: str) -> ModuleType:
    """A table's module; raises InputError when there is none of that name."""
    return importlib.import_module(f"{__name__}.{known('tables', name)}")


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table's CSV as text, R² under the names of accuracies (``score_of``).

    Raises InputError when it is unreadable or has no columns.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            reader.fieldnames = [plain_name(name) for name in reader.fieldnames or ()]
            rows = list(reader)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        reason = "no such file" if absent else error.strerror
        raise InputError(f"{path}: {reason}; make the tables first") from None
    if not reader.fieldnames:
        raise InputError(f"{path}: empty; make the tables again")
    return rows


def score_of(rows: Sequence[Row]) -> str:
    """What the runs of a table are scored by."""
    return rows[0].get("score", ACCURACY) if rows else ACCURACY


def shown_rows(table: ModuleType, rows: Sequence[Row]) -> Sequence[Row]:
    """What stands in a row of the table, from the rows of its CSV."""
    return table.shown(rows) if hasattr(table, "shown") else rows


def readable(table: ModuleType, rows: Sequence[Row]) -> pd.DataFrame:
    """The text of all cells; raises KeyError or ValueError for a CSV of another kind."""
    score = score_of(rows)
    titles = [worded(column.title, score) for column in table.COLUMNS]
    cells = [[column.text(row) for column in table.COLUMNS] for row in shown_rows(table, rows)]
    return pd.DataFrame(cells, columns=titles, dtype=object)


def notes(table: ModuleType, rows: Sequence[Row]) -> list[str]:
    """What stands below a table, in words of its score."""
    return [worded(note, score_of(rows)) for note in table.notes(rows)]


def number(text: str) -> float | None:
    """A cell's number; None for an empty one."""
    return float(text) if text else None


def written(row: Row, name: str, places: int = 2, scale: float = 1) -> str:
    """A number of a row as text, ``scale`` times as large."""
    value = number(row[name])
    return decimal(None if value is None else scale * value, places)


def summary(row: Row, n: str, mean: str, sd: str = "", low: str = "", high: str = "") -> Summary:
    """Figures over seeds from the columns that hold them; "" for a figure that the table lacks."""
    rest = (number(row[name]) if name else None for name in (mean, sd, low, high))
    return Summary(int(row[n] or 0), *rest)


def with_range(row: Row, middle: str, low: str, high: str, places: int) -> str:
    """A value with its two ends, where it has them; a dash for none."""
    if row[middle] == "" or row[low] == "":
        return written(row, middle, places)
    value, least, most = (written(row, name, places) for name in (middle, low, high))
    return f"{value} [{least}, {most}]"
