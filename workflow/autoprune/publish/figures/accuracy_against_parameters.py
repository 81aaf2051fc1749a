"""Accuracy against the parameters of the final network, a panel for each data set and model.

A small, light marker is a seed, a large one the mean of a method. Grey lines join each method with
the dense network: the flatter the line, the less accuracy its pruning costs. Every panel has an
accuracy scale of its own, which does not start at 0.
"""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from autoprune.core.tasks import ACCURACY
from autoprune.evidence.statistics import BASELINE, final_figures, require
from autoprune.measure.table import score_in
from autoprune.publish.axes import log_axis, percent_axis
from autoprune.publish.plotting import ARM, arms_of, by_pair, finish, looks, of_arm, told_apart
from autoprune.publish.spots import percent, say

CATEGORY = "Results"
INPUTS = {"metrics": "<results>/metrics.csv"}


def draw(metrics: pd.DataFrame) -> Figure:
    """Held-out accuracy against parameters (log); each arm's mean is joined to that of dense."""
    values, _ = final_figures(metrics)
    require(values, ["accuracy", "parameters"])
    values, more = told_apart(values)
    arms = looks(values)
    figure, pairs = by_pair(values)
    for ax, rows in pairs:
        means = rows.groupby(ARM)[["parameters", "accuracy"]].mean()
        for arm in arms_of(rows):
            look, seeds, mean = arms[arm], of_arm(rows, arm), means.loc[arm]
            if BASELINE in means.index and arm != BASELINE:
                ends = zip(means.loc[BASELINE], mean, strict=True)
                ax.plot(*ends, color="#999999", linewidth=0.7, zorder=1)
            style: dict[str, Any] = {
                "color": look.colour,
                "marker": look.marker,
                "linestyle": "none",
            }
            dots = (seeds["parameters"], seeds["accuracy"])
            ax.plot(*dots, **style, markersize=4, alpha=0.45, markeredgewidth=0, zorder=2)
            ax.plot(*mean, **style, markersize=7, markeredgecolor="white", zorder=3)
            for size, accuracy in zip(*dots, strict=True):
                text = f"{look.label}: {percent(accuracy)} with {size:,.0f} parameters"
                say(ax, size, accuracy, text, look.label)
        log_axis(ax, rows["parameters"].min(), rows["parameters"].max())
        ax.margins(y=0.15)
        percent_axis(ax, score_in(metrics) != ACCURACY)
    style = {"linestyle": "none", "markersize": 7, "markeredgecolor": "white"}
    entries = [look.entry(marker=look.marker, **style) for look in arms.values()]
    note = "validation and test images together; large: mean over seeds; small and light: a seed; "
    note += "lines lead to the dense network" + more
    return finish(figure, "parameters", "accuracy", entries, note)
