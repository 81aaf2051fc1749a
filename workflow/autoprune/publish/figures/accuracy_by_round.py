"""Validation accuracy by round, a panel for each data set and model.

A line is the mean over the seeds, its band reaches from the lowest to the highest seed. Markers at
the foot of a panel are the rounds in which a seed's network was shrunk, a lane for each method in
the legend's order. The dotted line is chance, 1 / number of classes: a method that lies on it while
it shrinks throws its training away at every shrink.
"""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoprune.core.tasks import ACCURACY
from autoprune.measure.table import score_in
from autoprune.publish.axes import chance_entry, chance_line, percent_axis, whole_axis
from autoprune.publish.plotting import (
    ARM,
    Look,
    arms_of,
    by_pair,
    by_round,
    finish,
    looks,
    of_arm,
    told_apart,
)
from autoprune.publish.spots import say_rounds

CATEGORY = "Results"
INPUTS = {"metrics": "<results>/metrics.csv"}


def draw(metrics: pd.DataFrame) -> Figure:
    """Validation accuracy by round; at the foot, a marker where a seed's network shrank."""
    table, more = told_apart(by_round(metrics, ["validation_accuracy", "shrunk"]))
    arms = looks(table)
    shrinking = arms_of(table[table["shrunk"] == 1])
    figure, pairs = by_pair(table)
    for ax, rows in pairs:
        evaluated = rows.dropna(subset="validation_accuracy")
        present = arms_of(evaluated)
        sns.lineplot(
            evaluated.assign(arm=list(evaluated[ARM].itertuples(index=False, name=None))),
            x="round",
            y="validation_accuracy",
            hue="arm",
            style="arm",
            hue_order=present,
            style_order=present,
            palette=[arms[arm].colour for arm in present],
            dashes=[arms[arm].dash for arm in present],
            errorbar=("pi", 100),  # from the lowest to the highest seed
            err_kws={"alpha": 0.2, "linewidth": 0},
            legend=False,
            ax=ax,
        )
        chance_line(ax, metrics, rows["dataset"].iloc[0])
        for arm in present:
            say_rounds(ax, of_arm(evaluated, arm), "round", arms[arm].label)
        mark_shrinks(ax, rows, arms)
        percent_axis(ax, score_in(metrics) != ACCURACY)
        whole_axis(ax)
    entries = [
        look.entry(**({"marker": look.marker, "markersize": 4} if arm in shrinking else {}))
        for arm, look in arms.items()
    ]
    note = "line: mean over seeds; band: lowest to highest" + more
    if shrinking:
        note += "; markers at the foot: rounds with a shrink"
    return finish(figure, "round", "validation accuracy", [*entries, chance_entry(metrics)], note)


def mark_shrinks(ax: Axes, rows: pd.DataFrame, arms: dict[tuple[str, str], Look]) -> None:
    """Markers in a strip of their own under the lines, a lane for each arm that shrinks here."""
    rows = rows[rows["shrunk"] == 1]
    present = arms_of(rows)
    low, high = ax.get_ylim()
    share = min(0.075, 0.45 / max(len(present), 1))  # the strip must not crowd out the lines
    lane = share * (high - low)
    for place, arm in enumerate(present, start=1):
        rounds = of_arm(rows, arm)["round"].unique()
        style: dict[str, Any] = {
            "color": arms[arm].colour,
            "markeredgewidth": 0,
            "markersize": 1 + 30 * share,
        }
        ax.plot(rounds, [low - lane * (place - 0.5)] * len(rounds), arms[arm].marker, **style)
    ax.set_ylim(low - lane * (len(present) + 0.2) if present else low, high)
