"""How axes are numbered, and the line of chance."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator


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
    low, high = ax.get_xlim()
    decades = [10.0**power for power in range(-3, 13)]
    ticks: list[float] = []
    for steps in (
        (1,),
        (1, 3),
        (1, 2, 5),
        (1.5, 3, 6),
        (1, 1.5, 2, 3, 5, 7),
    ):  # as few as say enough
        if len(ticks) < 3:
            ticks = [s * d for d in decades for s in steps if low <= s * d <= high]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(FuncFormatter(short))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())


CHANCE: dict[str, Any] = {"color": "#777777", "linewidth": 0.8, "linestyle": ":"}


def chance_line(ax: Axes, metrics: pd.DataFrame, dataset: str) -> None:
    """A thin dotted line at 1 / classes, where the metrics know the classes of ``dataset``."""
    classes = metrics[(metrics["metric"] == "classes") & (metrics["dataset"] == dataset)]["value"]
    if not classes.empty:
        ax.axhline(1 / classes.iloc[0], **CHANCE)


def chance_entry() -> Line2D:
    """The legend entry of ``chance_line``."""
    return Line2D([], [], label="1 / number of classes", **CHANCE)
