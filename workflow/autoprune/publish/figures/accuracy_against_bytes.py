"""Validation accuracy against the megabytes sent so far, to and from all clients.

A panel for each data set and model; 1 MB = 10⁶ bytes. A light line is a seed, a strong one the mean
over them, its marker the last round. Further left and higher up is better: at a given traffic, the
higher line has learnt more. The dotted line is chance, 1 / number of classes.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from autoprune.core.tasks import ACCURACY
from autoprune.measure.table import score_in
from autoprune.publish.axes import chance_entry, chance_line, percent_axis, whole_axis
from autoprune.publish.plotting import arms_of, by_pair, by_round, finish, looks, of_arm, told_apart
from autoprune.publish.spots import say_rounds

CATEGORY = "Results"
INPUTS = {"metrics": "<results>/metrics.csv"}


def draw(metrics: pd.DataFrame) -> Figure:
    """Validation accuracy against the megabytes sent so far, both ways and by all clients."""
    table = by_round(metrics, ["validation_accuracy", "bytes_cumulative"])
    table = table.dropna(subset="validation_accuracy")
    table["megabytes"] = table["bytes_cumulative"] / 1e6
    table, more = told_apart(table)
    arms = looks(table)
    figure, pairs = by_pair(table)
    spot = ["megabytes", "validation_accuracy"]
    for ax, rows in pairs:
        for arm in arms_of(rows):
            look, mine = arms[arm], of_arm(rows, arm)
            seeds = [seed for _, seed in mine.groupby("seed")]
            for seed in seeds if len(seeds) > 1 else []:  # a single one is the mean
                ax.plot(*seed[spot].to_numpy().T, color=look.colour, linewidth=0.6, alpha=0.35)
            # Seeds differ in what they have sent by a round: the mean is one of both coordinates.
            mean = mine.groupby("round")[spot].mean()
            dash = look.dash or (1, 0)
            ax.plot(*mean.to_numpy().T, color=look.colour, dashes=dash)
            say_rounds(ax, mine, "megabytes", look.label)
            end: dict[str, Any] = {
                "markersize": 5.5,
                "markeredgecolor": "white",
                "markeredgewidth": 0.6,
            }
            ax.plot(*mean.iloc[-1], look.marker, color=look.colour, zorder=3, **end)
        chance_line(ax, metrics, rows["dataset"].iloc[0])
        percent_axis(ax, score_in(metrics) != ACCURACY)
        whole_axis(ax)
    entries = [look.entry(marker=look.marker, markersize=5.5) for look in arms.values()]
    note = "strong: mean over seeds, its marker the last round; light: a seed" + more
    return finish(
        figure, "MB sent so far", "validation accuracy", [*entries, chance_entry(metrics)], note
    )
