"""How axes are numbered, and the line of chance."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from autoprune.core.labels import MINUS
from autoprune.measure.table import IN_NUMBERS


def percent_axis(ax: Axes, signed: bool = False) -> None:
    """Label the y axis of fractions in percent; below 0 too only where ``signed``.

    Of others only markers are there.
    """
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(
        lambda value, _: (
            f"{100 * value:.4g} %".replace("-", MINUS) if signed or value > -1e-9 else ""
        )
    )


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


SEVERAL, NUMBER = (IN_NUMBERS[task] for task in ("multi-label", "regression"))
CHANCE: dict[str, Any] = {"color": "#777777", "linewidth": 0.8, "linestyle": ":"}


def chance_line(ax: Axes, metrics: pd.DataFrame, dataset: str) -> None:
    """A thin dotted line at what answers without a network come to, where the metrics know it.

    By task: 1 / classes; of yes or no 1 / 2; an R² of 0.
    """
    final = metrics[(metrics["dataset"] == dataset) & metrics["round"].isna()]
    known = final.groupby("metric")["value"].first()
    if "classes" in known:
        level = {SEVERAL: 0.5, NUMBER: 0.0}.get(known.get("task", 0), 1 / known["classes"])
        ax.axhline(level, **CHANCE)


def chance_entry(metrics: pd.DataFrame) -> Line2D:
    """The legend entry of ``chance_line``."""
    rows = metrics[metrics["metric"] == "task"]
    words = {SEVERAL: "1 / 2, a guess of yes or no", NUMBER: "0, the mean for every image"}
    known = [words[task] for task in sorted(set(rows["value"]))]
    if set(metrics["dataset"]) - set(rows["dataset"]):
        known = ["1 / number of classes", *known]
    return Line2D([], [], label="; ".join(known), **CHANCE)
