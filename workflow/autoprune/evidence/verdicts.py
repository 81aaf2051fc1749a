"""The rows of the claims table: a published figure beside ours, and the rule of the verdict."""

from typing import Any, NamedTuple

import pandas as pd

from autoprune.errors import InputError
from autoprune.evidence.statistics import UNRESOLVED, Summary, files_behind, judge, summarise
from autoprune.pruning.options import WEIGHTS
from autoprune.style import decimal, label, tested_on, with_spread
from autoprune.verdicts_android import speed_up_about, speed_up_rows

COUNTS = {"parameters": "parameters_with_statistics", "flops_tf_profiler": "flops_tf_profiler"}
# The notebooks run the authors' code, which is our variant of fresh weights.
AUTHORS_VARIANT = {"dense": "fedavg", "autoprune": "reinit"}
# Rounds after which the notebooks end a search that still finds filters: 50, in some 100.
LEAST_CAP = 50
# What makes a run as large as a notebook's: columns of published.tsv, final metrics of ours.
SIZE = {
    "rounds": "rounds",
    "clients_per_round": "clients a round",
    "test_examples": "test examples",
}


class Figure(NamedTuple):
    """What a claim of the abstract is measured by."""

    column: str  # of against_dense
    counted: str  # the metric of a run it rests on
    over_pairs: str  # how the data set/model pairs of one seed become one value
    unit: str
    sentence: str


ABSTRACT = {
    "parameters_reduction": Figure(
        # Keras totals, as the authors count.
        "parameters_with_statistics_reduction",
        "parameters_with_statistics",
        "mean",
        " %",
        "reduction of parameters (Keras total) against dense",
    ),
    "flops_reduction": Figure(
        "flops_tf_profiler_reduction",
        "flops_tf_profiler",
        "mean",
        " %",
        "reduction of FLOPs (TensorFlow profiler) against dense",
    ),
    "communication_reduction": Figure(
        "communication_factor", "bytes_total", "max", "×", "reduction of bytes sent against dense"
    ),
    "accuracy_change": Figure(
        "accuracy_change", "test_accuracy", "mean", " points", "test accuracy comparable with dense"
    ),
}
COLUMNS = [
    *("claim", "published", "source", "variant", "ours", "low", "high", "n", "verdict"),
    *("resolved", "tested_on", "rule", "source_files", "unit"),
]


def row(about: dict[str, str], tested_on: str, ours: Summary | None = None, **rest: str) -> dict:
    """One row: ``about`` names the claim; without ``ours`` it is one that was not tested.

    ``unit`` is that of ``ours``, for the readable tables only.
    """
    ours = ours or Summary(0, None, None, None, None)
    figures = {"ours": ours.mean, "low": ours.low, "high": ours.high, "n": ours.n or None}
    untested = {"verdict": "not tested", "resolved": "no", "source_files": ""}
    record = {**about, **figures, **untested, "tested_on": tested_on, **rest}
    return {name: record[name] for name in COLUMNS}


