"""Mean, spread and interval over seeds, the held-out accuracy, a run beside its dense twin."""

import argparse
import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
from scipy.special import stdtrit  # scipy.stats.t asks it too, and takes a second to load

from autoprune.core.errors import InputError
from autoprune.core.evaluations import LAST
from autoprune.measure.table import RUN

CONFIDENCE = 0.95
TWIN = ["dataset", "model", "seed"]
BASELINE = ("dense", "fedavg")
UNRESOLVED = {"verdict": "not resolved", "resolved": "no"}
LEAST_MARGIN = 1.0  # accuracy points


class Summary(NamedTuple):
    """Figures over seeds; what one seed cannot give (``sd`` and the interval) is None."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


def as_columns(name: str, summary: Summary) -> dict[str, float | int | None]:
    """The figures of a summary by the columns of a table: ``name_mean`` and so on."""
    return {f"{name}_{part}": value for part, value in summary._asdict().items()}


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

    Both frames carry the columns RUN and share their order of rows. ``accuracy`` is that on all
    held-out images, validation and test together, on which nothing was selected: the mean of the
    last five evaluations. Where a run does not say how many validation images it has, and where
    no round is evaluated, it is ``test_accuracy``.
    """
    final = metrics[metrics["round"].isna()].set_index([*RUN, "metric"]).sort_index()
    values = final["value"].unstack("metric")  # noqa: PD010 - pivot_table would aggregate
    sources = final["source_file"].unstack("metric").fillna("")  # noqa: PD010
    if "test_accuracy" in values:
        values["accuracy"] = last_accuracy(metrics).reindex(values.index)
        values["accuracy"] = values["accuracy"].fillna(values["test_accuracy"])
        sources["accuracy"] = sources["test_accuracy"]
        if "rounds" in sources:  # counted in the file that holds the rounds
            sources["accuracy"] += ";" + sources["rounds"]
    frames = (frame.rename_axis(columns=None).reset_index() for frame in (values, sources))
    return tuple(frames)


def held_out(metrics: pd.DataFrame) -> pd.DataFrame:
    """The accuracy on validation and test images together: columns RUN, round, ``accuracy``.

    A row per evaluated round, in order, each image counted once. Runs without the number of
    their validation images have their test accuracy.
    """
    names = ["test_accuracy", "validation_accuracy", "test_examples", "validation_examples"]
    rows = metrics[metrics["metric"].isin(names)]
    final = rows[rows["round"].isna()].set_index([*RUN, "metric"])["value"]
    wide = rows[rows["round"].notna()].set_index([*RUN, "round", "metric"])["value"]
    wide = wide.unstack("metric").reindex(columns=names[:2])  # noqa: PD010
    wide = wide.dropna(subset="test_accuracy").reset_index()
    counts = final.unstack("metric").reindex(columns=names[2:])  # noqa: PD010
    wide = wide.merge(counts.reset_index(), on=RUN, how="left")
    tested, seen = wide["test_examples"], wide["validation_examples"]
    both = wide["validation_accuracy"] * seen + wide["test_accuracy"] * tested
    # the test accuracy as it stands: a product divided again is another last digit
    wide["accuracy"] = (both / (seen + tested)).fillna(wide["test_accuracy"])
    return wide[[*RUN, "round", "accuracy"]].rename_axis(columns=None)


def last_accuracy(metrics: pd.DataFrame) -> pd.Series:
    """Of each run with evaluated rounds the mean of the last LAST, indexed by RUN."""
    rows = held_out(metrics)
    rows = rows[rows["round"] > 0]  # round 0 is the network before training
    return rows.groupby(RUN)["accuracy"].agg(lambda own: own.iloc[-LAST:].mean())


def held_out_images(runs: pd.DataFrame) -> float:
    """How many held-out images the ``accuracy`` of ``runs`` (as of final_figures) is of."""
    seen = runs["validation_examples"] if "validation_examples" in runs else pd.Series([0.0])
    return float(runs["test_examples"].min() + seen.fillna(0).min())


def binomial_margin(accuracy: float, images: float) -> float:
    """Points by which two networks of this true accuracy differ on so many images by chance.

    1.96 * sqrt(2 p (1 - p) / n), in points: the 95 % range of the difference of two proportions.
    At least LEAST_MARGIN, below which nobody would call accuracies apart.
    """
    chance = 100 * 1.96 * math.sqrt(2 * accuracy * (1 - accuracy) / images)
    return max(LEAST_MARGIN, chance)


def require(values: pd.DataFrame, names: Iterable[str]) -> None:
    """Raise InputError when a run lacks one of the final metrics ``names``."""
    for name in names:
        lacking = values if name not in values else values[values[name].isna()]
        if not lacking.empty:
            run = "/".join(str(part) for part in lacking.iloc[0][RUN])
            raise InputError(
                f"metrics: {run}: {name} is missing: no metric of a whole run has that name, or "
                "autoprune.measure.metrics must run again"
            )


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
    pairs["accuracy_change"] = 100 * (pairs["accuracy"] - pairs["accuracy_dense"])
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
    cells = ";".join(used.to_numpy().ravel())
    return ";".join(sorted(set(cells.split(";")) - {""}))


def size_of(own: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    """Means over seeds of what an arm's final network holds, and its share of the budget.

    The budget is that of the same seed, or the mean where no seed is; for networks of fewer bits
    a number it is one of bits.
    """
    both = own.merge(reference, on="seed", suffixes=("", "_reference"))
    if both.empty:
        both = own.assign(
            parameters_with_statistics_reference=reference["parameters_with_statistics"].mean()
        )
    plain = (both["bits"] >= 32 * both["nonzeros"]).all()
    used = both["nonzeros"] if plain else both["bits"] / 32
    return {
        "parameters_with_statistics": own["parameters_with_statistics"].mean(),
        "nonzeros": own["nonzeros"].mean(),
        "bits": own["bits"].mean(),
        "bytes_total": own["bytes_total"].mean(),
        "share_of_budget": (used / both["parameters_with_statistics_reference"]).mean(),
    }


def judge(ours: Summary, low: float, high: float = math.inf) -> dict[str, str]:
    """``verdict`` of "the mean lies in [low, high]", "not resolved" where the interval leaves it
    open: the mean alone would be an answer that the seeds do not give.

    It is settled (``resolved``) when all of the interval lies on the mean's side of both
    thresholds. One seed settles nothing. Raises ValueError without a mean.
    """
    if ours.mean is None:
        raise ValueError("no mean to judge; give at least one value")
    settled = (ours.low is not None and ours.high is not None) and (
        low <= ours.low <= ours.high <= high or ours.high < low or ours.low > high
    )
    if not settled:
        return UNRESOLVED
    return {
        "verdict": "holds" if low <= ours.mean <= high else "does not hold",
        "resolved": "yes",
    }


def add_margin_flag(parser: argparse.ArgumentParser, flag: str) -> None:
    """The flag of the accuracy margin: points, or nothing for that of the held-out images."""
    parser.add_argument(
        flag, type=partial(_points, flag), metavar="POINTS",
        help="accuracies this close count as equal (default: by the number of held-out images)",
    )  # fmt: skip


def _points(flag: str, text: str) -> float:
    """A margin of 0 to 100 points."""
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 0 <= margin <= 100:
        raise InputError(f"{flag}: found {text!r}, expected 0 to 100 points")
    return margin
