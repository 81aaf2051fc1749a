"""Mean, spread and interval over seeds, and the comparison of a run with its dense twin."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd
from scipy.special import stdtrit  # scipy.stats.t asks it too, and takes a second to load

from autoprune.errors import InputError
from autoprune.metrics import RUN

CONFIDENCE = 0.95
TWIN = ["dataset", "model", "seed"]
BASELINE = ("dense", "fedavg")
UNRESOLVED = {"verdict": "not resolved", "resolved": "no"}


class Summary(NamedTuple):
    """Figures over seeds; what one seed cannot give (``sd`` and the interval) is None."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


def summarise(values: Iterable[float], confidence: float = CONFIDENCE) -> Summary:
    """Mean, sample standard deviation (n - 1) and Student's t-interval of the mean.

    The interval is mean ± t(n - 1) * sd / sqrt(n). No value gives n = 0 and a mean of None.
    Raises ValueError for a value that is not finite.
    """
    numbers = [float(value) for value in values]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"found {numbers}, expected finite numbers")
    n = len(numbers)
    if n == 0:
        return Summary(0, None, None, None, None)
    mean = math.fsum(numbers) / n
    if n == 1:
        return Summary(1, mean, None, None, None)
    sd = math.sqrt(math.fsum((value - mean) ** 2 for value in numbers) / (n - 1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * sd / math.sqrt(n)
    return Summary(n, mean, sd, mean - half, mean + half)


def final_figures(metrics: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The figures of whole runs, a row per run: (values, source files), columns per metric.

    Both frames carry the columns RUN and share their order of rows.
    """
    final = metrics[metrics["round"].isna()].set_index([*RUN, "metric"]).sort_index()
    values = final["value"].unstack("metric")  # noqa: PD010 - pivot_table would aggregate
    sources = final["source_file"].unstack("metric").fillna("")  # noqa: PD010
    frames = (frame.rename_axis(columns=None).reset_index() for frame in (values, sources))
    return tuple(frames)


def require(values: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise InputError when a run lacks one of the final metrics ``names``."""
    for name in names:
        lacking = values if name not in values else values[values[name].isna()]
        if not lacking.empty:
            run = "/".join(str(part) for part in lacking.iloc[0][RUN])
            raise InputError(f"metrics: {run}: {name} is missing; run autoprune.metrics again")


def is_baseline(runs: pd.DataFrame) -> pd.Series:
    """True for the dense runs that others are measured against: dense/fedavg."""
    return (runs["method"] == BASELINE[0]) & (runs["variant"] == BASELINE[1])


def against_dense(runs: pd.DataFrame) -> pd.DataFrame:
    """Each run beside the dense run of its dataset, model and seed (``_dense`` columns).

    Runs without such a twin are left out. Adds, per run: ``accuracy_change`` (percentage
    points), ``X_reduction`` (percent of the dense value) for the four counts, and
    ``communication_factor`` (dense bytes / own bytes).
    """
    baseline = is_baseline(runs)
    pairs = runs[~baseline].merge(runs[baseline], on=TWIN, suffixes=("", "_dense"))
    pairs["accuracy_change"] = 100 * (pairs["test_accuracy"] - pairs["test_accuracy_dense"])
    for name in ("parameters", "parameters_with_statistics", "macs", "flops_tf_profiler"):
        pairs[f"{name}_reduction"] = 100 * (1 - pairs[name] / pairs[f"{name}_dense"])
    pairs["communication_factor"] = pairs["bytes_total_dense"] / pairs["bytes_total"]
    return pairs


def files_behind(sources: pd.DataFrame, metrics: Sequence[str], *frames: pd.DataFrame) -> str:
    """The files that hold ``metrics`` of the runs in ``frames``, joined by semicolons.

    A frame from ``against_dense`` brings the files of the dense twins too.
    """
    keys = []
    for runs in frames:
        keys.append(runs[RUN])
        if "variant_dense" in runs:
            twin = {name: name if name in TWIN else f"{name}_dense" for name in RUN}
            dense = runs[list(twin.values())]
            keys.append(dense.set_axis(RUN, axis="columns"))
    used = sources.merge(pd.concat(keys).drop_duplicates(), on=RUN)[list(metrics)]
    return ";".join(sorted(set(used.to_numpy().ravel()) - {""}))


def judge(ours: Summary, low: float, high: float = math.inf) -> dict[str, str]:
    """``verdict`` of "the mean lies in [low, high]", "not resolved" where the interval leaves it
    open: the mean alone would be an answer that the seeds do not give.

    It is settled (``resolved``) when all of the interval lies on the mean's side of both
    thresholds. One seed settles nothing. Raises ValueError without a mean.
    """
    if ours.mean is None:
        raise ValueError("no mean to judge; give at least one value")
    settled = ours.low is not None and (
        low <= ours.low <= ours.high <= high or ours.high < low or ours.low > high
    )
    if not settled:
        return UNRESOLVED
    return {
        "verdict": "holds" if low <= ours.mean <= high else "does not hold",
        "resolved": "yes",
    }
