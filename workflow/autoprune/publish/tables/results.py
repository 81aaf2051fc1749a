"""The results: a row per data set, model and method, over seeds."""

from collections.abc import Sequence

import pandas as pd

from autoprune.core.labels import arm_label, by_layer, decimal, label
from autoprune.evidence.statistics import Summary
from autoprune.evidence.texts import with_interval, with_spread
from autoprune.publish.latex import Paper
from autoprune.publish.tables import Row
from autoprune.publish.tables import summary as figures

TITLE = "Results"
GROUP = 2
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


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table; of stand-ins where there are any."""
    return [*NOTES, STAND_IN_NOTE] if any(row["data_kind"] == "stand-in" for row in rows) else NOTES


def readable(rows: Sequence[Row]) -> pd.DataFrame:
    """The table for people."""
    return pd.DataFrame(map(cells, rows))


def summary(row: Row, name: str) -> Summary:
    """The figures of a column over seeds."""
    return figures(row, *(f"{name}_{part}" for part in Summary._fields))


def cells(row: Row) -> dict[str, str]:
    """A row for people."""

    def less(name: str) -> str:
        change = summary(row, f"{name}_reduction_percent").mean
        beside = "" if change is None else f" ({decimal(-change, 1, sign=True)} %)"
        return decimal(summary(row, name).mean, 0) + beside

    def sent(name: str, factor: str) -> str:
        amount = decimal(summary(row, name).mean / 1e6, 2) + " MB"
        by = summary(row, factor).mean
        return amount if by is None else f"{amount} (÷ {decimal(by, 2)})"

    accuracy = summary(row, "accuracy")
    percent = Summary(accuracy.n, *(None if part is None else 100 * part for part in accuracy[1:]))
    return {
        "data": row["dataset_label"],
        "model": label(row["model"]),
        "method": arm_label(row["method"], row["variant"]),
        "rounds × clients": f"{row['rounds']} × {row['clients_per_round']}",
        "accuracy, %": with_spread(percent),
        "against dense, points": with_interval(summary(row, "accuracy_change_points"), sign=True),
        "parameters": less("parameters"),
        "MACs": less("macs"),
        "FLOPs (TF profiler)": less("flops_tf_profiler"),
        "traffic": sent("bytes_total", "communication_factor"),
        "payload": sent("payload_total", "communication_factor_payload"),
        "live filters": by_layer(row["live_filters"]),
    }