def complete_seeds(pairs: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """The runs whose seed covers every data set/model pair, and a word on those left out.

    An average over other pairs is another quantity: such a seed cannot be pooled with the rest.
    """
    names = pairs["dataset"] + "/" + pairs["model"]
    covered = names.groupby(pairs["seed"]).nunique()
    whole = covered.index[covered == names.nunique()]
    left_out = sorted(set(pairs["seed"]) - set(whole))
    note = f"; left out, as not run on every pair: seeds {' '.join(map(str, left_out))}"
    return pairs[pairs["seed"].isin(whole)], note if left_out else ""


def abstract_rows(
    published: dict[str, str], pairs: pd.DataFrame, sources: pd.DataFrame, margin: float
) -> list[dict[str, Any]]:
    """A row per variant of ours for one claim of the abstract; ``pairs`` as of against_dense."""
    pairs = pairs[(pairs["method"] == published["method"]) & (pairs["stands_for"] != "")]
    # named variants are the study's own: they stand among the comparisons and ablations
    variants = [name for name in WEIGHTS if name in set(pairs["variant"])]
    about, threshold = _abstract_claim(published, margin)
    rows = []
    for variant in variants or [""]:
        about = {**about, "variant": variant}
        figure = ABSTRACT[published["metric"]]
        mine = pairs[pairs["variant"] == variant]
        usable, dropped = complete_seeds(mine)
        if usable.empty:
            why = f"no {published['method']} run beside a dense run of its seed on such data"
            rows.append(
                row(about, f"nothing: {why if mine.empty else 'no seed ran on every pair'}")
            )
            continue
        ours = summarise(usable.groupby("seed")[figure.column].agg(figure.over_pairs))
        files = files_behind(sources, [figure.counted], usable)
        seen = tested_on(usable) + dropped
        verdict = judge(ours, threshold)
        cap = shortest_cut(usable) if published["metric"] != "accuracy_change" else None
        if cap is not None and ours.mean < threshold:
            verdict = UNRESOLVED
            seen += f"; searches cut at {cap:.0f} rounds, the notebooks' at {LEAST_CAP} or 100"
        rows.append(row(about, seen, ours, **verdict, source_files=files))
    return rows


def shortest_cut(runs: pd.DataFrame) -> float | None:
    """The least cap, in rounds, that ended a search sooner than the notebooks' would; or None.

    What such a search did not remove says nothing against a reduction that takes longer.
    """
    if not {"search_rounds", "cap"} <= set(runs.columns):
        return None
    # a search that its cap ends was on in all rounds before that one
    cut = runs[(runs["search_rounds"] >= runs["cap"] - 1) & (runs["cap"] < LEAST_CAP)]
    return None if cut.empty else float(cut["cap"].min())


def android_rows(published: dict[str, str], android: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The rows of the claim on inference time; ``android`` as of autoprune.import_latency."""
    if not published["value"]:
        raise InputError(f"published: {published['metric']} from the abstract has no value")
    about = speed_up_about(published["value"])
    found = speed_up_rows(android, published["method"], float(published["value"]))
    return [row({**about, "variant": one.pop("variant")}, **one) for one in found]


def _abstract_claim(published: dict[str, str], margin: float) -> tuple[dict[str, str], float]:
    """What the rows of a claim share, and the value its mean must reach."""
    metric, value = published["metric"], published["value"]
    if metric not in ABSTRACT:
        raise InputError(f"published: metric: unknown {metric!r}; known are {', '.join(ABSTRACT)}")
    figure = ABSTRACT[metric]
    if metric == "accuracy_change":
        threshold, text = -margin, "comparable (no figure given)"
        rule = f"non-inferiority: mean of (own − dense) ≥ {decimal(-margin)} points"
    elif not value:
        raise InputError(f"published: {metric} from the abstract has no value")
    else:
        threshold, unit = float(value), figure.unit
        text = f"{'up to ' if figure.over_pairs == 'max' else ''}{value}{unit}"
        rule = f"mean ≥ {value}{unit}, not resolved below it where a cap under {LEAST_CAP} rounds "
        rule += "ended a search"
    over = "maximum" if figure.over_pairs == "max" else "average"
    rule += f"; a seed's value is the {over} over the data/model pairs"
    about = {"claim": figure.sentence, "published": text, "rule": rule}
    return {**about, "source": "abstract", "unit": figure.unit}, threshold


def count_row(
    published: dict[str, str], counts: dict[tuple[str, str, str], dict[str, Any]], path: str
) -> dict[str, Any]:
    """A published count beside the one recomputed (in the file ``path``) from its widths."""
    of = {"parameters": "parameters", "flops_tf_profiler": "FLOPs"}[published["metric"]]
    value, widths = float(published["value"]), published["widths"]
    about = {
        "claim": f"{of} of {_setting(published)}",
        "published": decimal(value, 0),
        "source": "notebook",
        "variant": "",
        "rule": "the count of the published widths, equal exactly",
        "unit": "",
    }
    if not widths:
        return row(about, "nothing: the widths are not published")
    key = (published["dataset"], published["model"], widths)
    if key not in counts:
        raise InputError(f"{path}: no counts of {' '.join(key)}; recompute them")
    ours = float(counts[key][COUNTS[published["metric"]]])
    return row(
        about,
        f"the architecture itself, widths {widths}",
        Summary(0, ours, None, None, None),  # a count, not an estimate: no n and no interval
        verdict="holds" if ours == value else "does not hold",
        resolved="yes",
        source_files=path,
    )


def _setting(published: dict[str, str]) -> str:
    return f"{label(published['model'])} on {label(published['dataset'])}, {published['method']}"


def accuracy_row(
    published: dict[str, str], values: pd.DataFrame, sources: pd.DataFrame, margin: float
) -> dict[str, Any]:
    """A published test accuracy beside ours: judged only on real data at the notebook's size."""
    goal = 100 * float(published["value"])
    wanted = {name: float(published[name]) for name in SIZE}
    size = ", ".join(f"{least:,.0f} {SIZE[name]}" for name, least in wanted.items())
    about = {
        "claim": f"test accuracy of {_setting(published)}",
        "published": f"{decimal(goal)} %",
        "source": "notebook",
        "variant": AUTHORS_VARIANT.get(published["method"], ""),
        "rule": f"|mean − published| ≤ {decimal(margin)} points, on real data and with no less "
        f"than the notebook's {size}",
        "unit": " %",
    }
    asked = [published["dataset"], published["model"], published["method"], about["variant"]]
    ours = values[(values[["stands_for", "model", "method", "variant"]] == asked).all(axis=1)]
    real = ours[ours["data_kind"] == "real"]
    usable = real[(real[list(wanted)] >= list(wanted.values())).all(axis=1)]
    if usable.empty:
        why = "no run of this setting on the real data" if real.empty else "too small a run"
        shown = [why, *(_figure(runs) for _, runs in ours.groupby("dataset"))]
        return row(about, f"nothing: {'; ours, on '.join(shown)}")
    mean = summarise(100 * usable["test_accuracy"])
    files = files_behind(sources, ["test_accuracy"], usable)
    verdict = judge(mean, goal - margin, goal + margin)
    return row(about, tested_on(usable), mean, **verdict, source_files=files)


def _figure(runs: pd.DataFrame) -> str:
    percent = with_spread(summarise(100 * runs["test_accuracy"]), unit=" %")
    return f"{tested_on(runs)}; {runs['test_examples'].min():,.0f} test examples: {percent}"
