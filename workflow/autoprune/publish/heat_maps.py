"""Heat maps with a number in each cell, and what the cell says where there is a pointer."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoprune.core.labels import arm_label
from autoprune.publish.plotting import ARM, arms_of, pair_title
from autoprune.publish.spots import say

SMALL = 7.0  # points; the letters of what has to fit into a cell
WIDTH = 7  # inches


def say_cells(ax: Axes, texts: pd.DataFrame, rows: Sequence[str], column: str) -> None:
    """What each cell of a heat map says: its row and column, then its text, where it has one."""
    for down, name in enumerate(rows):
        for along, at in enumerate(texts.columns):
            if text := texts.iloc[down, along]:
                where = f"{name}, {column} {at:g}"
                say(ax, along + 0.5, down + 0.5, f"{where}\n{text}", name, (1, 1))


def grid_of(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Means over seeds of a column: a row for each arm in order, a column for each layer."""
    means = rows.groupby([*ARM, "layer"])[name].mean().unstack("layer")  # noqa: PD010
    return means.reindex(pd.MultiIndex.from_tuples(arms_of(rows), names=ARM))


def fitting(text: str, room: int) -> str:
    """A cell's text in ``room`` letters: without what is in brackets, or none at all."""
    candidates = (text, text.partition(" (")[0], "")
    return next(part for part in candidates if len(part) <= max(room, 0))


Grid = tuple[tuple[str, ...], pd.DataFrame, pd.DataFrame, pd.DataFrame]


def grids(shown: Sequence[Grid], note: str) -> Figure:
    """A heat map a pair, one under the other: (pair, shares in [0, 1], texts, long texts)."""
    rows = [len(shares) for _, shares, *_ in shown]
    lines = textwrap.wrap(note, int(WIDTH / 0.07))
    figure, axes = plt.subplots(
        len(shown),
        1,
        squeeze=False,
        figsize=(WIDTH, 0.19 * sum(rows) + 0.5 * len(rows) + 0.16 * len(lines) + 0.25),
        gridspec_kw={"height_ratios": rows},
    )
    for ax, (pair, shares, texts, spoken) in zip(axes.flat, shown, strict=True):
        style: dict[str, Any] = {"cmap": "cividis", "vmin": 0, "vmax": 1, "cbar": False}
        cell = (WIDTH - 1.6) / shares.shape[1]  # inches; the names beside it take the rest
        texts = texts.map(fitting, room=int(72 * cell / (0.6 * SMALL)))
        sns.heatmap(shares, annot=texts, fmt="", annot_kws={"size": SMALL}, ax=ax, **style)
        ax.set_title(pair_title(pair, ", "))
        ax.set_yticks([place + 0.5 for place in range(len(shares))])
        names = [arm_label(*arm) for arm in shares.index]
        ax.set_yticklabels(names, rotation=0, fontsize=SMALL)
        say_cells(ax, spoken, names, "layer")
        ax.set(ylabel="", xlabel="")
    axes.flat[-1].set_xlabel("layer")
    figure.suptitle("\n".join(lines), fontsize=8.5)
    return figure
