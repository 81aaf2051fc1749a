"""Values that a figure's SVG says under the pointer: noted while drawing, written, read again."""

import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SVG = "{http://www.w3.org/2000/svg}"
POINTS = 72  # an inch: the unit of matplotlib's SVGs
GROUP = re.compile(r'<g id="values".*\n</g>\n', re.DOTALL)


class Spot(NamedTuple):
    """A place in a figure and what is to be read there; lengths in data units."""

    ax: Axes
    x: float
    y: float
    text: str
    row: str  # what the arrow keys go along
    size: tuple[float, float] | None  # of a box with its middle at x, y; None: a dot


# Of each figure that is not written yet. Matplotlib has no tooltips; an SVG has, where a shape
# has a title.
_spots: defaultdict[Any, list[Spot]] = defaultdict(list)


def say(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    row: str = "",
    size: tuple[float, float] | None = None,
) -> None:
    """What an SVG of this figure shows while the pointer is at x, y (data units).

    ``row`` names the line or row that the value belongs to; ``size`` makes a box of a dot.
    """
    _spots[ax.figure].append(Spot(ax, x, y, text, row, size))


def percent(value: float) -> str:
    """A fraction as it is read out."""
    return f"{100 * value:.1f} %"


def say_rounds(ax: Axes, rows: pd.DataFrame, x: str, name: str) -> None:
    """The validation accuracy of an arm at each round of its ``rows``: mean, lowest, highest."""
    for at, own in rows.groupby("round"):
        seen = own["validation_accuracy"]
        mean, low, high = (percent(value) for value in (seen.mean(), seen.min(), seen.max()))
        spread = f" ({low} to {high} over {len(seen)} seeds)" if len(seen) > 1 else ""
        say(ax, own[x].mean(), seen.mean(), f"{name}\nround {at:g}: {mean}{spread}", name)


def reworded(figure: Figure, words: Callable[[str], str]) -> None:
    """Put what a figure's SVG says into other words."""
    if figure in _spots:
        _spots[figure] = [spot._replace(text=words(spot.text)) for spot in _spots[figure]]


def forget(figure: Figure) -> None:
    """Drop a figure's spots, when it is written."""
    _spots.pop(figure, None)


def with_values(svg: str, figure: Figure) -> str:
    """A settled figure's SVG with its spots: a last group with id ``values``, if there are any.

    A row is a group in it; shapes are invisible, in points from the upper left corner.
    """
    rows: defaultdict[tuple[int, str], list[str]] = defaultdict(list)
    for spot in _spots.get(figure, []):
        rows[figure.axes.index(spot.ax), spot.row].append(_shape(figure, spot))
    if not rows:
        return svg
    groups = "\n".join(f"<g>{''.join(shapes)}</g>" for shapes in rows.values())
    drawn, end, _ = svg.rpartition("</svg>")
    return f'{drawn}<g id="values" fill-opacity="0">\n{groups}\n</g>\n{end}\n'


def _shape(figure: Figure, spot: Spot) -> str:
    across, up = (length / 2 for length in spot.size or (0, 0))
    corners = [(spot.x - across, spot.y - up), (spot.x + across, spot.y + up)]
    (left, right), ends = (POINTS * spot.ax.transData.transform(corners) / figure.dpi).T
    low, high = sorted(POINTS * figure.get_figheight() - ends)
    title = f"<title>{escape(spot.text)}</title>"
    if spot.size is None:
        return f'<circle cx="{left:.1f}" cy="{low:.1f}" r="4">{title}</circle>'
    size = f'width="{right - left:.1f}" height="{high - low:.1f}"'
    return f'<rect x="{left:.1f}" y="{low:.1f}" {size}>{title}</rect>'


class Values(NamedTuple):
    """What ``with_values`` wrote: points of the picture's width, and of each spot the number of
    its row, its middle's x and y, its width and height (0: a dot), its text."""

    width: float
    spots: list[tuple[int, float, float, float, float, str]]


def read_values(svg: str) -> tuple[str, Values | None]:
    """An SVG without its group of values, and those; None where it has none.

    Raises ElementTree.ParseError for what is no XML.
    """
    image = ElementTree.fromstring(svg)
    group = image.find(f"{SVG}g[@id='values']")
    if group is None:
        return svg, None
    width = float(image.get("viewBox", "").split()[2])
    spots = [(row, *_read(shape)) for row, shapes in enumerate(group) for shape in shapes]
    return GROUP.sub("", svg), Values(width, spots)


def _read(shape: ElementTree.Element) -> tuple[float, float, float, float, str]:
    text = shape.findtext(f"{SVG}title", "")
    if shape.tag == f"{SVG}circle":
        return float(shape.attrib["cx"]), float(shape.attrib["cy"]), 0, 0, text
    x, y, width, height = (float(shape.attrib[name]) for name in ("x", "y", "width", "height"))
    return round(x + width / 2, 2), round(y + height / 2, 2), width, height, text
