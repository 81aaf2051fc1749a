"""The sizes that the notebooks print, beside what k and patience leave of untrained networks."""

from typing import Any

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.labels import decimal, label
from autoprune.evidence.inference import LEVEL
from autoprune.evidence.statistics import UNRESOLVED
from autoprune.evidence.verdicts import row
from autoprune.measure.table import read_table

NULLS = ("fresh", "kept")  # weights of a network at whose shrink nothing goes
COLUMNS = [
    *("null", "dataset", "model", "method", "k", "draws", "published"),
    *("median", "low", "high", "at_or_below", "p_low", "p_high"),
]
RULE = (
    f"holds where fewer than {100 * LEVEL:.0f} % of searches on untrained networks end at or below "
    "the published size, by the upper end of the 95 % interval of that share and with fresh and "
    "with kept weights; does not hold where more do, by the lower end, with both"
)


def published_size_rows(path: str | None) -> list[dict[str, Any]]:
    """A row of the claims table for each published size, both nulls in it; none without a path.

    Raises InputError for an absent file or column.
    """
    if path is None:
        return []
    table = read_table(path, COLUMNS)
    found = []
    for key, rows in table.groupby(["dataset", "model", "method", "k", "published"], sort=False):
        if sorted(rows["null"]) != sorted(NULLS):
            raise InputError(
                f"{path}: {' '.join(map(str, key))}: found nulls {', '.join(rows['null'])}, "
                f"expected {' and '.join(NULLS)}; make it again"
            )
        found.append(size_row(rows.sort_values("null"), path))
    return found


def size_row(rows: pd.DataFrame, path: str) -> dict[str, Any]:
    """One published size: ``rows`` has its place in each null."""
    first = rows.iloc[0]
    places = [_place(one) for _, one in rows.iterrows()]
    about = {
        "claim": f"the size of {label(first['model'])} on {label(first['dataset'])}, "
        f"{first['method']}, needs training",
        "published": f"{decimal(first['published'], 0)} parameters",
        "source": "control",
        "variant": "",
        "data": f"{label(first['dataset'])}/{label(first['model'])}",
        "rule": RULE,
        "unit": "",
    }
    draws = ", ".join(f"{one['draws']:g}" for _, one in rows.iterrows())
    return row(
        about,
        f"searches on untrained networks at k {first['k']:g} ({draws} draws): {'; '.join(places)}",
        None,
        **judge_place(rows),
        answer=_answer(rows),
        source_files=path,
    )


def judge_place(rows: pd.DataFrame) -> dict[str, str]:
    """The verdict of RULE; not resolved where the nulls, or a share's interval, leave it open."""
    if (rows["p_high"] < LEVEL).all():
        return {"verdict": "holds", "resolved": "yes"}
    if (rows["p_low"] > LEVEL).all():
        return {"verdict": "does not hold", "resolved": "yes"}
    return UNRESOLVED


def _place(one: pd.Series) -> str:
    ends = f"[{decimal(one['low'], 0)}, {decimal(one['high'], 0)}]"
    share = f"{one['at_or_below']:.2f} [{one['p_low']:.2f}, {one['p_high']:.2f}]"
    return f"{one['null']} weights: median {decimal(one['median'], 0)} {ends}, P = {share}"


def _answer(rows: pd.DataFrame) -> str:
    """The bracket of both nulls in words."""
    verdict = judge_place(rows)["verdict"]
    shares = " and ".join(f"{one['at_or_below']:.2f} ({one['null']})" for _, one in rows.iterrows())
    words = {
        "holds": "smaller than what k and patience give untrained networks",
        "does not hold": "inside what k and patience give untrained networks",
    }
    return (
        f"{words.get(verdict, 'at the edge of what k and patience give untrained networks')} "
        f"(P = {shares})"
    )
