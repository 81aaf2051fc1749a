"""Accuracy against multiply-adds and parameters: targets, the rule at several k, and dense.

A marker is the mean of an arm over seeds, a bar its range. The line is the front of the targets:
those that no other target beats in both, at the cost that was reached. Every panel has scales of
its own, of targets and dense: what the rule left far outside them is said in words.
"""

from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoprune.core.labels import arm_label
from autoprune.evidence.statistics import final_figures, require
from autoprune.evidence.targets import TARGETS
from autoprune.measure.table import PAIR
from autoprune.publish.axes import log_axis, percent_axis
from autoprune.publish.plotting import ARM, COLOURS, MARKERS, empty, finish, pair_title, panels
from autoprune.publish.spots import percent, say

CATEGORY = "Results"
LABEL = "front over targets"
ONLY_WITH = "target"
INPUTS = {"metrics": "<results>/metrics.csv"}
COSTS = {"macs": "multiply-adds", "parameters_with_statistics": "parameters"}


class Kind(NamedTuple):
    """What an arm is here, and how it is drawn."""

    label: str
    colour: str
    marker: str


DENSE = Kind("dense", COLOURS[0], MARKERS[0])
RULE = Kind("rule, a k each", COLOURS[2], MARKERS[1])
NARROW = Kind("narrow", COLOURS[11], MARKERS[6])
AIMED = {
    name: Kind(f"target: {name.removeprefix('target_').removesuffix('_ms')}", COLOURS[n], marker)
    for name, n, marker in zip(TARGETS, (1, 3, 4, 5), MARKERS[2:6], strict=True)
}


def kind_of(own: pd.DataFrame) -> Kind | None:
    """What an arm's runs are: dense, the rule with a k, with a target, narrow; None for others."""
    for name, kind in AIMED.items():
        if name in own and own[name].notna().all() and own["method"].iloc[0] == "autoprune":
            return kind
    return {"dense": DENSE, "autoprune": RULE, "narrow": NARROW}.get(own["method"].iloc[0])


def draw(metrics: pd.DataFrame) -> Figure:
    """Two panels a pair: held-out accuracy against MACs and against parameters, both log."""
    values, _ = final_figures(metrics)
    require(values, ["accuracy", *COSTS])
    known = [name for name in TARGETS if name in values]
    pairs = [(pair, own) for pair, own in values.groupby(PAIR) if own[known].notna().any(axis=None)]
    if not pairs:
        return empty("no run has a target")
    titles = [pair_title(pair, ", ") for pair, _ in pairs for _ in COSTS]
    figure, axes = panels(titles, columns=len(COSTS))
    seen: dict[Kind, None] = {}
    for place, (_, own) in enumerate(pairs):
        arms = {tuple(arm): runs for arm, runs in own.groupby(ARM)}
        kinds = {arm: kind for arm, runs in arms.items() if (kind := kind_of(runs))}
        seen |= dict.fromkeys(kinds.values())
        for ax, cost in zip(axes[len(COSTS) * place :], COSTS, strict=False):
            draw_panel(ax, {arm: arms[arm] for arm in kinds}, kinds, cost)
    order = [kind for kind in (DENSE, RULE, NARROW, *AIMED.values()) if kind in seen]
    style: dict[str, Any] = {"linestyle": "none", "markersize": 6, "markeredgecolor": "white"}
    entries = [
        Line2D([], [], color=kind.colour, marker=kind.marker, label=kind.label, **style)
        for kind in order
    ]
    note = "mean over seeds, bars: range; line: front of the targets"
    finish(figure, "", "accuracy", entries, note)
    for ax, name in zip(axes[-len(COSTS) :], COSTS.values(), strict=True):
        ax.set_xlabel(name)
    return figure


def draw_panel(ax: Axes, arms: dict[Any, pd.DataFrame], kinds: dict[Any, Kind], cost: str) -> None:
    """One pair's arms at one cost, and the front of those with a target."""
    points = {arm: (own[cost].mean(), own["accuracy"].mean()) for arm, own in arms.items()}
    targets = [points[arm] for arm, kind in kinds.items() if kind in AIMED.values()]
    ax.plot(*zip(*front(targets), strict=True), color="#999999", linewidth=0.9, zorder=1)
    shown = pd.concat([own for arm, own in arms.items() if kinds[arm] is not RULE])
    least = shown["accuracy"].min() - (shown["accuracy"].max() - shown["accuracy"].min())
    below = []
    for arm, own in arms.items():
        kind, (x, y) = kinds[arm], points[arm]
        if y < least:
            below.append(f"{arm_label(*arm)}: {percent(y)}")
            continue
        shown = pd.concat([shown, own])
        bars = [[y - own["accuracy"].min()], [own["accuracy"].max() - y]]
        more: dict[str, Any] = {"elinewidth": 0.6, "markeredgecolor": "white", "zorder": 3}
        ax.errorbar(x, y, bars, fmt=kind.marker, color=kind.colour, markersize=6, **more)
        say(ax, x, y, f"{arm_label(*arm)}: {percent(y)}, {COSTS[cost]} {x:,.0f}", kind.label)
    log_axis(ax, shown[cost].min(), shown[cost].max())
    ax.margins(y=0.12)
    percent_axis(ax)
    if below:
        text = "\n".join(["below the scale:", *below])
        ax.text(0.97, 0.04, text, ha="right", va="bottom", transform=ax.transAxes, fontsize=6.5)


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (cost, accuracy) that no other has both less cost and more accuracy than, by cost."""
    found: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or accuracy > found[-1][1]:
            found.append((cost, accuracy))
    return found
