"""The claims in the report: in three groups, each verdict with its rule and the runs behind it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.labels import arm_label, decimal
from autoprune.publish.report.columns import Row, value
from autoprune.publish.report.views import measurements, runs_behind
from autoprune.publish.table_files import VERDICTS, verdict_class
from autoprune.publish.tables import read_rows

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


def view_claims(path: str | Path, runs: Mapping[str, int]) -> list[dict[str, Any]]:
    """Groups of claims in the order a reader asks; InputError for an unknown source or verdict."""
    rows = read_rows(path)
    try:
        unknown = sorted({row["source"] for row in rows} - set(GROUPS))
        if unknown:
            raise InputError(f"{path}: source: found {unknown[0]!r}, expected {', '.join(GROUPS)}")
        wrong = sorted({row["verdict"] for row in rows} - set(VERDICTS))
        if wrong:
            raise InputError(f"{path}: verdict: found {wrong[0]!r}, expected {VERDICTS}")
        groups = []
        for source, (title, intro) in GROUPS.items():
            mine = [row for row in rows if row["source"] == source]
            if mine:
                shown = [_claim(row, mine, runs) for row in mine]
                tally = {v: sum(row["verdict"] == v for row in mine) for v in VERDICTS}
                groups.append(
                    {"source": source, "title": title, "intro": intro, "rows": shown}
                    | {"tally": {v: count for v, count in tally.items() if count}}
                )
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: {error}: not a column, or no number; make it again") from None
    return groups


def _claim(row: Row, group: Sequence[Row], runs: Mapping[str, int]) -> dict[str, Any]:
    unit = unit_of(row)
    ours = value(row, "ours")
    places = 2 if unit else 0
    text = "–" if ours is None else decimal(ours, places) + unit
    low, high = value(row, "low"), value(row, "high")
    interval = "" if low is None else f"[{decimal(low, places)}, {decimal(high, places)}]"
    variant = row["variant"]
    if row["source"] == "abstract" or (row["source"] == "control" and variant):
        variant = arm_label("autoprune", variant)
    return {
        "claim": f"{row['claim']}: {row['data']}" if row["data"] else row["claim"],
        "variant": variant,
        "published": row["published"],
        "ours": text,
        "key": "" if ours is None else ours,
        "interval": interval,
        "n": row["n"],
        "verdict": row["verdict"],
        "css": verdict_class(row["verdict"]),
        "here": row["answer"],
        "resolved": row["resolved"] == "yes",
        "tested_on": row["tested_on"],
        "rule": row["rule"],
        "stand_in": "STAND-IN" in row["tested_on"],
        "picture": None if ours is None or not unit else picture(row, group, unit),
        "runs": runs_behind(row["source_files"], runs),
        "measured": measurements(row["source_files"], runs),
    }


def unit_of(row: Row) -> str:
    """The unit of ``ours``: claims.csv has it in the published figure, or else in the rule."""
    for unit in (" %", "×"):
        if row["published"].endswith(unit):
            return unit
    return " points" if "points" in row["rule"] else ""


def threshold(row: Row) -> float | None:
    """The published figure as a number; for a difference, the one that the rule demands."""
    found = re.search(r"[−-]?[\d,.]*\d", row["published"])
    if not found:
        found = re.search(r"≥ ([−-]?[\d.]+)", row["rule"])
        return float(found[1].replace("−", "-")) if found else None
    return float(found[0].replace(",", "").replace("−", "-"))


def picture(row: Row, group: Sequence[Row], unit: str) -> dict[str, float | None]:
    """Where ours, its interval and the threshold lie, 0 to 100 along one scale for each claim."""
    same = [other for other in group if other["claim"] == row["claim"] and other["ours"]]
    ends = [value(other, name) for other in same for name in ("ours", "low", "high")]
    numbers = [number for number in (*ends, threshold(row), 0.0) if number is not None]
    low, high = SCALE.get(unit, (min(numbers), max(numbers)))
    span = (high - low) or 1.0

    def place(number: float | None) -> float | None:
        return None if number is None else round(min(max(100 * (number - low) / span, 0), 100), 1)

    return {
        "ours": place(value(row, "ours")),
        "low": place(value(row, "low")),
        "high": place(value(row, "high")),
        "threshold": place(threshold(row)),
        "zero": place(0.0),
    }
