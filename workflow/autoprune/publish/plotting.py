"""What figures share: looks of arms, panels, axes, legend, page sizes, files of the same bytes."""

import argparse
import textwrap
from collections.abc import Callable, Iterable, Sequence
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
from autoprune.core.labels import arm_label, arm_order
from autoprune.publish.spots import forget, with_values

ARM = ["method", "variant"]
COLUMNS = 3


class Page(NamedTuple):
    """Where a figure is to be shown; lengths in inches, font size in points."""

    panel: tuple[float, float]
    width: float | None  # of the whole figure; None: that of its panels
    columns: int  # panels beside each other, at most
    font: float


SCREEN = Page((2.35, 1.95), None, COLUMNS, 8)
# the folders of figures for papers: the width of a column (86 mm), and of a page's text (180 mm)
PAGES = {
    "one-column": Page((1.7, 1.5), 3.4, 2, 6.5),
    "two-columns": Page((2.35, 1.65), 7.1, COLUMNS, 7.5),
}
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
IN_POINTS = ("font.size", "labelsize", "titlesize", "fontsize", "title_fontsize", "linewidth")


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
    """A figure with a titled panel each, ``columns`` a row (at most as many as the page takes)."""
    page = current_page()
    if columns is None:
        columns = 2 if len(titles) == 4 else min(COLUMNS, len(titles))
    columns = min(columns, page.columns)
    rows = -(-len(titles) // columns)
    # Not narrower than two panels, so that the legend has room.
    size = (page.width or page.panel[0] * max(columns, 2), page.panel[1] * rows)
    figure, grid = plt.subplots(rows, columns, squeeze=False, figsize=size)
    axes = list(grid.flat)
    for unused in axes[len(titles) :]:
        unused.remove()
    axes = axes[: len(titles)]
    # in print, where panels are narrow, a long line of a title would stand over the next panel
    letters = int(size[0] / columns / (0.08 * page.font / SCREEN.font)) if page.width else 99
    for ax, title in zip(axes, titles, strict=True):
        lines = [part for line in title.split("\n") for part in textwrap.wrap(line, letters)]
        ax.set_title("\n".join(lines))
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
    scale = current_page().font / SCREEN.font
    columns = int(figure.get_figwidth() / (scale * (0.065 * longest + 0.6)))
    columns = max(1, min(len(entries), columns))
    rows = -(-len(entries) // columns)
    columns = -(-len(entries) // rows)  # as even as can be
    heading = textwrap.wrap(note or "", int(figure.get_figwidth() / (0.072 * scale)))
    figure.legend(
        handles=entries, loc="outside lower center", ncols=columns, title="\n".join(heading)
    )
    figure.set_figheight(figure.get_figheight() + scale * (0.2 * (rows + len(heading)) + 0.15))
    return figure


def settle(figure: Figure) -> None:
    """Lay the figure out for good, at rounded places.

    The solver's last digits differ from process to process, and an SVG's ids are made from them.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(float(number), 4) for number in axes.get_position().bounds])


def save(figure: Figure, *files: str | Path) -> None:
    """Write svg, png and pdf files, all or none, the same bytes for the same figure."""
    with ExitStack() as stack:
        _save(figure, [stack.enter_context(whole_file(file)) for file in files])


def _save(figure: Figure, files: Iterable[Path]) -> None:
    try:
        settle(figure)
        for file in files:
            form = file.suffix.removeprefix(".")
            figure.savefig(file, format=form, metadata=METADATA[form])
            if form == "svg":
                file.write_text(with_values(file.read_text("utf-8"), figure), "utf-8")
    finally:
        plt.close(figure)
        forget(figure)


def add_figure_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name the files of ``write_figure``."""
    for form in METADATA:
        parser.add_argument(f"--{form}", required=True, help="output: for the screen")
    parser.add_argument(
        "--paper", nargs="*", default=[], metavar="FILE",
        help=f"outputs for papers, in folders named after their sizes: {', '.join(PAGES)}",
    )  # fmt: skip


def write_figure(
    files: argparse.Namespace,
    make: Callable[[], Figure],
    theme: Callable[[Page], None] | None = None,
) -> None:
    """Make a figure for the screen and for each size in ``--paper``, and write all files or none.

    ``theme`` is called with the page before the figure is made (``use_theme`` unless given).
    Raises InputError for a file in a folder that is no size.
    """
    pages = {SCREEN: [getattr(files, form) for form in METADATA]}
    for file in files.paper:
        size = Path(file).parent.name
        if size not in PAGES:
            raise InputError(f"--paper {file}: expected a folder named {' or '.join(PAGES)}")
        pages.setdefault(PAGES[size], []).append(file)
    with ExitStack() as stack:
        try:
            for page, places in pages.items():
                (theme or use_theme)(page)
                _save(make(), [stack.enter_context(whole_file(place)) for place in places])
        finally:
            (theme or use_theme)(SCREEN)


_pages = [SCREEN]


def current_page() -> Page:
    """The page that figures are made for, as ``use_theme`` has set it."""
    return _pages[-1]


def use_page(page: Page) -> None:
    """Make figures for this page from now on."""
    _pages[:] = [page]


def use_theme(page: Page = SCREEN) -> None:
    """Set seaborn's theme and SETTINGS in the page's size; call it before a figure is made."""
    use_page(page)
    scale = page.font / SCREEN.font
    sized = {
        name: value * scale if name.endswith(IN_POINTS) else value
        for name, value in SETTINGS.items()
    }
    sns.set_theme(style="whitegrid", rc=sized)
