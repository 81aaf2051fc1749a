"""Stage: the results table, a row per data set, model and method, over seeds."""

import argparse
from collections.abc import Sequence

import pandas as pd

from autoprune.errors import run_main
from autoprune.evidence.statistics import (
    Summary,
    against_dense,
    files_behind,
    final_figures,
    require,
    summarise,
)
from autoprune.latex import Paper
from autoprune.measure.table import RUN, read_metrics
from autoprune.style import (
    add_table_flags,
    arm_label,
    arm_order,
    by_layer,
    dataset_label,
    decimal,
    label,
    with_interval,
    with_spread,
    write_table,
)

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

TITLE = "Results"
NOTES = [
    "Accuracy is on all held-out images, validation and test together, on which nothing was "
    "selected: mean ± sample standard deviation over seeds. Changes are against the dense run of "
    "the same data, model and seed: mean [95 % t-interval, not corrected for their number: "
    "whether methods differ is for the comparisons]; (n=1) marks a single seed, which has no "
    "interval.",
    "MACs count a multiply-add as one; FLOPs follow TensorFlow's profiler, as the paper does. "
    "Traffic is what the server and its clients sent in all rounds, 1 MB = 10⁶ bytes; the factor "
    "is dense bytes over own bytes.",
    "Payload is the numbers alone, without what names and wraps them in a message: the smaller "
    "the network, the more of the traffic is wrapping. Live filters: the share of each layer's "
    "that fire on any of 2,000 training images in the last round, first layer first, mean over "
    "seeds.",
]
PAPER = Paper(
    headings=["data", "model"], left_out=["rounds × clients", "MACs", "payload", "live filters"]
)
STAND_IN_NOTE = (
    "Data marked (stand-in) are generated or borrowed in place of the paper's: such rows show "
    "that the pipeline works, not that the paper's figures hold."
)


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


def _columns(name: str, summary: Summary) -> dict[str, float | int | None]:
    return {f"{name}_{part}": value for part, value in summary._asdict().items()}


def results(metrics: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The results table from tidy metrics: (raw numbers for CSV, readable text).

    Raises InputError when a run lacks a figure.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    runs = pd.MultiIndex.from_frame(values[RUN])
    values["widths"] = final_widths(metrics).reindex(runs, fill_value="").to_numpy()
    live = final_live(metrics).reindex(runs).set_axis(values.index)
    pairs = against_dense(values)
    pairs["communication_factor_payload"] = pairs["payload_total_dense"] / pairs["payload_total"]
    raw, readable = [], []
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
        for name, summary in summaries.items():
            row |= _columns(name, summary)
        row["final_widths"] = "; ".join(
            f"seed {seed}: {widths}"
            for seed, widths in zip(runs["seed"], runs["widths"], strict=True)
        )
        row["live_filters"] = " ".join(
            f"{share:.4f}" for share in live.loc[runs.index].mean().dropna()
        )
        row["source_files"] = files_behind(sources, NEEDED, runs, twins)
        raw.append(row)
        readable.append(_readable(row, summaries))
    frame = pd.DataFrame(raw)
    whole = [name for name in frame if name == "n" or name.endswith("_n")]
    return frame.astype(dict.fromkeys(whole, "Int64")), pd.DataFrame(readable)


def _range(values: pd.Series) -> str:
    """ "20" when all runs agree, "20–50" when they do not."""
    low, high = f"{values.min():.4g}", f"{values.max():.4g}"
    return low if low == high else f"{low}–{high}"


def _readable(row: dict, summaries: dict[str, Summary]) -> dict[str, str]:
    def less(name: str) -> str:
        mean = decimal(summaries[name].mean, 0)
        return mean + _change(summaries[f"{name}_reduction_percent"])

    percent = Summary(
        *(
            part if place == 0 or part is None else 100 * part
            for place, part in enumerate(summaries["accuracy"])
        )
    )

    def sent(name: str, factor: str) -> str:
        amount = decimal(summaries[name].mean / 1e6, 2) + " MB"
        by = summaries[factor].mean
        return amount if by is None else f"{amount} (÷ {decimal(by, 2)})"

    return {
        "data": row["dataset_label"],
        "model": label(row["model"]),
        "method": arm_label(row["method"], row["variant"]),
        "rounds × clients": f"{row['rounds']} × {row['clients_per_round']}",
        "accuracy, %": with_spread(percent),
        "against dense, points": with_interval(summaries["accuracy_change_points"], sign=True),
        "parameters": less("parameters"),
        "MACs": less("macs"),
        "FLOPs (TF profiler)": less("flops_tf_profiler"),
        "traffic": sent("bytes_total", "communication_factor"),
        "payload": sent("payload_total", "communication_factor_payload"),
        "live filters": by_layer(row["live_filters"]),
    }


def _change(reduction: Summary) -> str:
    if reduction.mean is None:
        return ""
    return f" ({decimal(-reduction.mean, 1, sign=True)} %)"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    add_table_flags(parser)
    arguments = parser.parse_args(argv)
    metrics = read_metrics(arguments.metrics)
    raw, readable = results(metrics)
    notes = [*NOTES, STAND_IN_NOTE] if (raw["data_kind"] == "stand-in").any() else NOTES
    write_table(arguments, raw, readable, TITLE, notes, group=2, paper=PAPER)


if __name__ == "__main__":
    run_main(main)
