"""Inference time and speed-up over the dense network: phones, and this machine as a host proxy.

The two are never compared. Phones come from sessions handed in under ``resources/android``; without
one, a row says so. *not resolved* stands where the range (on the host: the 95 % bootstrap interval)
contains 1. *another network* was measured from other bytes than this study exports. The host says
how a network's time changes with its MACs on one processor, not how fast a phone is.
"""

from collections.abc import Sequence

from autoprune.core.labels import arm_label, decimal
from autoprune.evidence.latency import KINDS
from autoprune.evidence.phones import NONE
from autoprune.phone.delegates import LABELS
from autoprune.phone.latency import FLAGS, nodes
from autoprune.publish.tables import DATA, METHOD, MODEL, Column, Row, plain, with_range, written

TITLE = "Latency: phone, and host proxy"
CATEGORY = "Latency"
LABEL = "latency"
GROUP = 4
NOTES = [
    "PHONE: sessions that were handed in. latency is the median over repeats of a run's median, "
    "in brackets the least and largest repeat; tail is the median over repeats of the percentiles "
    "that the tool prints; speed-up is dense / own of the same repeat, its median and range, "
    "“not resolved” when that contains 1 or there is a single repeat. Only runs that agree in "
    "session, tool, format, precision, delegate, threads, CPU mask and clocks are compared; runs "
    "that ended too warm are left out. “unproven” are figures that no log backs, or of a GPU or "
    "NPU of which none says how many nodes it took.",
    "“N phones together” has the median of N phones' speed-ups on the same delegate and number of "
    "threads, in brackets the least and largest phone; each counts once, with what its logs say. "
    "delegate is what computed the network, nodes delegated how many of its nodes that took: the "
    "rest ran on the processor.",
    "HOST PROXY: one thread of the machine that ran this study, not a phone. Dense and pruned are "
    "measured in turn (A B B A), medians of blocks; speed-up is the median over rounds of "
    "dense / pruned with its 95 % bootstrap interval, “not resolved” when that contains 1. "
    "Absolute times wander between measurements, ratios do not.",
    "Fewer MACs need not be faster: kernels work in lanes, and widths that are no multiples of "
    "them lose the gain.",
    "“another network” has other bytes than every export of this study: its times say nothing of "
    "this study's networks.",
]
EMPTY = "–"


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table, with the runs of phones that do not count."""
    aside = dict.fromkeys(row["session_left_out"] for row in rows if row["session_left_out"])
    said = [f"Runs on phones: {'; '.join(aside)}."] if aside else []
    told = [f"AIMED AT: {'; '.join(map(aimed, found))}."] if (found := with_aim(rows)) else []
    return [NOTES[0], *said, *NOTES[1:], *told]


def with_aim(rows: Sequence[Row]) -> list[Row]:
    """Those of runs that aimed at a latency, and were measured beside their dense twin."""
    return [row for row in rows if row.get("aimed_ms") and row["speed_up"]]


def aimed(row: Row) -> str:
    """What the table that a run went by says of its network, and how far that is from measured."""
    told, dense = float(row["aimed_ms"]), float(row["aimed_dense_ms"])
    off = decimal(100 * (told / float(row["median_ms"]) - 1), 1, sign=True)
    faster, seen = dense / told, float(row["speed_up"])
    return (
        f"{arm_label(row['method'], row['variant'])}, seed {row['seed']}, {KINDS[row['kind']]}: "
        f"{decimal(told, 4)} ms by the table, {written(row, 'median_ms', 4)} measured ({off} %); "
        f"{decimal(faster)} times as fast as dense by the table, {decimal(seen)} measured "
        f"({decimal(100 * (faster / seen - 1), 1, sign=True)} %)"
    )


def shown(rows: Sequence[Row]) -> list[Row]:
    """The phones' rows, then this machine's; where no phone was measured a row that says so."""
    if any(row["kind"] == "phone" for row in rows):
        return list(rows)
    return [{"kind": "phone", "device": NONE, "network": "none"}, *rows]


def measured(column: Column) -> Column:
    """The column, with a dash in the row of no measurement."""
    text = column.text
    return column._replace(text=lambda row: EMPTY if row["network"] == "none" else text(row))


def of_study(column: Column, other: str) -> Column:
    """The column, of another network what stands in ``other``, or else a dash."""
    text = column.text
    return column._replace(
        text=lambda row: text(row) if row["network"] == "study" else row.get(other, other) or EMPTY
    )


def widths(row: Row) -> str:
    """The widths, and to which multiple they were rounded for deployment."""
    multiple = row["round_widths_to"]
    rounded = f" (multiples of {float(multiple):g})" if multiple else ""
    return (row["widths"] or EMPTY) + rounded


def tail(row: Row) -> str:
    """The percentiles that a tool prints, each under its own name; a dash for none."""
    known = [name for name in ("p90", "p95") if row[f"{name}_ms"]]
    return ", ".join(f"{name} {written(row, f'{name}_ms', 3)}" for name in known) or EMPTY


def remark(row: Row) -> str:
    """What to know of a row's figures."""
    words = [row["resolved"]] if row["resolved"] in ("not resolved", "unproven") else []
    if row["slower_with_fewer_macs"] == "yes":
        words = ["slower with fewer MACs"]
    words += [FLAGS[flag] for flag in row["flags"].split()]
    if row["kind"] == "phone":
        words += [f"{row['hot']} runs too warm, left out"] if row["hot"] not in ("", "0") else []
        words += ["one repeat"] if row["repeats"] == "1" else []
    return "; ".join(words)


def measured_with(row: Row) -> str:
    """Engine, threads and cores."""
    threads = int(row["threads"])
    core = f" on CPU mask {row['cpu_mask']}" if row["cpu_mask"] else ""
    return f"{row['engine']}, {threads} thread{'s' if threads > 1 else ''}{core}"


def ranged(title: str, places: int, middle: str, low: str, high: str) -> Column:
    """A value with its least and largest."""
    columns = (middle, low, high)
    return Column(title, lambda row: with_range(row, *columns, places), columns)


COLUMNS = [
    Column("measured on", lambda row: KINDS[row["kind"]], facet=True),
    plain("device"),
    *map(
        measured,
        [
            of_study(DATA, "another network"),
            of_study(MODEL, "model_id"),
            of_study(METHOD, "variant"),
            of_study(plain("seed"), ""),
            plain("precision", facet=True),
            Column("delegate", lambda row: LABELS.get(row["delegate"], EMPTY), facet=True),
            Column("nodes delegated", lambda row: nodes(row) or EMPTY),
            Column("widths", widths),
            Column(
                "MACs, dense / own",
                lambda row: written(row, "macs_factor"),
                ("macs_factor", "macs_dense", "macs"),
            ),
            ranged("latency, ms", 3, "median_ms", "least_ms", "most_ms"),
            Column("tail, ms", tail, ("p90_ms", "p95_ms")),
            ranged("speed-up", 2, "speed_up", "low", "high"),
            Column("remark", remark),
            Column(
                "test accuracy, %",
                lambda row: written(row, "test_accuracy", 2, 100),
                ("test_accuracy",),
            ),
            Column("measured with", measured_with),
        ],
    ),
]
