"""What a valid session comes to, in words and a small table."""

import io
from collections.abc import Mapping
from typing import Any

import pandas as pd
from tabulate import tabulate

from autoprune.core.labels import arm_label, decimal
from autoprune.measure.table import to_csv
from autoprune.phone.delegates import LABELS
from autoprune.phone.import_latency import table_of
from autoprune.phone.latency import nodes, phone_rows
from autoprune.phone.session import Session
from autoprune.phone.speedups import device_label, left_out
from autoprune.phone.table import read_table


def summary(session: Session) -> str:
    """A valid session in words and a small table."""
    table = read_table(io.StringIO(to_csv(table_of([session]))))
    rows = pd.DataFrame(phone_rows(table)).to_dict("records")
    of_runs = table[table["status"] != "failed"]
    lines = [
        f"{session.folder}: valid, {len(session.rows)} runs, {len(session.failed)} failed",
        f"{device_label(of_runs)}, {rows[0]['engine']}, clocks {rows[0]['clocks']}",
    ]
    lines += [f"warning: {warning}" for warning in session.warnings]
    lines += [f"note: {aside}"] if (aside := left_out(table)) else []
    head = [
        "network",
        "",
        "ran on",
        "threads",
        "CPU mask",
        "repeats",
        "latency, ms",
        "speed-up",
        "",
    ]
    shown = [
        [
            row["model_id"],
            "another network"
            if row["network"] == "another"
            else arm_label(row["method"], row["variant"]),
            f"{LABELS[row['delegate']]} {nodes(row)}".strip(),
            row["threads"],
            row["cpu_mask"] or "–",
            row["repeats"],
            _range(row, ("median_ms", "least_ms", "most_ms"), 3),
            _range(row, ("speed_up", "low", "high"), 2),
            "" if row["resolved"] == "resolved" else row["resolved"],
        ]
        for row in rows
    ]
    text = tabulate(shown, headers=head, tablefmt="simple", disable_numparse=True)
    return "\n".join(lines) + "\n\n" + text


def _range(row: Mapping[str, Any], keys: tuple[str, str, str], places: int) -> str:
    values = [row.get(key) for key in keys]
    if any(pd.isna(value) for value in values):
        return "–"
    middle, low, high = (decimal(value, places) for value in values)
    return f"{middle} [{low}, {high}]"
