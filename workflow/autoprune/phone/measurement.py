"""What a benchmark's log says: figures in ms, each with how finely it was printed."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

from autoprune.core.errors import InputError


class Figure(NamedTuple):
    """A time in ms (or a size in MB), and what one unit of its last printed digit is worth."""

    ms: float
    step: float


def in_ms(text: str, factor: float) -> Figure:
    """A printed number times ``factor``, in ms, without the dust of the multiplication."""
    exponent = Decimal(text).as_tuple().exponent
    assert isinstance(exponent, int)  # digits, not NaN
    return Figure(float(f"{float(text) * factor:.12g}"), 10.0**exponent * factor)


@dataclass(frozen=True)
class Measurement:
    """One measurement. Times in ms; None where the log has no such figure.

    ``graph`` is the model file as the log names it, ``delegate`` what the log says computed it;
    ``steps`` has, for each time there is, one unit of its last printed digit.
    """

    tool: str
    median_ms: float | None
    mean_ms: float | None
    min_ms: float | None
    max_ms: float | None
    std_ms: float | None
    p5_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    runs: int | None
    threads: int | None
    graph: str | None
    p99_ms: float | None = None
    init_ms: float | None = None
    first_ms: float | None = None
    warmup_runs: int | None = None
    delegate: str | None = None  # of autoprune.phone.delegates.LABELS
    nodes: tuple[int, int] | None = None  # delegated, of how many
    size_mb: Figure | None = None  # of the model's file
    steps: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        names = [*(f"{name}_ms" for name in SUMMARY), "runs", "threads", "graph", "delegate"]
        delegated, total = self.nodes or (None, None)
        return {
            **{"tool": self.tool, **{name: getattr(self, name) for name in names}},
            **{"nodes_delegated": delegated, "nodes_total": total},
        }

    def cells(self) -> dict[str, Any]:
        """Its part of a row of runs.csv: times as finely as the log has them, and the nodes."""
        times = {f"{name}_ms": getattr(self, f"{name}_ms") for name in TIMES}
        delegated, total = self.nodes or (None, None)
        return {
            **{name: None if value is None else f"{value:.12g}" for name, value in times.items()},
            **{"nodes_delegated": delegated, "nodes_total": total},
        }


SUMMARY = ("median", "mean", "min", "max", "std", "p5", "p90", "p95")
TIMES = (*SUMMARY, "p99", "init", "first")
ORDERED = ("min", "p5", "median", "p90", "p95", "p99", "max")


def measurement(name: str, figures: Mapping[str, Figure | None], **facts: Any) -> Measurement:
    """A measurement of the log ``name`` from its figures by name of TIMES, and other fields.

    Raises InputError for figures that are out of order or not above 0.
    """
    known = {key: figure for key, figure in figures.items() if figure is not None}
    times: dict[str, Any] = {f"{key}_ms": known[key].ms if key in known else None for key in TIMES}
    steps = {f"{key}_ms": figure.step for key, figure in known.items()}
    found = Measurement(**times, steps=steps, **facts)
    order = [(key, known[key].ms) for key in ORDERED if key in known]
    for (low, less), (high, more) in itertools.pairwise(order):
        if less > more * (1 + 1e-9):
            raise InputError(f"{name}: {low} {less:g} ms is above {high} {more:g} ms; run it again")
    positive = [known[key].ms for key in (*ORDERED, "mean") if key in known]
    if not all(value > 0 for value in positive) or (found.runs is not None and found.runs < 1):
        raise InputError(f"{name}: times and runs must be above 0; run it again")
    return found
