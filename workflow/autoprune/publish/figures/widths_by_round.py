"""Filters of each layer by round; steps down are the shrinks. Dashed: those that are live.

A panel for each data set, model and method. A line is the mean over the seeds, its band reaches
from the narrowest to the widest; the architecture is found where the lines turn flat. The dashed
line of the same colour counts the filters that fire on any of 2,000 training images. The others are
dead: none of these images moves their weights, and what lies between the two lines is carried for
nothing. Where no filter is dead the dashed line hides behind the solid one. Methods that never
shrink are left out.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoprune.core.labels import arm_label
from autoprune.measure.table import PAIR
from autoprune.publish.axes import whole_axis
from autoprune.publish.plotting import (
    ARM,
    COLOURS,
    COLUMNS,
    arms_of,
    by_round,
    finish,
    of_arm,
    pair_title,
    panels,
    told_apart,
)
from autoprune.publish.spots import say

CATEGORY = "Results"
INPUTS = {"metrics": "<results>/metrics.csv"}
LIVE: dict[str, Any] = {"dashes": (2.5, 1.2), "linewidth": 1.1}  # the line of live filters


def filters_by_round(metrics: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    """The names width_1 ... width_n, and a table with them, live_1 ... live_n and ``shrunk``.

    ``live_k`` is a number of filters: the fraction at the last evaluation of the round's width, so
    that a width which falls between two evaluations stays above it. NaN where none was counted.
    Raises InputError when no run has widths.
    """
    found = set(metrics["metric"])
    names = sorted(
        (name for name in found if name.startswith("width_")),
        key=lambda name: int(name.removeprefix("width_")),
    ) or ["width_1"]
    lives = [name.replace("width", "live") for name in names]
    table = by_round(metrics, [*names, *lives, "shrunk"])  # rounds in order
    shares = table.groupby([*PAIR, *ARM, "seed"])[lives].ffill()
    table[lives] = shares * table[names].to_numpy()
    return names, table


def draw(metrics: pd.DataFrame) -> Figure:
    """Filters of each layer by round, a panel per pair and arm; steps down are the shrinks.

    Beside them, dashed, those that are live; metrics of runs that counted none are drawn without.
    """
    names, table = filters_by_round(metrics)
    shrank = table.groupby([*PAIR, *ARM])["shrunk"].transform("max") > 0
    table = table[shrank] if shrank.any() else table  # an arm that never shrinks is flat lines
    table, more = told_apart(table)
    arms = arms_of(table)
    shown = [
        (*pair, arm, of_arm(rows, arm), rows[names].max().max())
        for pair, rows in table.groupby(PAIR)
        for arm in arms
    ]
    if len(arms) > COLUMNS:  # no column per arm then: pack the panels
        shown = [panel for panel in shown if not panel[4].empty]
    titles = [f"{pair_title(tuple(pair), ', ')}\n{arm_label(*arm)}" for *pair, arm, _, _ in shown]
    figure, axes = panels(titles, min(len(arms), COLUMNS))
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(names))]
    for ax, (*_, rows, widest) in zip(axes, shown, strict=True):
        if rows.empty:
            ax.text(0.5, 0.5, "no run", transform=ax.transAxes, ha="center")
            ax.set(xticks=[], yticks=[])
            continue
        draw_widths(ax, rows, names, colours)
        ax.set_ylim(0, 1.06 * widest)  # the same for all arms of a pair
        whole_axis(ax)
    entries = [
        Line2D([], [], color=colour, label=f"layer {layer}")
        for layer, colour in enumerate(colours, start=1)
    ]
    note = "line: mean over seeds; band: narrowest to widest" + more
    if table.filter(like="live_").notna().any(axis=None):
        entries.append(Line2D([], [], color="#777777", **LIVE, label="of them live"))
        note += "; dashed: filters that fire on any of 2,000 training images"
    return finish(figure, "round", "filters", entries, note)


def draw_widths(ax: Axes, runs: pd.DataFrame, names: Sequence[str], colours: Sequence[str]) -> None:
    """A step line per layer, the mean over seeds, and a dashed one of its live filters.

    The band reaches from the narrowest to the widest.
    """
    lives = [name.replace("width", "live") for name in names]
    seeds = runs.groupby("round")[[*names, *lives]]
    mean, low, high = seeds.mean(), seeds.min(), seeds.max()
    for name, live, colour in zip(names, lives, colours, strict=True):
        if mean[name].isna().all():  # this model has fewer layers
            continue
        band: dict[str, Any] = {"step": "post", "color": colour, "alpha": 0.15, "linewidth": 0}
        ax.fill_between(mean.index, low[name], high[name], **band)
        step: dict[str, Any] = {"drawstyle": "steps-post", "color": colour}
        ax.plot(mean.index, mean[name], **step)
        if mean[live].notna().any():
            ax.plot(mean.index, mean[live], **step, **LIVE)
        say_steps(ax, name, mean[name], low[name], high[name], mean[live])


def say_steps(
    ax: Axes, name: str, mean: pd.Series, low: pd.Series, high: pd.Series, live: pd.Series
) -> None:
    """The filters of a layer, by round, where they change and at the end."""
    layer = f"layer {name.removeprefix('width_')}"
    steps = mean.ne(mean.shift()) | (mean.index == mean.index.max())
    for at in mean.index[steps]:
        spread = f" ({low[at]:g} to {high[at]:g})" if high[at] > low[at] else ""
        firing = f", {live[at]:.4g} live" if pd.notna(live[at]) else ""
        text = f"{layer}, round {at:g}: {mean[at]:.4g} filters{spread}{firing}"
        say(ax, at, mean[at], text, layer)
