"""Targets in place of k: what was asked for, what the network came to, the plain rule beside it.

Reached is counted anew from the final network; of a latency it is what the table of the device
says, and how far that is from a measurement stands below the table of latencies. The plain rule is
the arm of the same data and network whose k leads nearest to that cost, narrow the uniformly narrow
network of the same parameters; differences are seed by seed, with their 95 % t-interval.
"""

from collections.abc import Sequence

from autoprune.core.labels import decimal
from autoprune.evidence.statistics import Summary
from autoprune.evidence.texts import with_spread
from autoprune.publish.tables import (
    DATA,
    METHOD,
    MODEL,
    Column,
    Row,
    number,
    plain,
    with_range,
    written,
)

TITLE = "Targets"
CATEGORY = "Results"
LABEL = "targets in place of k"
GROUP = 2
ONLY_WITH = "target"
UNITS = {"macs": "MACs", "parameters": "parameters", "bytes": "bytes", "latency_ms": "ms"}


def cost(row: Row, name: str) -> str:
    """A cost in the target's unit."""
    places = 4 if row["target_of"] == "latency_ms" else 0
    return f"{written(row, name, places)} {UNITS[row['target_of']]}"


def accuracy(row: Row) -> str:
    """Mean and standard deviation over seeds, in percent."""
    mean, sd = (number(row[f"accuracy_{part}"]) for part in ("mean", "sd"))
    assert mean is not None  # of some seed
    spread = None if sd is None else 100 * sd
    return with_spread(Summary(int(row["n"]), 100 * mean, spread, None, None))


def against(name: str, title: str) -> list[Column]:
    """Another arm: which, how large as a share of the own, and the difference from it."""
    parts = tuple(f"{name}_difference_{part}" for part in ("points", "low", "high"))

    def size(row: Row) -> str:
        of = "macs" if row["target_of"] in ("macs", "latency_ms") else "parameters_with_statistics"
        other, own = number(row[f"{name}_{of}"]), number(row[of])
        if other is None or not own:
            return "–"
        return f"{row[f'{name}_variant']}, {decimal(100 * other / own, 0)} %"

    def difference(row: Row) -> str:
        points, low, high = parts
        return with_range(row, points, low, high, 1)

    return [
        Column(f"{title}, its cost", size, (f"{name}_macs", f"{name}_parameters_with_statistics")),
        Column(f"against {title}, points", difference, parts),
    ]


COLUMNS = [
    DATA,
    MODEL,
    METHOD,
    Column("target", lambda row: cost(row, "target"), ("target",)),
    Column("of dense, %", lambda row: written(row, "of_dense_percent", 0), ("of_dense_percent",)),
    Column("reached", lambda row: cost(row, "reached"), ("reached",)),
    Column(
        "error, % (largest)",
        lambda row: f"{written(row, 'error_percent')} ({written(row, 'largest_error_percent')})",
        ("error_percent", "largest_error_percent"),
    ),
    plain("n", "seeds", behind=("n",)),
    Column("accuracy, %", accuracy, ("accuracy_mean", "accuracy_sd")),
    *against("plain", "plain rule"),
    *against("narrow", "narrow"),
]


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table; of targets that were missed where there are any."""
    largest = max((abs(float(row["largest_error_percent"])) for row in rows), default=0.0)
    return [
        f"{len(rows)} targets; the seed that is farthest off misses its by {decimal(largest)} %. "
        "Intervals are not corrected for their number."
    ]
