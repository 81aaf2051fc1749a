"""The claims of the paper: published beside ours, with a verdict and the rule behind it."""

from collections.abc import Sequence

import pandas as pd

from autoprune.core.labels import decimal
from autoprune.evidence.family import FAMILY
from autoprune.evidence.inference import CORRECTION
from autoprune.evidence.readings import READINGS, ROUNDS, TRAINING
from autoprune.publish.latex import Paper
from autoprune.publish.tables import Row, number

TITLE = "Claims of the paper"
GROUP = 1
INTERVALS = {
    "ours [interval]": ("ours", "low", "high"),
    "with held-out clients drawn anew": ("ours", "clients_low", "clients_high"),
    "at equal training rounds": ("training_ours", "training_low", "training_high"),
}
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
PAPER = Paper(
    headings=["source"],
    below=["here", "tested on", "rule"],
    left_out=["with held-out clients drawn anew"],
)
TITLES = {"tested_on": "tested on", "variant": "our variant", "answer": "here"}


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table."""
    return NOTES


def readable(rows: Sequence[Row]) -> pd.DataFrame:
    """The claims table as text, without the long list of files."""
    before = ["claim", "published", "source", "variant", "data"]
    after = ["verdict", "answer", "tested_on", "rule"]
    return pd.DataFrame(
        {
            **{TITLES.get(name, name): row[name] for name in before},
            **{title: interval(row, *columns) for title, columns in INTERVALS.items()},
            **{TITLES.get(name, name): row[name] for name in after},
        }
        for row in rows
    )


def interval(row: Row, mean: str, low: str, high: str) -> str:
    """A value with its interval and number of seeds, or what of that there is."""
    value, least, most = (number(row[name]) for name in (mean, low, high))
    if value is None or (low != "low" and least is None):
        return "–"
    places = 2 if row["unit"] else 0
    text = decimal(value, places) + row["unit"]
    if least is not None:
        text += f" [{decimal(least, places)}, {decimal(most, places)}]"
    return f"{text} (n={row['n']})" if row["n"] else text
