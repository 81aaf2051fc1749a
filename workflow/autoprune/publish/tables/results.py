"""Dense against pruned: a row for each data set, model and method, over seeds.

Test accuracy is mean ± sample standard deviation. The change against dense pairs runs of the same
seed and gives the mean with its 95 % t-interval: an interval that contains 0 leaves open whether
there is a change. Parameters, MACs, FLOPs and bytes are means, with the reduction against the dense
run of the same seed. The CSV beside this table holds the raw numbers, the final widths of every
seed and the files behind each row.
"""

from collections.abc import Sequence

from autoprune.core.labels import arm_label, by_layer, decimal
from autoprune.evidence.statistics import Summary
from autoprune.evidence.texts import remarks, with_interval, with_spread
from autoprune.publish.tables import DATA, METHOD, MODEL, Column, Row, number, written
from autoprune.publish.tables import summary as figures

TITLE = "Results"
CATEGORY = "Results"
LABEL = "dense against pruned"
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
STAND_IN_NOTE = (
    "Data marked (stand-in) are generated or borrowed in place of the paper's: such rows show "
    "that the pipeline works, not that the paper's figures hold."
)

FAILED_NOTE = (
    "Replies that failed (of so many): {}. What failed clients did not send is no saving: "
    "metrics.csv has the reasons and the bytes per usable reply."
)


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table; of stand-ins and failed clients where there are any."""
    found = [STAND_IN_NOTE] if any(row["data_kind"] == "stand-in" for row in rows) else []
    failures = [
        f"{arm_label(row['method'], row['variant'])} {row['failed_replies']}"
        for row in rows
        if row["failed_replies"]
    ]
    if failures:
        found += [FAILED_NOTE.format(", ".join(failures))]
    return [*NOTES, *found]


def summary(row: Row, name: str, scale: float = 1) -> Summary:
    """The figures of a column over seeds, ``scale`` times as large."""
    found = figures(row, *(f"{name}_{part}" for part in Summary._fields))
    return Summary(found.n, *(None if part is None else scale * part for part in found[1:]))


def counted(title: str, name: str, paper: str = "") -> Column:
    """A count, and what it is less than the dense network's."""
    less = f"{name}_reduction_percent_mean"

    def text(row: Row) -> str:
        change = number(row[less])
        beside = "" if change is None else f" ({decimal(-change, 1, sign=True)} %)"
        return written(row, f"{name}_mean", 0) + beside

    return Column(title, text, (f"{name}_mean", less), paper=paper)


def sent(title: str, name: str, factor: str, paper: str = "") -> Column:
    """Megabytes in all, and how many times less than the dense run's."""
    by = f"{factor}_mean"

    def text(row: Row) -> str:
        amount = written(row, f"{name}_mean", 2, 1e-6) + " MB"
        return f"{amount} (÷ {written(row, by)})" if row[by] else amount

    return Column(title, text, (f"{name}_mean", by), paper=paper)


COLUMNS = [
    DATA._replace(text=lambda row: row["dataset_label"]),
    MODEL,
    METHOD,
    Column(
        "rounds × clients",
        lambda row: (
            f"{row['rounds']} × {row['clients_per_round']}"
            f"{remarks('', 0, 0, row['failed_replies'])}"
        ),
        paper="left out",
    ),
    Column(
        "accuracy, %",
        lambda row: with_spread(summary(row, "accuracy", 100)),
        ("accuracy_mean", "accuracy_sd"),
    ),
    Column(
        "against dense, points",
        lambda row: with_interval(summary(row, "accuracy_change_points"), sign=True),
        tuple(f"accuracy_change_points_{part}" for part in ("mean", "low", "high")),
    ),
    counted("parameters", "parameters"),
    counted("MACs", "macs", "left out"),
    counted("FLOPs (TF profiler)", "flops_tf_profiler"),
    sent("traffic", "bytes_total", "communication_factor"),
    sent("payload", "payload_total", "communication_factor_payload", "left out"),
    Column(
        "live filters",
        lambda row: by_layer(row["live_filters"]),
        ("live_filters",),
        paper="left out",
    ),
]
