"""The results table: a row per data set, model and method, over seeds."""

import pandas as pd

from autoprune.core.labels import arm_order, dataset_label
from autoprune.evidence.statistics import (
    against_dense,
    as_columns,
    files_behind,
    final_figures,
    require,
    summarise,
)
from autoprune.evidence.texts import failed
from autoprune.measure.table import RUN

INPUTS = {"metrics": "<results>/metrics.csv"}
ARM = ["dataset", "data_kind", "stands_for", "model", "method", "variant"]
# What is summarised: from a run alone, and from a run beside its dense twin.
OWN = [
    *("accuracy", "test_accuracy", "parameters", "macs", "flops_tf_profiler"),
    *("bytes_total", "payload_total"),
]
PAIRED = {
    "accuracy_change": "accuracy_change_points",
    "parameters_reduction": "parameters_reduction_percent",
    "macs_reduction": "macs_reduction_percent",
    "flops_tf_profiler_reduction": "flops_tf_profiler_reduction_percent",
    "communication_factor": "communication_factor",
    "communication_factor_payload": "communication_factor_payload",
}
# parameters_with_statistics is not shown, but against_dense() needs it.
NEEDED = [*OWN, "parameters_with_statistics", "rounds", "clients_per_round"]


def final_widths(metrics: pd.DataFrame) -> pd.Series:
    """The widths of each run in its last round as text ("17 43"), indexed by RUN."""
    rows = metrics[metrics["metric"].str.fullmatch(r"width_\d+")]
    rows = rows[rows["round"] == rows.groupby(RUN)["round"].transform("max")]
    rows = rows.assign(layer=rows["metric"].str.removeprefix("width_").astype(int))
    rows = rows.sort_values([*RUN, "layer"])
    texts = rows["value"].map("{:.0f}".format)
    return texts.groupby([rows[name] for name in RUN]).agg(" ".join)


def final_live(metrics: pd.DataFrame) -> pd.DataFrame:
    """The fraction of live filters in each run's last evaluated round, indexed by RUN.

    A column a layer (1, 2, ...), NaN where a network has fewer; no column without such metrics.
    """
    rows = metrics[metrics["metric"].str.fullmatch(r"live_\d+")]
    rows = rows[rows["round"] == rows.groupby(RUN)["round"].transform("max")]
    layer = rows["metric"].str.removeprefix("live_").astype(int)
    return rows.assign(layer=layer).set_index([*RUN, "layer"])["value"].unstack()  # noqa: PD010


def table(metrics: pd.DataFrame) -> pd.DataFrame:
    """The results table from tidy metrics.

    Raises InputError when a run lacks a figure.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    runs = pd.MultiIndex.from_frame(values[RUN])
    values["widths"] = final_widths(metrics).reindex(runs, fill_value="").to_numpy()
    live = final_live(metrics).reindex(runs).set_axis(values.index)
    pairs = against_dense(values)
    pairs["communication_factor_payload"] = pairs["payload_total_dense"] / pairs["payload_total"]
    rows = []
    groups = {tuple(key): runs for key, runs in values.groupby(ARM)}
    arms = arm_order(key[4:] for key in groups)
    for key in sorted(groups, key=lambda key: (key[:4], arms.index(key[4:]))):
        runs = groups[key]
        twins = pairs[(pairs[ARM] == list(key)).all(axis=1)]
        summaries = {name: summarise(runs[name]) for name in OWN}
        summaries |= {short: summarise(twins[name]) for name, short in PAIRED.items()}
        row = dict(zip(ARM, key, strict=True))
        row["dataset_label"] = dataset_label(row["dataset"], row["data_kind"])
        row["n"] = len(runs)
        row["seeds"] = " ".join(map(str, runs["seed"]))
        row["rounds"] = _range(runs["rounds"])
        row["clients_per_round"] = _range(runs["clients_per_round"])
        row["failed_replies"] = failed(runs)
        for name, summary in summaries.items():
            row |= as_columns(name, summary)
        row["final_widths"] = "; ".join(
            f"seed {seed}: {widths}"
            for seed, widths in zip(runs["seed"], runs["widths"], strict=True)
        )
        row["live_filters"] = " ".join(
            f"{share:.4f}" for share in live.loc[runs.index].mean().dropna()
        )
        row["source_files"] = files_behind(sources, NEEDED, runs, twins)
        rows.append(row)
    frame = pd.DataFrame(rows)
    whole = [name for name in frame if name == "n" or name.endswith("_n")]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _range(values: pd.Series) -> str:
    """ "20" when all runs agree, "20–50" when they do not."""
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low}–{high}"
