"""Heat maps with a number in each cell, and what the cell says where there is a pointer."""

import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autoprune.core.labels import arm_label, dataset_label, label
from autoprune.publish.plotting import ARM, SCREEN, arms_of, current_page
from autoprune.publish.spots import say


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


def small() -> float:
    """The font size in points of what has to fit into a cell, and never below 6."""
    return max(6.0, current_page().font - 1)


Grid = tuple[tuple[str, ...], pd.DataFrame, pd.DataFrame, pd.DataFrame]


def grids(shown: Sequence[Grid], note: str) -> Figure:
    """A heat map a pair, one under the other: (pair, shares in [0, 1], texts, long texts)."""
    rows = [len(shares) for _, shares, *_ in shown]
    page = current_page()
    scale, width = page.font / SCREEN.font, page.width or 7
    lines = textwrap.wrap(note, int(width / (0.07 * scale)))
    figure, axes = plt.subplots(
        len(shown),
        1,
        squeeze=False,
        figsize=(width, scale * (0.19 * sum(rows) + 0.5 * len(rows) + 0.16 * len(lines) + 0.25)),
        gridspec_kw={"height_ratios": rows},
    )
    for ax, (pair, shares, texts, spoken) in zip(axes.flat, shown, strict=True):
        style: dict[str, Any] = {"cmap": "cividis", "vmin": 0, "vmax": 1, "cbar": False}
        cell = (width - 1.6) / shares.shape[1]  # inches; the names beside it take the rest
        texts = texts.map(fitting, room=int(72 * cell / (0.6 * small())))
        sns.heatmap(shares, annot=texts, fmt="", annot_kws={"size": small()}, ax=ax, **style)
        ax.set_title(f"{dataset_label(pair[0], pair[1])}, {label(pair[2])}")
        ax.set_yticks([place + 0.5 for place in range(len(shares))])
        names = [arm_label(*arm) for arm in shares.index]
        ax.set_yticklabels(names, rotation=0, fontsize=small())
        say_cells(ax, spoken, names, "layer")
        ax.set(ylabel="", xlabel="")
    axes.flat[-1].set_xlabel("layer")
    figure.suptitle("\n".join(lines), fontsize=page.font + 0.5)
    return figure
