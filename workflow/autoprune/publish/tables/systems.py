"""Each system that ran, at the reference's budget: what it gives and what it costs.

Means over seeds, accuracy with its 95 % t-interval. The budget is the size of the paper's own rule
of the same seed, in numbers stored, or for quantised networks in bits.
"""

from collections.abc import Sequence

from autoprune.evidence.differences import differences_note
from autoprune.evidence.statistics import Summary
from autoprune.evidence.texts import remarks, with_interval
from autoprune.publish.tables import DATA, METHOD, MODEL, Column, Row, written
from autoprune.publish.tables import summary as figures

TITLE = "Systems"
CATEGORY = "Results"
LABEL = "systems at equal budgets"
GROUP = 2
ONLY_WITH = "reference"
NOTES = [
    "Share of budget: 1 is what the paper's rule leaves. The dense network is beside it, not "
    "within it. Size is all numbers of the network as they are stored; bits a weight are those on "
    "the mean, masks and scales included.",
    "BOPs: multiply-adds times the bits of weights times those of activations, of the dense "
    "float32 network's. A mask saves numbers and bytes, no multiply-add that a device would skip.",
    "Traffic is what a client of the round receives and sends. Latency: the exported network on "
    "one thread of the machine that ran this study, no phone, of the seeds that were exported; "
    "speed-up over the dense network that was measured in turn with it.",
]


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table: with it, in what a system is not as its source has it."""
    return [*NOTES, *differences_note(row["method"] for row in rows)]


def latency(precision: str) -> Column:
    """Milliseconds of an inference, and the speed-up where there is one."""
    names = (f"{precision}_ms", f"{precision}_speed_up")

    def text(row: Row) -> str:
        beside = f" ({written(row, names[1])}x)" if row[names[1]] else ""
        return written(row, names[0], 3) + beside

    return Column(f"latency, {precision}, ms", text, names)


MEAN = tuple(f"accuracy_percent_{part}" for part in ("mean", "low", "high"))


def accuracy(row: Row) -> str:
    """The mean and its interval."""
    found: Summary = figures(row, *(f"accuracy_percent_{part}" for part in Summary._fields))
    return with_interval(found) + remarks("", 0, 0, row["failed_replies"])


COLUMNS = [
    DATA,
    MODEL,
    METHOD,
    Column("accuracy, %", accuracy, MEAN),
    Column("share of budget", lambda row: written(row, "share_of_budget", 3), ("share_of_budget",)),
    Column("parameters", lambda row: written(row, "parameters", 0), ("parameters",)),
    Column("not zero", lambda row: written(row, "nonzeros", 0), ("nonzeros",)),
    Column("size, kB", lambda row: written(row, "bits", 1, 1 / 8000), ("bits",)),
    Column("bits a weight", lambda row: written(row, "bits_per_weight", 1), ("bits_per_weight",)),
    Column("MACs", lambda row: written(row, "macs", 0), ("macs",)),
    Column("BOPs, %", lambda row: written(row, "relative_bops", 1, 100), ("relative_bops",)),
    Column(
        "traffic, kB a client and round",
        lambda row: written(row, "bytes_per_client_per_round", 1, 1e-3),
        ("bytes_per_client_per_round",),
    ),
    latency("fp32"),
    latency("int8"),
]
