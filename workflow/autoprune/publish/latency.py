"""Stage: the latency table and figure: phones from sessions handed in, and this machine, apart."""

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json
from autoprune.core.labels import arm_label, dataset_label, decimal, label
from autoprune.evidence.phones import NONE
from autoprune.phone.latency import FLAGS, phone_rows
from autoprune.phone.speedups import left_out
from autoprune.phone.table import read_table
from autoprune.publish.latency_figure import KINDS, draw
from autoprune.publish.latex import Paper
from autoprune.publish.plotting import add_figure_flags, write_figure
from autoprune.publish.table_files import add_table_flags, write_table

TITLE = "Latency: phone, and host proxy"
NOTES = [
    "PHONE: sessions that were handed in. latency is the median over repeats of a run's median, "
    "in brackets the least and largest repeat; tail is the median over repeats of the percentiles "
    "that the tool prints; speed-up is dense / own of the same repeat, its median and range, "
    "“not resolved” when that contains 1 or there is a single repeat. Only runs that agree in "
    "session, tool, format, precision, delegate, threads, CPU mask and clocks are compared; runs "
    "that ended too warm are left out.",
    "HOST PROXY: one thread of the machine that ran this study, not a phone. Dense and pruned are "
    "measured in turn (A B B A), medians of blocks; speed-up is the median over rounds of "
    "dense / pruned with its 95 % bootstrap interval, “not resolved” when that contains 1. "
    "Absolute times wander between measurements, ratios do not.",
    "Fewer MACs need not be faster: kernels work in lanes, and widths that are no multiples of "
    "them lose the gain.",
    "“another network” has other bytes than every export of this study: its times say nothing of "
    "this study's networks.",
]
PAPER = Paper(headings=["data", "model"])
NEEDED = ("kind", "cpu", "instructions", "threads", "measured")
NUMBERS = [
    *("macs_dense", "macs", "macs_factor", "dense_ms", "median_ms", "least_ms", "most_ms"),
    *("p90_ms", "p95_ms", "speed_up", "low", "high", "test_accuracy", "argmax_agreement"),
]
COLUMNS = [
    *("kind", "network", "dataset", "data_kind", "model", "method", "variant", "seed"),
    *("model_id", "model_sha256", "round_widths_to", "widths", "session_id", "device"),
    *("instructions", "engine", "format", "precision", "delegate", "threads", "cpu_mask"),
    *("clocks", "statistic", "evidence", "repeats", "hot", "macs_dense", "macs", "macs_factor"),
    *("dense_ms", "median_ms", "least_ms", "most_ms", "p90_ms", "p95_ms"),
    *("speed_up", "low", "high", "resolved", "slower_with_fewer_macs", "flags"),
    *("test_accuracy", "argmax_agreement", "source_files"),
]


def read(path: str) -> list[dict[str, Any]]:
    """The rows of one measurement file; raises InputError when it is not one of a host."""
    found = read_json(path)
    missing = [key for key in NEEDED if not isinstance(found, dict) or key not in found]
    if missing:
        raise InputError(f"{path}: {missing[0]} is missing; measure again")
    if found["kind"] != "host_proxy":
        raise InputError(f"{path}: kind is {found['kind']!r}, expected 'host_proxy'")
    rows = []
    for measured in found["measured"]:
        dense, pruned = measured["dense"], measured["pruned"]
        factor = dense["macs"] / pruned["macs"]
        low, high = measured["low"], measured["high"]
        rows.append(
            {
                **{key: pruned[key] for key in ("dataset", "data_kind", "model", "method")},
                "variant": pruned["run_variant"],
                "seed": pruned["seed"],
                "kind": found["kind"],
                "network": "study",
                "device": found["cpu"],
                "engine": f"{measured['engine']} {measured['engine_version']}",
                "instructions": " ".join(found["instructions"]),
                "threads": found["threads"],
                "format": measured["format"],
                "precision": measured["precision"],
                "round_widths_to": pruned["round_widths_to"] or "",
                "widths": " ".join(map(str, pruned["widths"])),
                "macs_dense": dense["macs"],
                "macs": pruned["macs"],
                "macs_factor": factor,
                "dense_ms": measured["dense_ms"],
                "median_ms": measured["pruned_ms"],
                "speed_up": measured["speed_up"],
                "low": low,
                "high": high,
                "resolved": "not resolved" if low <= 1 <= high else "resolved",
                "slower_with_fewer_macs": "yes" if high < 1 < factor else "no",
                "test_accuracy": pruned["test_accuracy"],
                "argmax_agreement": pruned["argmax_agreement"],
                "model_id": pruned["model_id"],
                "model_sha256": pruned["sha256"],
                "source_files": path,
            }
        )
    return rows


