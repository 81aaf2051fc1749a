"""The tables of the report: cells to read, keys to sort by, and the runs and files behind each."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.labels import arm_label, decimal
from autoprune.core.tasks import named, worded
from autoprune.publish import tables
from autoprune.publish.latex import BOLD
from autoprune.publish.origin import metrics_behind, origin
from autoprune.publish.page import VERDICTS, verdict_class
from autoprune.publish.tables import Column, Row, number

GROUPS = {
    "abstract": (
        "What the abstract claims",
        "Each figure of the paper's abstract beside ours.",
    ),
    "control": (
        "What the paper does not ask",
        "Is the pruned network as good as dense, would a control have done as well? Ours is the "
        "one minus the other; a verdict is the same at equal rounds and at equal training rounds.",
    ),
    "notebook": (
        "What the authors' notebooks print",
        "Counts are recomputed from the printed architectures; accuracies need the real data.",
    ),
}
SCALE = {" %": (0.0, 100.0)}  # of the small pictures; others follow their values
Places = Mapping[str, int]  # of each run's record, by its id
Files = Mapping[str, Sequence[str]]  # of a run that hold a metric


def view(path: str | Path, runs: Places, files: Files) -> dict[str, Any]:
    """A table as the page shows it; InputError for a CSV without a column that is shown."""
    rows, name = tables.read_rows(path), Path(path).stem
    table = tables.load(name)
    try:
        body = [_row(table.COLUMNS, row, runs) for row in tables.shown_rows(table, rows)]
        notes, score = tables.notes(table, rows), tables.score_of(rows)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: {error}: not a column, or no number; make it again") from None
    return {
        "name": name,
        "title": table.TITLE,
        "intro": worded((table.__doc__ or "").splitlines()[0], score),
        "notes": notes,
        "head": [_head(column, files, score) for column in table.COLUMNS],
        "facets": _facets(table.COLUMNS, body),
        "rows": body,
    }


def _head(column: Column, files: Files, score: str) -> dict[str, Any]:
    """A column's title, its columns of the CSV, and the files of a run that hold its metrics."""
    behind = [name.rpartition("/")[2] for name in column.behind]
    known = [
        file
        for name in behind
        for metric in metrics_behind({}, name)
        for file in files.get(metric, ())
    ]
    behind = [named(name, score) for name in behind]
    return {"title": worded(column.title, score), "behind": behind, "files": sorted(set(known))}


def _row(columns: Sequence[Column], row: Row, runs: Places) -> dict[str, Any]:
    whole = origin(row, "answer")
    places = _places([*whole.runs, *whole.networks], runs)
    return {
        "cells": [_cell(column, row, runs, places) for column in columns],
        "runs": places,
        "measured": whole.others,
    }


def _cell(column: Column, row: Row, runs: Places, places: list[int]) -> dict[str, Any]:
    text = column.text(row)
    bold = BOLD.fullmatch(text)
    text = bold.group(1) if bold else text
    key: float | str = text
    own = places
    if column.behind:
        key = _key(row.get(column.behind[0], ""), text)
        found = origin(row, column.behind[0].rpartition("/")[2])
        own = _places([*found.runs, *found.networks], runs)
    return {
        "text": text,
        "bold": bool(bold),
        "key": key,
        "runs": own if own != places else None,
        "number": bool(column.behind) and text != "–",
        "numeric": bool(column.behind),
        "stand_in": "(stand-in)" in text,
        "verdict": verdict_class(text) if text in VERDICTS else "",
    }


def _key(value: str, text: str) -> float | str:
    """What to sort by: the number behind a cell, or its text where that is none."""
    try:
        return float(value) if value else ""
    except ValueError:
        return text


def _places(names: Sequence[str], runs: Places) -> list[int]:
    return sorted({runs[name] for name in names if name in runs})


def _facets(columns: Sequence[Column], rows: Sequence[dict]) -> list[dict[str, Any]]:
    """The columns by whose values a reader may filter, where there is more than one value."""
    facets = []
    for place, column in enumerate(columns):
        values = list(dict.fromkeys(row["cells"][place]["text"] for row in rows))
        if column.facet and len(values) > 1:
            facets.append({"place": place, "title": column.title, "values": values})
    return facets


def view_claims(path: str | Path, runs: Places) -> list[dict[str, Any]]:
    """Groups of claims in the order a reader asks; InputError for an unknown source or verdict."""
    rows = tables.read_rows(path)
    try:
        for name, known in (("source", tuple(GROUPS)), ("verdict", VERDICTS)):
            unknown = sorted({row[name] for row in rows} - set(known))
            if unknown:
                raise InputError(
                    f"{path}: {name}: found {unknown[0]!r}, expected {', '.join(known)}"
                )
        groups = []
        for source, (title, intro) in GROUPS.items():
            mine = [row for row in rows if row["source"] == source]
            tally = {v: sum(row["verdict"] == v for row in mine) for v in VERDICTS}
            if mine:
                groups.append(
                    {"source": source, "title": title, "intro": intro}
                    | {"rows": [_claim(row, mine, runs) for row in mine]}
                    | {"tally": {v: count for v, count in tally.items() if count}}
                )
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: {error}: not a column, or no number; make it again") from None
    return groups


def _claim(row: Row, group: Sequence[Row], runs: Places) -> dict[str, Any]:
    ours, places = number(row["ours"]), 2 if row["unit"] else 0
    low, high = number(row["low"]), number(row["high"])
    interval = "" if low is None else f"[{decimal(low, places)}, {decimal(high, places)}]"
    variant, behind = row["variant"], origin(row, "ours")
    if row["source"] == "abstract" or (row["source"] == "control" and variant):
        variant = arm_label("autoprune", variant)
    same = ("published", "n", "verdict", "answer", "tested_on", "rule")
    return {
        **{name: row[name] for name in same},
        "claim": f"{row['claim']}: {row['data']}" if row["data"] else row["claim"],
        "variant": variant,
        "ours": "–" if ours is None else decimal(ours, places) + row["unit"],
        "key": "" if ours is None else ours,
        "interval": interval,
        "resolved": row["resolved"] == "yes",
        "stand_in": "STAND-IN" in row["tested_on"],
        "picture": None if ours is None or not row["unit"] else strip(row, group),
        "runs": _places([*behind.runs], runs),
        "measured": behind.others,
    }


def threshold(row: Row) -> float | None:
    """The published figure as a number; for a difference, the one that the rule demands."""
    found = re.search(r"([−-]?[\d,.]*\d)", row["published"]) or re.search(
        r"≥ ([−-]?[\d.]+)", row["rule"]
    )
    return float(found[1].replace(",", "").replace("−", "-")) if found else None


def strip(row: Row, group: Sequence[Row]) -> dict[str, float | None]:
    """Where ours, its interval and the threshold lie, 0 to 100 along one scale for each claim."""
    same = [other for other in group if other["claim"] == row["claim"] and other["ours"]]
    ends = [number(other[name]) for other in same for name in ("ours", "low", "high")]
    numbers = [end for end in (*ends, threshold(row), 0.0) if end is not None]
    low, high = SCALE.get(row["unit"], (min(numbers), max(numbers)))
    marks = {name: number(row[name]) for name in ("ours", "low", "high")}
    marks |= {"threshold": threshold(row), "zero": 0.0}
    return {
        name: None
        if mark is None
        else round(min(max(100 * (mark - low) / ((high - low) or 1.0), 0), 100), 1)
        for name, mark in marks.items()
    }
