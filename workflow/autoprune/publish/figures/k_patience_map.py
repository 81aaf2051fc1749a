"""Parameters left and accuracy over k and patience, means over seeds.

Two heat maps a pair, of fresh-weight runs that train as their pair's dense runs do. Beside each k
stand the least widths that the closed form of the rule allows, and the share of parameters that a
network of these widths has: what the cells cannot be below.
"""

from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoprune.evidence.ablated import ALIKE, comparable
from autoprune.evidence.statistics import final_figures, is_baseline, require
from autoprune.measure.table import PAIR, read_table
from autoprune.publish.heat_maps import SMALL, say_cells
from autoprune.publish.plotting import PANEL, empty, pair_title, panels

CATEGORY = "Controls"
INPUTS = {"metrics": "<results>/metrics.csv", "floors": "<results>/floors.csv"}
ONLY_WITH = "map"
MAPPED = {"parameters_with_statistics": "parameters left", "test_accuracy": "test accuracy"}


def draw(metrics: pd.DataFrame, floors: str) -> Figure:
    """The maps; ``floors`` is the CSV of autoprune.measure.floors."""
    values, _ = final_figures(metrics)
    require(values, MAPPED)
    least = read_table(floors, [*PAIR, "k", "widths", "share"]).set_index([*PAIR, "k"])
    if not {"k", "patience"} <= set(values.columns):
        return empty("no runs with k and patience")
    runs = values[(values["method"] == "autoprune") & values["k"].notna()]
    runs = runs[same_training(runs, values)]
    cells = runs.groupby([*PAIR, "k", "patience"])[list(MAPPED)].mean().reset_index()
    spread = cells.groupby(PAIR)["k"].transform("nunique")
    cells = cells[(spread > 1) & (cells.groupby(PAIR)["patience"].transform("nunique") > 1)]
    if cells.empty:
        return empty("no map: the study varies k and patience nowhere (config: variants)")
    dense = values[values["method"] == "dense"].groupby(PAIR)[list(MAPPED)].mean()
    shown = [(pair, of_pair, name) for pair, of_pair in cells.groupby(PAIR) for name in MAPPED]
    titles = [f"{pair_title(pair, ', ')}\n{MAPPED[name]}, %" for pair, _, name in shown]
    figure, axes = panels(titles, 2)
    figure.set_size_inches(7, 1.33 * PANEL[1] * len(shown) / 2)
    for ax, (pair, of_pair, name) in zip(axes, shown, strict=True):
        grid = of_pair.pivot_table(index="k", columns="patience", values=name)
        if name == "parameters_with_statistics" and pair in dense.index:
            grid = grid / dense.loc[pair, name]
        beside = ax in axes[::2]  # the rows of both maps are the same
        names = [f"{k:g}{floor_note(least, (*pair, k))}" for k in grid.index] if beside else []
        draw_map(ax, 100 * grid, names, MAPPED[name])
    return figure


def draw_map(ax: Axes, grid: pd.DataFrame, names: list[str], quantity: str) -> None:
    """One heat map in per cent; ``names`` of its rows, none where the map beside it has them."""
    style: dict[str, Any] = {"annot": True, "fmt": ".1f", "cmap": "cividis", "cbar": False}
    sns.heatmap(grid, ax=ax, annot_kws={"size": 8}, **style)
    ax.set_yticks([place + 0.5 for place in range(len(names))], names)
    ax.tick_params(axis="y", labelrotation=0, labelsize=SMALL)
    ylabel = "k; least widths, parameters left" if names else ""
    ax.set(xlabel="patience, rounds", ylabel=ylabel)
    ax.set_xticklabels([f"{value:g}" for value in grid.columns])
    texts = grid.map(f"{quantity} {{:.1f}} %".format).where(grid.notna(), "")
    say_cells(ax, texts, [f"k {k:g}" for k in grid.index], "patience")


def floor_note(floors: pd.DataFrame, key: tuple[str | float, ...]) -> str:
    """The least widths and what they leave, as lines below k; nothing for an unknown base."""
    if key not in floors.index:
        return ""
    found = floors.loc[key]
    widths = str(found["widths"]).split()
    each = len(widths) > 4 and len(set(widths)) == 1
    shown = f"{widths[0]} each" if each else " ".join(widths)
    return f"\n≥ {shown}\n≥ {100 * found['share']:.1f} %"


def same_training(runs: pd.DataFrame, values: pd.DataFrame) -> pd.Series:
    """The fresh-weight runs that train as their pair's dense/fedavg was asked to (ALIKE).

    A cohort from which clients failed is still that of the settings.
    """
    dense = values[is_baseline(values)]
    named = runs["variant"].str.fullmatch(r"reinit|k[0-9.]+-p[0-9]+")
    alike = [
        own.index
        for (*pair, _), own in runs[named].groupby([*PAIR, "variant"])
        if comparable(own, dense[(dense[PAIR] == pair).all(axis="columns")], ALIKE)
    ]
    return pd.Series(runs.index.isin([at for index in alike for at in index]), runs.index)
