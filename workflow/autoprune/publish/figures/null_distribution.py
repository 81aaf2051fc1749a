"""Final parameters of the rule on random networks, and those of the trained runs above.

How many parameters the rule leaves when nothing is learnt: grey, searches of each of two kinds with
the k, patience and cap of each pair. Light: every application sees a fresh random network. Dark: a
random network is kept until filters go, as in the authors' code. The markers above are the trained
runs, one a seed. Markers inside the grey say that so much is pruned without training.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoprune.evidence.statistics import final_figures, require
from autoprune.measure.table import PAIR, read_table
from autoprune.publish.axes import log_axis
from autoprune.publish.plotting import (
    COLOURS,
    Look,
    empty,
    finish,
    looks,
    of_arm,
    pair_title,
    panels,
)
from autoprune.publish.spots import percent, say

CATEGORY = "Controls"
INPUTS = {"metrics": "<results>/metrics.csv", "null": "<results>/null/{searched}.csv"}
SIZE = "parameters_with_statistics"
# arms that the rule made smaller, trained or not: what the null's distribution is held against
SEARCHED = ("autoprune", "null-norms")
NULL_COLOURS = {"fresh": "#c8c8c8", "kept": "#8c8c8c"}


def draw(metrics: pd.DataFrame, null: Sequence[str]) -> Figure:
    """Final parameters of the rule on random networks, and those of the trained runs above it."""
    values, _ = final_figures(metrics)
    require(values, [SIZE])
    everyone = values
    values = values[values["method"].isin(SEARCHED)]
    tables = {Path(path).stem: read_table(path, ["null", SIZE]) for path in null}
    shown = [
        (pair, rows, tables[f"{pair[0]}-{pair[2]}"])
        for pair, rows in values.groupby(PAIR)
        if f"{pair[0]}-{pair[2]}" in tables
    ]
    if not shown:
        return empty("no run of autoprune to hold against the null")
    arms = main_arms(values, everyone)
    figure, axes = panels([pair_title(pair) for pair, *_ in shown])
    for ax, (_, rows, draws) in zip(axes, shown, strict=True):
        found = draws[SIZE]
        bins = np.histogram_bin_edges(found, 24).tolist()
        for kind, colour in NULL_COLOURS.items():
            own = found[draws["null"] == kind]
            ax.hist(own, bins, color=colour, edgecolor="white", linewidth=0.3, alpha=0.75)
        top = ax.get_ylim()[1]
        for lane, arm in enumerate(a for a in arms if not of_arm(rows, a).empty):
            mine = of_arm(rows, arm)[SIZE]
            height = [top * (1.06 + 0.09 * lane)] * len(mine)
            for size in mine:
                share = percent((found <= size).mean())
                text = f"{size:,.0f} parameters; {share} of the random networks end as small"
                say(ax, size, height[0], f"{arms[arm].label}: {text}", arms[arm].label)
            style: dict[str, Any] = {"color": arms[arm].colour, "markersize": 5, "alpha": 0.8}
            ax.plot(mine, height, arms[arm].marker, markeredgewidth=0, **style)
        ax.set_ylim(0, top * (1.12 + 0.09 * len(arms)))
        ax.set_yticks([])
        everything = pd.concat([found, rows[SIZE]])
        log_axis(ax, everything.min(), everything.max())
    entries = [
        Line2D([], [], color=colour, linewidth=6, label=f"random networks, {kind}")
        for kind, colour in NULL_COLOURS.items()
    ]
    style = {"linestyle": "none", "markersize": 5, "markeredgewidth": 0}
    entries += [look.entry(marker=look.marker, **style) for look in arms.values()]
    note = "grey: searches in which nothing was learnt, on a random network that is drawn fresh\n"
    note += "every time or kept until filters go; markers: runs, one a seed"
    return finish(figure, "final parameters (Keras total)", "", entries, note)


def main_arms(values: pd.DataFrame, everyone: pd.DataFrame) -> dict[tuple[str, str], Look]:
    """Looks of the searched arms, those of the map over k and patience left out.

    They are the looks that these arms have in the other figures, of ``everyone``, unless there
    are more arms than looks.
    """
    own, common = looks(without_map(values)), looks(without_map(everyone))
    return own if len(common) > len(COLOURS) else {arm: common[arm] for arm in own}


def without_map(values: pd.DataFrame) -> pd.DataFrame:
    """The rows of other runs than those of the map over k and patience."""
    return values[~values["variant"].str.fullmatch(r"k[0-9.]+-p[0-9]+")]
