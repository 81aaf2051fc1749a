"""What figures share: looks of arms, panels, legend, and files of the same bytes."""

import textwrap
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd

mpl.use("agg")  # no display, and the same pixels everywhere

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoprune.core.errors import InputError
from autoprune.core.files import whole_file
from autoprune.core.labels import arm_label, arm_order, dataset_label, label
from autoprune.measure.table import PAIR
from autoprune.publish.spots import forget, with_values

ARM = ["method", "variant"]
COLUMNS = 3

PANEL = (2.35, 1.95)  # inches
# what is told of the making of a file would differ each time
METADATA = {"svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}}
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
    "pdf.fonttype": 42,  # TrueType: many publishers refuse type 3
}


class Look(NamedTuple):
    """How one arm is drawn, the same in every panel of a figure."""

    label: str
    colour: str
    dash: Any  # (on, off, ...) in points, or "" for a whole line
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


def by_round(metrics: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Per run and round, a column for each metric in ``names`` (NaN where there is none).

    Raises InputError when no run has the first of them.
    """
    rows = metrics[metrics["round"].notna() & metrics["metric"].isin(list(names))]
    keys = [*PAIR, *ARM, "seed", "round", "metric"]
    wide = rows.set_index(keys)["value"].unstack("metric")  # noqa: PD010
    wide = wide.reindex(columns=list(names)).rename_axis(columns=None).reset_index()
    if wide[names[0]].isna().all():
        raise InputError(f"metrics: no run has {names[0]} by round; nothing to draw")
    return wide.astype({"round": float})


def panels(titles: Sequence[str], columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """A figure with a titled panel each, ``columns`` a row."""
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


def by_pair(table: pd.DataFrame) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A panel for each data set/model pair with its rows."""
    groups = list(table.groupby(PAIR))
    figure, axes = panels([pair_title(pair) for pair, _ in groups])
    return figure, [(ax, rows) for ax, (_, rows) in zip(axes, groups, strict=True)]


def pair_title(pair: tuple[str, ...], between: str = "\n") -> str:
    """The data set and model of a pair (PAIR's values)."""
    return f"{dataset_label(pair[0], pair[1])}{between}{label(pair[2])}"


def empty(note: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure, (ax,) = panels([""])
    ax.text(0.5, 0.5, note, ha="center", va="center", wrap=True, transform=ax.transAxes)
    ax.axis("off")
    return figure


def finish(
    figure: Figure, x: str, y: str, entries: Iterable[Line2D], note: str | None = None
) -> Figure:
    """Name the outer axes and put the legend, headed by ``note``, below all panels."""
    last: dict[int, Axes] = {}
    for ax in figure.axes:  # row by row, so that the lowest of each column comes last
        place = ax.get_subplotspec()
        assert place is not None  # every panel is one of a grid
        ax.set(xlabel="", ylabel=y if place.is_first_col() else "")
        last[place.colspan.start] = ax
    for ax in last.values():
        ax.set_xlabel(x)
    entries = list(entries)
    longest = max(len(str(entry.get_label())) for entry in entries)
    # About 0.065 inch a letter at 8 pt, and half an inch for the line before it.
    columns = int(figure.get_figwidth() / (0.065 * longest + 0.6))
    columns = max(1, min(len(entries), columns))
    rows = -(-len(entries) // columns)
    columns = -(-len(entries) // rows)  # as even as can be
    heading = textwrap.wrap(note or "", int(figure.get_figwidth() / 0.072))
    figure.legend(
        handles=entries, loc="outside lower center", ncols=columns, title="\n".join(heading)
    )
    figure.set_figheight(figure.get_figheight() + (0.2 * (rows + len(heading)) + 0.15))
    return figure


def settle(figure: Figure) -> None:
    """Lay the figure out for good, at rounded places.

    The solver's last digits differ from process to process, and an SVG's ids are made from them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        left, bottom, width, height = (round(float(n), 4) for n in axes.get_position().bounds)
        axes.set_position((left, bottom, width, height))


def save(figure: Figure, *files: str | Path) -> None:
    """Write svg, png and pdf files, all or none, the same bytes for the same figure."""
    with ExitStack() as stack:
        try:
            settle(figure)
            for file in files:
                scratch = stack.enter_context(whole_file(file))
                form = scratch.suffix.removeprefix(".")
                figure.savefig(scratch, format=form, metadata=METADATA[form])
                if form == "svg":
                    scratch.write_text(with_values(scratch.read_text("utf-8"), figure), "utf-8")
        finally:
            plt.close(figure)
            forget(figure)


def use_theme() -> None:
    """Set seaborn's theme and SETTINGS; call it before a figure is made."""
    sns.set_theme(style="whitegrid", rc=SETTINGS)
