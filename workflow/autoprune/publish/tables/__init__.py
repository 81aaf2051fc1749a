"""How a table reads: its title, columns and notes, made from its CSV alone; one module a table.

A module defines ``TITLE``, ``GROUP`` (a line is drawn where the first so many columns change),
``PAPER`` (the columns of its LaTeX), ``notes(rows)`` and ``readable(rows)``: the text of all cells,
in which <b></b> around a whole cell makes it bold. To add one, add a file.
"""

import csv
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from autoprune.core.errors import InputError
from autoprune.evidence.statistics import Summary

Row = Mapping[str, str]  # a row of a CSV: a text for each column, "" for none


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table's CSV as text; InputError when it is unreadable or has no columns."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(reader)
    except OSError as error:
        absent = isinstance(error, FileNotFoundError)
        reason = "no such file" if absent else error.strerror
        raise InputError(f"{path}: {reason}; make the tables first") from None
    if not reader.fieldnames:
        raise InputError(f"{path}: empty; make the tables again")
    return rows


def names() -> list[str]:
    """The tables, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """A table's module; raises InputError when there is none of that name."""
    if name not in names():
        raise InputError(f"table: unknown {name!r}; known are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def number(text: str) -> float | None:
    """A cell's number; None for an empty one."""
    return float(text) if text else None


def summary(row: Row, n: str, mean: str, sd: str = "", low: str = "", high: str = "") -> Summary:
    """Figures over seeds from the columns that hold them; "" for a figure that the table lacks."""
    rest = (number(row[name]) if name else None for name in (mean, sd, low, high))
    return Summary(int(row[n] or 0), *rest)