def rounded_note(multiple: int | str) -> str:
    """What stands behind widths that were rounded for deployment."""
    return f" (multiples of {multiple})" if multiple else ""


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table for people: the phones' rows, then this machine's; a row that says so for none."""
    shown = [shown_row(row) for _, row in table.iterrows()]
    if "phone" not in set(table["kind"]):
        none = {"measured on": "phone", "device": NONE}
        shown.insert(0, {**dict.fromkeys(SHOWN, "–"), **none})
    return pd.DataFrame(shown, columns=SHOWN)


SHOWN = [
    *("measured on", "device", "data", "model", "method", "seed", "precision", "widths"),
    *("MACs, dense / own", "latency, ms", "tail, ms", "speed-up", "remark"),
    *("test accuracy, %", "measured with"),
]


def shown_row(row: pd.Series) -> dict[str, str]:
    """A row for people."""
    value = {key: None if pd.isna(row[key]) else row[key] for key in NUMBERS}
    if row["network"] == "study":
        network = {
            "data": dataset_label(row["dataset"], row["data_kind"]),
            "model": label(row["model"]),
            "method": arm_label(row["method"], row["variant"]),
            "seed": str(row["seed"]),
        }
    else:
        network = {"data": "another network", "model": row["model_id"], "method": row["variant"]}
    threads = f"{int(row['threads'])} thread{'s' if row['threads'] > 1 else ''}"
    core = f" on CPU mask {row['cpu_mask']}" if row["cpu_mask"] else ""
    return {
        **dict.fromkeys(SHOWN, "–"),
        "measured on": KINDS[row["kind"]],
        "device": row["device"],
        **network,
        "precision": row["precision"],
        "widths": (row["widths"] or "–") + rounded_note(row["round_widths_to"]),
        "MACs, dense / own": decimal(value["macs_factor"]),
        "latency, ms": with_range(value["median_ms"], value["least_ms"], value["most_ms"], 3),
        "tail, ms": tail(value),
        "speed-up": with_range(value["speed_up"], value["low"], value["high"], 2),
        "remark": remark(row),
        "test accuracy, %": decimal(
            None if value["test_accuracy"] is None else 100 * value["test_accuracy"]
        ),
        "measured with": f"{row['engine']}, {threads}{core}",
    }


def with_range(middle: float | None, low: float | None, high: float | None, places: int) -> str:
    """A value with its two ends, where it has them; a dash for none."""
    if middle is None or low is None:
        return decimal(middle, places)
    return f"{decimal(middle, places)} [{decimal(low, places)}, {decimal(high, places)}]"


def tail(value: dict[str, float | None]) -> str:
    """The percentiles that a tool prints, each under its own name; a dash for none."""
    known = [(p, value[f"{p}_ms"]) for p in ("p90", "p95") if value[f"{p}_ms"] is not None]
    return ", ".join(f"{name} {decimal(figure, 3)}" for name, figure in known) or "–"


def remark(row: pd.Series) -> str:
    """What to know of a row's figures."""
    words = [row["resolved"]] if row["resolved"] == "not resolved" else []
    if row["slower_with_fewer_macs"] == "yes":
        words = ["slower with fewer MACs"]
    words += [FLAGS[flag] for flag in row["flags"].split()]
    if row["kind"] == "phone":
        words += [f"{row['hot']} runs too warm, left out"] if row["hot"] else []
        words += ["one repeat"] if row["repeats"] == 1 else []
    return "; ".join(words)


def table_of(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """The raw table; empty text for words that do not apply, NaN for numbers that do not."""
    blank = {name: None if name in NUMBERS else "" for name in COLUMNS}
    table = pd.DataFrame([blank | row for row in rows], columns=COLUMNS)
    counts = dict.fromkeys(("macs_dense", "macs"), "Int64")
    return table.astype(dict.fromkeys(NUMBERS, float) | counts)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--host", nargs="*", default=[], help="files of autoprune.measure.latency_host"
    )
    parser.add_argument("--android", help="CSV of phone runs (default: none was measured)")
    add_table_flags(parser)
    add_figure_flags(parser)
    arguments = parser.parse_args(argv)
    phones = read_table(arguments.android) if arguments.android else None
    rows = phone_rows(phones) if phones is not None else []
    rows += [row for path in sorted(arguments.host) for row in read(path)]
    table = table_of(rows)
    shown, notes = readable(table), list(NOTES)
    if phones is not None and (aside := left_out(phones)):
        notes.insert(1, f"Runs on phones: {aside}.")
    write_figure(arguments, lambda: draw(table))
    write_table(arguments, table, shown, TITLE, notes, group=4, paper=PAPER)


if __name__ == "__main__":
    run_main(main)
