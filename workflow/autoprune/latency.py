"""Stage: the latency table and figure, from what was measured on this machine."""

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from autoprune.drawing import add_figure_flags, finish, looks, panels, write_figure
from autoprune.errors import InputError, run_main
from autoprune.files import read_json
from autoprune.latex import Paper
from autoprune.style import (
    add_table_flags,
    arm_label,
    dataset_label,
    decimal,
    label,
    write_table,
)

TITLE = "Latency: host proxy"
NOTES = [
    "HOST PROXY: one thread of the machine that ran this study, not a phone. Dense and pruned are "
    "measured in turn (A B B A), medians of blocks; speed-up is the median over rounds of "
    "dense / pruned with its 95 % bootstrap interval, “not resolved” when that contains 1. "
    "Absolute times wander between measurements, ratios do not.",
    "Fewer MACs need not be faster: kernels work in lanes, and widths that are no multiples of "
    "them lose the gain.",
]
PAPER = Paper(headings=["data", "model"])
NEEDED = ("kind", "cpu", "instructions", "threads", "measured")


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
                "engine": f"{measured['engine']} {measured['engine_version']}",
                "cpu": found["cpu"],
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
                "model_sha256": pruned["sha256"],
                "source_files": path,
            }
        )
    return rows


def rounded_note(multiple: int | str) -> str:
    """What stands behind widths that were rounded for deployment."""
    return f" (multiples of {multiple})" if multiple else ""


def readable(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The table for people."""
    shown = []
    for row in rows:
        interval = f"{decimal(row['speed_up'])} [{decimal(row['low'])}, {decimal(row['high'])}]"
        remark = "not resolved" if row["resolved"] == "not resolved" else ""
        if row["slower_with_fewer_macs"] == "yes":
            remark = "slower with fewer MACs"
        shown.append(
            {
                "data": dataset_label(row["dataset"], row["data_kind"]),
                "model": label(row["model"]),
                "method": arm_label(row["method"], row["variant"]),
                "seed": str(row["seed"]),
                "precision": row["precision"],
                "widths": row["widths"] + rounded_note(row["round_widths_to"]),
                "MACs, dense / own": decimal(row["macs_factor"]),
                "speed-up on the host": interval,
                "remark": remark,
                "test accuracy, %": decimal(100 * row["test_accuracy"]),
                "engine": row["engine"],
            }
        )
    return pd.DataFrame(shown)


def draw(table: pd.DataFrame) -> Figure:
    """Speed-up against the reduction of MACs, a panel for each precision."""
    arms = looks(table)
    precisions = sorted(table["precision"].unique())
    figure, axes = panels([f"host proxy, {precision}" for precision in precisions])
    most = max(table["macs_factor"].max(), table["high"].max(), 1.0) * 1.08
    for ax, precision in zip(axes, precisions, strict=True):
        ax.plot([0, most], [0, most], color="#999999", linewidth=0.7)
        ax.axhline(1, color="#777777", linewidth=0.8, linestyle=":")
        for row in table[table["precision"] == precision].itertuples():
            look = arms[row.method, row.variant]
            bars = [[row.speed_up - row.low], [row.high - row.speed_up]]
            style = {"color": look.colour, "markersize": 4, "elinewidth": 0.7}
            ax.errorbar(row.macs_factor, row.speed_up, bars, fmt=look.marker, **style)
        ax.set(xlim=(0.9, most), ylim=(0, most))
    entries = [
        look.entry(marker=look.marker, linestyle="none", markersize=4) for look in arms.values()
    ]
    note = "grey: as much faster as MACs are fewer; dotted: no faster; one dot a pair and seed"
    return finish(figure, "MACs, dense / own", "speed-up", entries, note)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", nargs="+", required=True, help="files of autoprune.latency_host")
    add_table_flags(parser)
    add_figure_flags(parser)
    arguments = parser.parse_args(argv)
    rows = [row for path in sorted(arguments.host) for row in read(path)]
    table, shown = pd.DataFrame(rows), readable(rows)
    write_figure(arguments, lambda: draw(table))
    write_table(arguments, table, shown, TITLE, NOTES, group=2, paper=PAPER)


if __name__ == "__main__":
    run_main(main)
