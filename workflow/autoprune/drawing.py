"""What the figures share: how an arm looks, panels, axes, legend, and files of the same bytes."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd

mpl.use("agg")  # no display, and the same pixels everywhere

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from autoprune.files import whole_file
from autoprune.style import arm_label, arm_order

ARM = ["method", "variant"]
PANEL = (2.35, 1.95)  # inches; three panels fill the 7 inches of a page's text
COLUMNS = 3
# Told apart by hue, by lightness, by dash and by marker: any one of them may be lost. The first
# seven are Okabe and Ito's; their yellow is left out, as it vanishes on white.
COLOURS = (
    *("#222222", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"),
    *("#332288", "#999933", "#882255", "#44AA99", "#888888"),
)
DASHES = ("", (4, 1.5), (1.2, 1.2), (6, 1.5, 1.2, 1.5), (2.5, 1), (6, 1.2, 1.2, 1.2, 1.2, 1.2))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.pad": 1,
    "ytick.major.pad": 1,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "lines.linewidth": 1.4,
    "grid.linewidth": 0.5,
    "axes.linewidth": 0.7,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "svg.hashsalt": "autoprune",  # without it the ids in the SVG are random
}


class Look(NamedTuple):
    """How one arm is drawn, the same in every panel of a figure."""

    label: str
    colour: str
    dash: tuple[float, ...] | str
    marker: str

    def entry(self, **more: Any) -> Line2D:
        """Its legend entry; ``more`` as for Line2D."""
        line = Line2D([], [], color=self.colour, label=self.label, **more)
        if self.dash and more.get("linestyle") != "none":
            line.set_dashes(self.dash)
        return line


def looks(table: pd.DataFrame) -> dict[tuple[str, str], Look]:
    """A look for each (method, variant) of a table, in order; they repeat after twelve."""
    return {
        arm: Look(
            arm_label(*arm),
            COLOURS[place % len(COLOURS)],
            DASHES[place % len(DASHES)],
            MARKERS[place % len(MARKERS)],
        )
        for place, arm in enumerate(arms_of(table))
    }


def arms_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """The distinct (method, variant) of a table, in order."""
    return arm_order(table[ARM].itertuples(index=False, name=None))


def told_apart(table: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The rows of as many arms as there are looks, the first in order, and a word on the others."""
    arms = arms_of(table)
    if len(arms) <= len(COLOURS):
        return table, ""
    shown = set(arms[: len(COLOURS)])
    mine = [arm in shown for arm in table[ARM].itertuples(index=False, name=None)]
    return table[mine], f"; {len(shown)} of {len(arms)} methods, the tables have all"


def of_arm(table: pd.DataFrame, arm: tuple[str, str]) -> pd.DataFrame:
    """The rows of one (method, variant)."""
    return table[(table[ARM] == list(arm)).all(axis=1)]


def panels(titles: Sequence[str], columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with a titled panel each, ``columns`` a row (at most three unless given)."""
    if columns is None:
        columns = 2 if len(titles) == 4 else min(COLUMNS, len(titles))
    rows = -(-len(titles) // columns)
    # Not narrower than two panels, so that the legend has room.
    size = (PANEL[0] * max(columns, 2), PANEL[1] * rows)
    figure, grid = plt.subplots(rows, columns, squeeze=False, figsize=size)
    axes = list(grid.flat)
    for unused in axes[len(titles) :]:
        unused.remove()
    axes = axes[: len(titles)]
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
    return figure, axes


def finish(
    figure: Figure, x: str, y: str, entries: Iterable[Line2D], note: str | None = None
) -> Figure:
    """Name the outer axes and put the legend, headed by ``note``, below all panels."""
    last: dict[int, Axes] = {}
    for ax in figure.axes:  # row by row, so that the lowest of each column comes last
        place = ax.get_subplotspec()
        ax.set(xlabel="", ylabel=y if place.is_first_col() else "")
        last[place.colspan.start] = ax
    for ax in last.values():
        ax.set_xlabel(x)
    entries = list(entries)
    longest = max(len(str(entry.get_label())) for entry in entries)
    # About 0.065 inch a letter at 8 pt, and half an inch for the line before it.
    columns = max(1, min(len(entries), int(figure.get_figwidth() / (0.065 * longest + 0.6))))
    rows = -(-len(entries) // columns)
    columns = -(-len(entries) // rows)  # as even as can be
    heading = textwrap.wrap(note or "", int(figure.get_figwidth() / 0.072))
    figure.legend(
        handles=entries, loc="outside lower center", ncols=columns, title="\n".join(heading)
    )
    figure.set_figheight(figure.get_figheight() + 0.2 * (rows + len(heading)) + 0.15)
    return figure


def percent_axis(ax: Axes) -> None:
    """Label the y axis of fractions in percent; nothing below 0, where only markers are."""
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %" if value > -1e-9 else "")


def whole_axis(ax: Axes) -> None:
    """Round numbers along the x axis, with thousands separators."""
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")


def log_axis(ax: Axes, least: float, most: float) -> None:
    """A logarithmic x axis for values from ``least`` to ``most``, labelled 5k, 2M."""

    def short(value: float, _: int | None = None) -> str:
        for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if value >= size:
                return f"{value / size:.3g}{letter}"
        return f"{value:.3g}"

    ax.set_xscale("log")
    ax.set_xlim(least / 1.6, most * 1.6)
    span = most / least
    subs = (1, 2, 5) if span < 12 else (1, 3) if span < 100 else (1,)
    ax.xaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    ax.xaxis.set_major_formatter(short)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())


CHANCE = {"color": "#777777", "linewidth": 0.8, "linestyle": ":"}


def chance_line(ax: Axes, metrics: pd.DataFrame, dataset: str) -> None:
    """A thin dotted line at 1 / classes, where the metrics know the classes of ``dataset``."""
    classes = metrics[(metrics["metric"] == "classes") & (metrics["dataset"] == dataset)]["value"]
    if not classes.empty:
        ax.axhline(1 / classes.iloc[0], **CHANCE)


def chance_entry() -> Line2D:
    """The legend entry of ``chance_line``."""
    return Line2D([], [], label="1 / number of classes", **CHANCE)


def settle(figure: Figure) -> None:
    """Lay the figure out for good, at rounded places.

    The solver's last digits differ from process to process, and an SVG's ids are made from them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(float(number), 4) for number in axes.get_position().bounds])


def save(figure: Figure, svg: str, png: str) -> None:
    """Write both files or neither, the same bytes for the same figure."""
    settle(figure)
    try:
        with whole_file(svg) as vector, whole_file(png) as pixels:
            figure.savefig(vector, format="svg", metadata={"Date": None})
            figure.savefig(pixels, format="png", metadata={"Software": None})
    finally:
        plt.close(figure)


def use_theme() -> None:
    """Set seaborn's theme and SETTINGS; call it before a figure is made."""
    sns.set_theme(style="whitegrid", rc=SETTINGS)
