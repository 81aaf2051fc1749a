"""The phones' part of the latency table: a row for each network in each setting of a session."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from autoprune.phone.speedups import (
    ENOUGH,
    NETWORK,
    OWN,
    SETTING,
    device_label,
    latency,
    phone_of,
    range_of,
    repeats,
    setting_label,
)

MODEL = ["model_id", "model_sha256", "variant", *NETWORK, *OWN]
# what is the same in the rows of several phones that are summed up in one
TOGETHER = (
    *("kind", "dataset", "data_kind", "model", "method", "variant", "seed", "round_widths_to"),
    *("format", "precision", "delegate", "threads", "statistic"),
)
OF_NETWORK = (
    *("network", "model_id", "model_sha256", "widths", "manifest", "test_accuracy"),
    *("macs", "macs_dense", "macs_factor"),
)
RESOLVED = {True: "resolved", False: "unproven"}  # by whether logs back all of it
FLAGS = {
    "mean_only": "mean, not median",
    "few_runs": "fewer than 20 runs",
    "gate_timed_out": "measured warm",
    "nodes_unknown": "nodes delegated unknown",
    "no_log": "without logs",
}


def phone_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of the latency table, phones together first, networks of other studies last;
    ``table`` as imported.

    Times in ms: ``median_ms`` is the median over repeats of what stands for a run, ``least_ms``
    and ``most_ms`` the smallest and largest, p90 and p95 medians of what the tool printed.
    """
    runs = table[table["status"] != "failed"]
    paired = repeats(table)
    rows = [
        {**_network(some), **_setting(some), **_times(some), **_against_dense(some, paired)}
        for _, some in runs.groupby([*SETTING, *MODEL], sort=True)
    ]
    order = (
        *("dataset", "model", "seed", "precision", "delegate", "threads"),
        *("method", "variant", "model_id"),
    )

    def place(row: dict[str, Any]) -> list[Any]:
        return [row["network"] == "another", *(_rank(row, key) for key in order)]

    return together(rows) + sorted(rows, key=place)


def together(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row over the phones that measured the same network on the same delegate and threads.

    A phone counts once, with the median of its speed-ups that logs back, those on its fastest
    cores where it has some; the range is that over phones. No row for a single phone.
    """
    known = [row for row in rows if row.get("proven")]
    if not known:
        return []
    found = []
    for _, some in pd.DataFrame(known).groupby([*TOGETHER], sort=True):
        phones = some["device"].map(phone_of)
        pinned = (some["cpu_mask"] != "").groupby(phones).transform("any")
        counted = some[(some["cpu_mask"] != "") | ~pinned]
        of_phone = counted["speed_up"].groupby(phones).median()
        if len(of_phone) < ENOUGH:
            continue
        ours, first = range_of(of_phone), some.iloc[0].to_dict()
        found.append(
            {key: first[key] for key in (*TOGETHER, *OF_NETWORK)}
            | {
                **{"device": f"{ours.n} phones together", "engine": "the median of them"},
                **{"session_id": "", "evidence": "log", "repeats": "", "hot": "", "flags": ""},
                **{"speed_up": ours.median, "low": ours.low, "high": ours.high},
                "nodes_delegated": _span(some["nodes_delegated"]),
                "nodes_total": _span(some["nodes_total"]),
                "resolved": "resolved" if ours.resolved else "not resolved",
                "slower_with_fewer_macs": "yes" if ours.high < 1 < first["macs_factor"] else "no",
                "source_files": ";".join(sorted(set(some["source_files"]))),
            }
        )
    return found


def nodes(row: Mapping[str, Any]) -> str:
    """How many of a network's nodes its delegate took, in words; empty where nobody says it."""
    return f"{row['nodes_delegated']} of {row['nodes_total']}" if row["nodes_total"] else ""


def _span(values: pd.Series) -> str:
    """The numbers in the values, least to most where they differ; empty for none."""
    known = [int(number) for value in values for number in re.findall(r"\d+", str(value))]
    ends = dict.fromkeys([min(known), max(known)]) if known else {}
    return " to ".join(map(str, ends))


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
        "nodes_delegated": _span(runs["nodes_delegated"]),
        "nodes_total": _span(runs["nodes_total"]),
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
        "proven": (proven := bool(mine["proven"].all())),
        "speed_up": found.median,
        "low": found.low,
        "high": found.high,
        "resolved": "not resolved" if not found.resolved else RESOLVED[proven],
        "slower_with_fewer_macs": "yes" if found.n >= ENOUGH and found.high < 1 < factor else "no",
    }
