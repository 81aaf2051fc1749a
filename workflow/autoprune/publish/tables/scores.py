"""What else is measured of each method's final network, beside the score that tables compare.

Of several answers at once the accuracy is the mean over targets of the share of right answers, as
papers on CelebA have it; macro F1 and AUC are means over targets, or over classes where there is
one target.
"""

from collections.abc import Sequence

from autoprune.evidence.texts import with_spread
from autoprune.publish.tables import DATA, METHOD, MODEL, Column, Row, plain, summary

TITLE = "Scores"
CATEGORY = "Results"
LABEL = "other metrics"
GROUP = 2
ONLY_WITH = "scores"
NOTES = [
    "The score is on all held-out images, mean of the last five evaluations; the other columns are "
    "of the final network on the test images alone: mean ± sample standard deviation over seeds, a "
    "dash where a metric is not asked for.",
    "F1 of a class, or of yes, counts 0 where none of it is found; AUC is of each class against "
    "the rest. Absolute errors are in the target's own unit.",
]


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table."""
    return NOTES


def column(title: str, name: str, unit: str = "", places: int = 3) -> Column:
    """A metric over seeds."""
    behind = (f"{name}_mean", f"{name}_sd")
    return Column(title, lambda row: with_spread(summary(row, "n", *behind), places, unit), behind)


COLUMNS = [
    DATA,
    MODEL,
    plain("task"),
    METHOD,
    column("accuracy", "accuracy"),
    column("accuracy, test images, last", "test_accuracy_last"),
    column("macro F1", "test_macro_f1"),
    column("AUC", "test_auc"),
    column("mean absolute error", "test_mae"),
    plain("test_examples", "test images", paper="left out"),
]
