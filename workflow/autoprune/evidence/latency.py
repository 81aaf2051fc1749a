"""The latency table: phones from sessions handed in, and this machine as a proxy, apart."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.phone.latency import phone_rows
from autoprune.phone.speedups import left_out
from autoprune.phone.table import read_table

INPUTS = {
    "host": "<results>/latency/{measured}.json",
    "android": "<results>/latency/android.csv",
    "metrics": "<results>/metrics.csv",
}
KINDS = {"phone": "phone", "host_proxy": "host proxy"}
NEEDED = ("kind", "cpu", "instructions", "threads", "measured")
NUMBERS = [
    *("macs_dense", "macs", "macs_factor", "dense_ms", "median_ms", "least_ms", "most_ms"),
    *("p90_ms", "p95_ms", "speed_up", "low", "high", "test_accuracy", "argmax_agreement"),
    *("aimed_ms", "aimed_dense_ms"),
]
COLUMNS = [
    *("kind", "network", "dataset", "data_kind", "model", "method", "variant", "seed"),
    *("model_id", "model_sha256", "round_widths_to", "widths", "session_id", "device"),
    *("instructions", "engine", "format", "precision", "delegate", "nodes_delegated"),
    *("nodes_total", "threads", "cpu_mask"),
    *("clocks", "statistic", "evidence", "repeats", "hot", "macs_dense", "macs", "macs_factor"),
    *("dense_ms", "median_ms", "least_ms", "most_ms", "p90_ms", "p95_ms"),
    *("speed_up", "low", "high", "resolved", "slower_with_fewer_macs", "flags"),
    *("test_accuracy", "argmax_agreement", "aimed_ms", "aimed_dense_ms"),
    *("session_left_out", "source_files"),
]
NAMES = ("dataset", "model", "method", "variant", "seed")  # of a run, here and in the metrics


def read(path: str) -> list[dict[str, Any]]:
    """The rows of one measurement file; raises InputError when it is not one of a host."""
    found = read_json(path)
    missing = [key for key in NEEDED if not isinstance(found, dict) or key not in found]
    if missing:
        raise InputError(f"{path}: {missing[0]} is missing; measure again")
    if found["kind"] != "host_proxy":
        raise InputError(f"{path}: kind is {found['kind']!r}, expected 'host_proxy'")
    return [host_row(found, measured) | {"source_files": path} for measured in found["measured"]]


def host_row(about: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """A network that was measured beside its dense twin."""
    dense, pruned = measured["dense"], measured["pruned"]
    factor = dense["macs"] / pruned["macs"]
    low, high = measured["low"], measured["high"]
    same = ("dataset", "data_kind", "model", "method", "seed", "macs", "model_id")
    return {
        **{key: pruned[key] for key in (*same, "test_accuracy", "argmax_agreement")},
        **{key: measured[key] for key in ("format", "precision", "dense_ms", "speed_up")},
        "variant": pruned["run_variant"],
        "kind": about["kind"],
        "network": "study",
        "device": about["cpu"],
        "engine": f"{measured['engine']} {measured['engine_version']}",
        "instructions": " ".join(about["instructions"]),
        "threads": about["threads"],
        "round_widths_to": pruned["round_widths_to"] or "",
        "widths": " ".join(map(str, pruned["widths"])),
        "macs_dense": dense["macs"],
        "macs_factor": factor,
        "median_ms": measured["pruned_ms"],
        "low": low,
        "high": high,
        "resolved": "not resolved" if low <= 1 <= high else "resolved",
        "slower_with_fewer_macs": "yes" if high < 1 < factor else "no",
        "model_sha256": pruned["sha256"],
    }


def aimed(metrics: pd.DataFrame | None) -> dict[tuple[str, ...], dict[str, float]]:
    """What a table of the device says of the networks of runs that aimed at a latency, in ms."""
    if metrics is None:
        return {}
    final = metrics[metrics["round"].isna()]
    named = [final[name].astype(str) for name in NAMES]
    wide = final.set_index([*named, "metric"])["value"].unstack()  # noqa: PD010
    if "target_latency_ms" not in wide:
        return {}
    rows = wide[wide["target_latency_ms"].notna()]
    columns = {"target_reached": "aimed_ms", "target_dense": "aimed_dense_ms"}
    return rows[list(columns)].rename(columns=columns).to_dict("index")


def table(
    host: Sequence[str] = (), android: str | None = None, metrics: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Empty text for words that do not apply, NaN for numbers that do not.

    ``host``: files of measure.latency_host; ``android``: the CSV of phone.import_latency. Beside
    each phone's row stands what of its session does not count, beside a float32 network of a run
    that aimed at a latency what its table said (``metrics``).
    """
    rows: list[dict[str, Any]] = []
    if android:
        phones = read_table(android)
        aside = {name: left_out(of) for name, of in phones.groupby("session_id")} | {"": ""}
        rows = [row | {"session_left_out": aside[row["session_id"]]} for row in phone_rows(phones)]
    rows += [row for path in sorted(host) for row in read(path)]
    told = aimed(metrics)
    for row in rows:
        if row["precision"] == "fp32" and not row["round_widths_to"]:
            row |= told.get(tuple(str(row[name]) for name in NAMES), {})
    blank = {name: None if name in NUMBERS else "" for name in COLUMNS}
    found = pd.DataFrame([blank | row for row in rows], columns=COLUMNS)
    counts = dict.fromkeys(("macs_dense", "macs"), "Int64")
    return found.astype(dict.fromkeys(NUMBERS, float) | counts)
