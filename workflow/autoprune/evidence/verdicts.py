"""The rows of the claims table, and those of what the notebooks print and of phones."""

from typing import Any

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.labels import decimal, label
from autoprune.evidence.phones import speed_up_about, speed_up_rows
from autoprune.evidence.statistics import Summary, binomial_margin, files_behind, judge, summarise
from autoprune.evidence.texts import tested_on, with_spread

COUNTS = {"parameters": "parameters_with_statistics", "flops_tf_profiler": "flops_tf_profiler"}
# The notebooks run the authors' code, which is our variant of fresh weights.
AUTHORS_VARIANT = {"dense": "fedavg", "autoprune": "reinit"}
# What makes a run as large as a notebook's: columns of published.tsv, final metrics of ours.
SIZE = {
    "rounds": "rounds",
    "clients_per_round": "clients a round",
    "test_examples": "test examples",
}
COLUMNS = [
    *("claim", "published", "source", "variant", "data", "ours", "low", "high", "n"),
    *("clients_low", "clients_high", "training_ours", "training_low", "training_high"),
    *("training_rounds", "unit", "verdict", "resolved", "answer", "tested_on", "rule"),
    "source_files",
]


def row(about: dict[str, str], tested_on: str, ours: Summary | None = None, **rest: Any) -> dict:
    """One row: ``about`` names the claim; without ``ours`` it is one that was not tested.

    ``unit`` is that of ``ours`` and of what stands beside it.
    """
    ours = ours or Summary(0, None, None, None, None)
    figures = {"ours": ours.mean, "low": ours.low, "high": ours.high, "n": ours.n or None}
    untested = {"verdict": "not tested", "resolved": "no", "source_files": ""}
    record = {**about, **figures, **untested, "tested_on": tested_on, **rest}
    texts = {"data": "", "answer": ""}
    return {name: record.get(name, texts.get(name)) for name in COLUMNS}


def android_rows(published: dict[str, str], android: pd.DataFrame | None) -> list[dict[str, Any]]:
    """The rows of the claim on inference time; ``android`` as of autoprune.phone.import_latency."""
    if not published["value"]:
        raise InputError(f"published: {published['metric']} from the abstract has no value")
    about = speed_up_about(published["value"])
    found = speed_up_rows(android, published["method"], float(published["value"]))
    return [row({**about, "variant": one.pop("variant")}, **one) for one in found]


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
    published: dict[str, str], values: pd.DataFrame, sources: pd.DataFrame, margin: float | None
) -> dict[str, Any]:
    """A published test accuracy beside ours: judged only on real data at the notebook's size.

    On test images alone, as the notebook has it; ``margin`` None is that of its test images.
    """
    share = float(published["value"])
    goal, wanted = 100 * share, {name: float(published[name]) for name in SIZE}
    if margin is None:
        margin = binomial_margin(share, wanted["test_examples"])
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
