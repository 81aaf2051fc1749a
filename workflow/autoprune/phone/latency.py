"""The phones' part of the latency table: a row for each network in each setting of a session."""

from typing import Any

import pandas as pd

from autoprune.phone.speedups import (
    ENOUGH,
    NETWORK,
    OWN,
    SETTING,
    device_label,
    latency,
    range_of,
    repeats,
    setting_label,
)

MODEL = ["model_id", "model_sha256", "variant", *NETWORK, *OWN]
FLAGS = {
    "mean_only": "mean, not median",
    "few_runs": "fewer than 20 runs",
    "gate_timed_out": "measured warm",
    "no_log": "without logs",
}


def phone_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of the latency table, networks of other studies last; ``table`` as imported.

    Times in ms: ``median_ms`` is the median over repeats of what stands for a run, ``least_ms``
    and ``most_ms`` the smallest and largest, p90 and p95 medians of what the tool printed.
    """
    runs = table[table["status"] != "failed"]
    paired = repeats(table)
    rows = [
        {**_network(some), **_setting(some), **_times(some), **_against_dense(some, paired)}
        for _, some in runs.groupby([*SETTING, *MODEL], sort=True)
    ]
    order = ("dataset", "model", "seed", "precision", "threads", "method", "variant", "model_id")

    def place(row: dict[str, Any]) -> list[Any]:
        return [row["network"] == "another", *(_rank(row, key) for key in order)]

    return sorted(rows, key=place)


def _rank(row: dict[str, Any], key: str) -> tuple[bool, str]:
    """Dense before what is compared with it."""
    return (key == "method" and row[key] != "dense", str(row[key]))


def _network(runs: pd.DataFrame) -> dict[str, Any]:
    row = runs.iloc[0]
    known = row["network"] == "study"
    found = {key: row[key] for key in ("network", "model_id", "model_sha256", "widths", "manifest")}
    found |= {key: row[key] for key in ("dataset", "data_kind", "model", "method")}
    return {
        **found,
        "variant": row["run_variant"] if known else row["variant"],
        "seed": int(row["seed"]) if known else "",
        "round_widths_to": row["round_widths_to"],
        "macs": int(row["macs"]) if known else None,
        "test_accuracy": row["test_accuracy"] if known else None,
    }


def _setting(runs: pd.DataFrame) -> dict[str, Any]:
    row = runs.iloc[0]
    keys = ("session_id", "clocks", "format", "precision", "delegate", "cpu_mask", "statistic")
    return {
        "kind": row["kind"],
        **{key: row[key] for key in keys},
        "device": device_label(runs),
        "setting": setting_label(runs),
        "engine": f"{row['tool']} {row['tool_version']}",
        "threads": int(row["threads"]),
        "source_files": ";".join(sorted(set(runs["source_file"]))),
    }


def _times(runs: pd.DataFrame) -> dict[str, Any]:
    used = runs[runs["status"] == "used"]
    times = latency(used)
    flags = {flag for text in used["flags"] for flag in text.split()}
    return {
        "repeats": len(used),
        "hot": len(runs) - len(used),
        "median_ms": times.median() if len(used) else None,
        "least_ms": times.min() if len(used) else None,
        "most_ms": times.max() if len(used) else None,
        **{f"{p}_ms": used[f"{p}_ms"].median() if len(used) else None for p in ("p90", "p95")},
        "evidence": "table" if "no_log" in flags else "log",
        "flags": " ".join(sorted(flags)),
    }


def _against_dense(runs: pd.DataFrame, paired: pd.DataFrame) -> dict[str, Any]:
    """The speed-up over the dense twin, median and range over repeats, where it has one."""
    mine = paired[paired["run_id"].isin(set(runs["run_id"]))]
    mine = mine[mine["session_id"] == runs.iloc[0]["session_id"]]
    if mine.empty:
        return {"resolved": ""}
    found = range_of(mine["ratio"])
    factor = mine.iloc[0]["macs_dense"] / mine.iloc[0]["macs"]
    return {
        "macs_dense": int(mine.iloc[0]["macs_dense"]),
        "macs_factor": factor,
        "dense_ms": mine["latency_ms_dense"].median(),
        "speed_up": found.median,
        "low": found.low,
        "high": found.high,
        "resolved": "resolved" if found.resolved else "not resolved",
        "slower_with_fewer_macs": "yes" if found.n >= ENOUGH and found.high < 1 < factor else "no",
    }
