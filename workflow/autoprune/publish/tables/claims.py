"""What the paper's abstract and the authors' notebooks state, beside ours, with verdict and rule.

Read *verdict* together with *tested on*: *holds* and *does not hold* speak for the data named there
and for nothing else, and on stand-in data they do not speak for the paper's data sets. *not tested
at the paper's size* says that no run is as large as the notebooks' on their data; *here* has what
our setting says. *not resolved* says that the interval lies on both sides of the threshold in
*rule*, or that the search was cut shorter than the notebooks'; *depends on training rounds* that
equal rounds and equal training rounds give different answers.
"""

from collections.abc import Sequence

from autoprune.core.labels import decimal
from autoprune.evidence.family import FAMILY
from autoprune.evidence.inference import CORRECTION
from autoprune.evidence.readings import READINGS, ROUNDS, TRAINING
from autoprune.publish.tables import Column, Row, number, plain

TITLE = "Claims of the paper"
CATEGORY = "Claims"
LABEL = "published against ours"
GROUP = 1
NOTES = [
    f"ours: mean over seeds, low and high its interval. Intervals are {CORRECTION}. Of accuracies "
    f"{FAMILY}; of a size, the variants of its claim. Accuracies of a notebook have a t-interval, "
    "exact counts none.",
    "Accuracy is on all held-out images, validation and test together, on which nothing was "
    "selected; that of a notebook on test images, as there.",
    *(f"At {name}: {READINGS[name]}." for name in (ROUNDS, TRAINING)),
    "A verdict on accuracy is settled when the whole interval lies on one side of the margin, at "
    "both readings with the same answer, and with held-out clients drawn anew where those are "
    "known. “depends on training rounds”: both are settled, and differ. Where no margin is given "
    "it is 1.96 √(2 p (1 − p) / n) for the dense network's accuracy p on n held-out images, at "
    "least 1 point: what two equal networks differ by on such images.",
    "“not tested at the paper's size”: the claim is about FEMNIST and CelebA with the notebooks' "
    "rounds, clients and test images, which no run here has; under “here” is what our setting "
    "says. resolved: such a verdict is settled, and no search was cut short of the notebooks'.",
    "On Android ours is the median over the repeats of one phone session, low and high the least "
    "and largest repeat, n their number.",
    "source: the abstract, the notebooks' printed output, or a control that the paper lacks. "
    "A pair that runs for ablations alone is not among them: one whose every arm is held against "
    "an arm of another pair.",
]


def interval(title: str, *columns: str, paper: str = "") -> Column:
    """A value with its interval and number of seeds, or what of that there is."""

    def text(row: Row) -> str:
        value, least, most = (number(row[name]) for name in columns)
        if value is None or (least is None and columns[1] != "low"):
            return "–"
        places = 2 if row["unit"] else 0
        shown = decimal(value, places) + row["unit"]
        if least is not None:
            shown += f" [{decimal(least, places)}, {decimal(most, places)}]"
        return f"{shown} (n={row['n']})" if row["n"] else shown

    return Column(title, text, columns, paper=paper)


COLUMNS = [
    plain("claim"),
    plain("published"),
    plain("source", paper="heading"),
    plain("variant", "our variant"),
    plain("data"),
    interval("ours [interval]", "ours", "low", "high"),
    interval(
        "with held-out clients drawn anew", "ours", "clients_low", "clients_high", paper="left out"
    ),
    interval("at equal training rounds", "training_ours", "training_low", "training_high"),
    plain("verdict"),
    plain("answer", "here", paper="below"),
    plain("tested_on", "tested on", paper="below"),
    plain("rule", paper="below"),
]


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table."""
    return NOTES
