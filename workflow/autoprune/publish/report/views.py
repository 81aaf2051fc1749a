"""The tables of the report: cells to read, keys to sort by, and the runs and files behind each."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.labels import decimal
from autoprune.publish.report.columns import TABLES, Column, Row, Table
from autoprune.publish.table_files import VERDICTS, verdict_class
from autoprune.publish.tables import read_rows

# Words before the tables that are shown column by column as their CSV has them.
AS_THEY_ARE = {"partition": ("Clients", "How the samples lie with the clients.")}


def rank(path: str) -> tuple[int, str]:
    """Where a table stands on the page: those that the page knows first, in its order."""
    known, name = [*TABLES, *AS_THEY_ARE], Path(path).stem
    return (known.index(name) if name in known else len(known), name)


def view(path: str | Path, runs: Mapping[str, int]) -> dict[str, Any]:
    """A table as the page shows it; ``runs`` gives the place of each run folder.

    Raises InputError for a CSV without a column that is shown.
    """
    rows, name = read_rows(path), Path(path).stem
    table = TABLES.get(name) or _as_it_is(name, rows)
    try:
        body = [
            {
                "cells": [_cell(column, row) for column in table.columns],
                "runs": runs_behind(row.get("source_files", ""), runs) or named_run(row, runs),
                "measured": measurements(row.get("source_files", ""), runs),
            }
            for row in rows
        ]
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: {error}: not a column, or no number; make it again") from None
    return {
        "name": name,
        "title": table.title,
        "intro": table.intro,
        "columns": table.columns,
        "facets": _facets(table, body),
        "rows": body,
    }


def _as_it_is(name: str, rows: Sequence[Row]) -> Table:
    """A table whose columns are those of its CSV, but for the files and checksums."""
    title, intro = AS_THEY_ARE.get(name, (name.capitalize(), ""))
    hidden = ("source_files", "source_file", "sha256", "model_sha256")
    columns = [
        Column(
            name.replace("_", " "),
            lambda row, name=name: _plain(row[name]),
            lambda row, name=name: _sortable(row[name]),
            (name,),
            ("run.json",) if _is_number(rows[0][name]) else (),
        )
        for name in (rows[0] if rows else ())
        if name not in hidden
    ]
    return Table(name, title, intro, tuple(columns))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _plain(text: str) -> str:
    """A cell of a CSV to read: numbers with four digits at most behind the point."""
    if not _is_number(text):
        return text or "–"
    places = 0 if float(text) == int(float(text)) else 2 if abs(float(text)) >= 1 else 4
    return decimal(float(text), places)


def _sortable(text: str) -> float | str | None:
    return float(text) if _is_number(text) else text or None


def _cell(column: Column, row: Row) -> dict[str, Any]:
    text = column.text(row)
    key = column.key(row) if column.key else text
    return {
        "text": text,
        "key": "" if key is None else key,
        "number": bool(column.files) and text != "–",
        "numeric": bool(column.files),
        "stand_in": "(stand-in)" in text,
        "verdict": verdict_class(text) if text in VERDICTS else "",
    }


def _facets(table: Table, rows: Sequence[dict]) -> list[dict[str, Any]]:
    """The columns by whose values a reader may filter, where there is more than one value."""
    facets = []
    for place, column in enumerate(table.columns):
        values = list(dict.fromkeys(row["cells"][place]["text"] for row in rows))
        if column.facet and len(values) > 1:
            facets.append({"place": place, "title": column.title, "values": values})
    return facets


def named_run(row: Row, runs: Mapping[str, int]) -> list[int]:
    """The run that a row names by data set, model, method, variant and seed, where it does."""
    names = [row.get(part, "") for part in ("dataset", "model", "method", "variant")]
    run = "/".join([*names, f"seed-{row.get('seed', '')}"])
    return [runs[run]] if run in runs else []


def measurements(source_files: str, runs: Mapping[str, int]) -> list[str]:
    """The files behind a row that no run has left: measurements of a network made later."""
    return [f for f in source_files.split(";") if f and Path(f).parent.as_posix() not in runs]


def runs_behind(source_files: str, runs: Mapping[str, int]) -> list[int]:
    """The places of the runs whose files a row names, each once, in order.

    ``runs`` knows a run by its folder and by its id; a measurement of a network carries the id
    in its path, as in latency/glyphs/cnn/autoprune/reinit/seed-0.json.
    """
    found = set()
    for file in filter(None, source_files.split(";")):
        path = Path(file)
        for name in (path.parent.as_posix(), "/".join(path.with_suffix("").parts[-5:])):
            if name in runs:
                found.add(runs[name])
    return sorted(found)
