"""One change at a time: what the accidents of the authors' notebooks do to the accuracy.

The last row is what reporting the last round does to the test accuracy, over all runs of the study.
"""

from collections.abc import Sequence

from autoprune.evidence.inference import CORRECTION
from autoprune.evidence.texts import remarks, with_interval, with_spread
from autoprune.publish.tables import Column, Row, plain, summary, written

TITLE = "Ablations"
CATEGORY = "Controls"
LABEL = "ablations"
GROUP = 1
NOTES = [
    "Accuracy on all held-out images, validation and test together, with the change minus without "
    f"it, seed by seed, in points: mean [interval]. Intervals are {CORRECTION}; the family is the "
    "rows of this table.",
    "Last round: the test accuracy of the last evaluation minus the mean of the last five, a "
    "seed's value being the mean over its runs: mean [95 % t-interval] over seeds; the largest "
    "distance of a single run in either direction beside it. Where accuracy still rises in the "
    "end it is above 0 for that reason alone. The notebooks report the last round of one run.",
]
CHANGE = ("difference_points", "difference_low", "difference_high")


def accuracy(which: str) -> Column:
    """The accuracy of the arms with or without the change, %."""
    name = f"accuracy_{which}"
    columns = (f"{name}_percent", f"{name}_sd")
    return Column(
        f"accuracy {which}, %",
        lambda row: with_spread(summary(row, f"{name}_n", *columns)),
        columns,
    )


COLUMNS = [
    plain("ablation", facet=True),
    plain("with"),
    plain("without"),
    accuracy("with"),
    accuracy("without"),
    Column(
        "change, points",
        lambda row: (
            with_interval(summary(row, "n", CHANGE[0], "", *CHANGE[1:]), sign=True)
            + remarks("", 0, 0, row["failed_replies"])
        ),
        CHANGE,
    ),
    Column("largest, points", lambda row: written(row, "largest_points"), ("largest_points",)),
]


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table."""
    return NOTES
