"""The ablations: one change at a time, and last-round reporting."""

from collections.abc import Sequence

import pandas as pd

from autoprune.core.labels import decimal
from autoprune.evidence.inference import CORRECTION
from autoprune.evidence.statistics import Summary
from autoprune.evidence.texts import with_interval, with_spread
from autoprune.publish.tables import Row, number, summary

TITLE = "Ablations"
GROUP = 1
PAPER = None
NOTES = [
    "Accuracy on all held-out images, validation and test together, with the change minus without "
    f"it, seed by seed, in points: mean [interval]. Intervals are {CORRECTION}; the family is the "
    "rows of this table.",
    "Last round: the test accuracy of the last evaluation minus the mean of the last five, a "
    "seed's value being the mean over its runs: mean [95 % t-interval] over seeds; the largest "
    "distance of a single run in either direction beside it. Where accuracy still rises in the "
    "end it is above 0 for that reason alone. The notebooks report the last round of one run.",
]


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table."""
    return NOTES


def readable(rows: Sequence[Row]) -> pd.DataFrame:
    """The table for people."""
    return pd.DataFrame(
        {
            "ablation": row["ablation"],
            "with": row["with"],
            "without": row["without"],
            "accuracy with, %": with_spread(accuracy(row, "accuracy_with")),
            "accuracy without, %": with_spread(accuracy(row, "accuracy_without")),
            "change, points": with_interval(change(row), sign=True),
            "largest, points": decimal(number(row["largest_points"])),
        }
        for row in rows
    )


def accuracy(row: Row, name: str) -> Summary:
    """The accuracy of an arm, %."""
    return summary(row, f"{name}_n", f"{name}_percent", f"{name}_sd")


def change(row: Row) -> Summary:
    """The change's effect, points."""
    figures = (f"difference_{end}" for end in ("low", "high"))
    return summary(row, "n", "difference_points", "", *figures)
