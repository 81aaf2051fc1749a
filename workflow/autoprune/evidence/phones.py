"""The claim on Android's inference time: the phones' speed-ups, and one verdict over them all."""

import math
from typing import Any

import pandas as pd

from autoprune.core.labels import dataset_label, decimal, label
from autoprune.evidence.statistics import Summary
from autoprune.phone.delegates import PROCESSOR
from autoprune.phone.speedups import (
    ENOUGH,
    NETWORK,
    SETTING,
    Range,
    device_label,
    left_out,
    phone_of,
    range_of,
    repeats,
    setting_label,
)
from autoprune.pruning.options import WEIGHTS

NONE = "not measured: no session in resources/android"
NO_LOG = "typed in by hand: no log backs it"
RULE = (
    "median over repeats ≥ {goal}×, a repeat being dense latency / own latency of runs of one "
    "session, tool and setting (fp32, 1 thread, on the fastest cores where the phone allows it), "
    "geometric mean over the networks; low and high are the least and largest repeat; "
    "“not resolved” when they include 1 or there is one repeat"
)


def speed_up_about(value: str) -> dict[str, str]:
    """What the rows of the claim share; ``value`` is the published factor."""
    return {
        "claim": "speed-up of inference on Android against dense",
        "published": f"{value}×",
        "rule": RULE.format(goal=value),
        "source": "abstract",
        "unit": "×",
    }


def main_runs(table: pd.DataFrame, method: str) -> pd.DataFrame:
    """The repeats that the claim is about: fp32, one thread of the processor, data that stand for
    the paper's.

    Rounded networks are another method. Where a session has runs on the fastest cores and runs
    without a mask, those on the cores.
    """
    found = repeats(table)
    found = found[
        (found["method"] == method)
        & (found["stands_for"] != "")
        & (found["round_widths_to"] == "")
        & (found["precision"] == "fp32")
        & (found["threads"] == 1)
        & found["delegate"].isin(PROCESSOR)
        & (found["statistic"] == "median")
    ]
    pinned = found["cpu_mask"] != ""
    has_pinned = pinned.groupby(found["session_id"]).transform("any")
    return found[pinned | ~has_pinned]


def speed_up_rows(table: pd.DataFrame | None, method: str, goal: float) -> list[dict[str, Any]]:
    """The claim's rows: for each variant all phones together, where there are several, and each
    setting of each session; at least one row.

    Each has ``variant``, ``tested_on`` and, where there is a value, ``ours`` and the verdict.
    Figures that no log backs are a row of their own, "unproven". ``table`` is that of
    phone.import_latency, None or empty where no session was handed in.
    """
    if table is None or table.empty:
        return [{"variant": "", "tested_on": NONE}]
    found = main_runs(table, method)
    rows = []
    for variant in [name for name in WEIGHTS if name in set(found["run_variant"])]:
        mine = found[found["run_variant"] == variant]
        each: list[tuple[str, dict[str, Any]]] = []
        for _, runs in mine.groupby([*SETTING, "proven"], sort=True):
            each.append(
                (phone_of(device_label(runs)), {"variant": variant, **_row(table, runs, goal)})
            )
        rows += [{"variant": variant, **row} for row in _together(each, goal)]
        rows += [row for _, row in each]
    if rows:
        return rows
    others = left_out(table)
    why = f"no {method} run in fp32 on 1 thread beside a dense run of its repeat"
    return [{"variant": "", "tested_on": f"nothing: {why}{f' ({others})' if others else ''}"}]


def _row(table: pd.DataFrame, runs: pd.DataFrame, goal: float) -> dict[str, Any]:
    """One variant in one setting of one session."""
    by_repeat = runs.groupby("repeat")["ratio"]
    networks = len(runs[NETWORK].drop_duplicates())
    whole = by_repeat.count() == networks  # a mean over other networks is another quantity
    about = f"{device_label(runs)}: {setting_label(runs)}; {_networks(runs)}"
    session = table[table["session_id"] == runs.iloc[0]["session_id"]]
    proven = bool(runs["proven"].all())
    notes = ["" if proven else NO_LOG, about, left_out(session)]
    if not whole.all():
        notes.append(f"{(~whole).sum()} repeats left out, as they lack a network")
    files = ";".join(sorted(set(session["source_file"])))
    if not whole.any():
        return {"tested_on": "nothing: no repeat has every network; " + "; ".join(notes)}
    means = by_repeat.apply(lambda ratios: math.exp(ratios.map(math.log).mean()))[whole]
    ours = range_of(means)
    return {
        "tested_on": "; ".join(filter(None, notes)),
        "ours": Summary(ours.n, ours.median, None, ours.low, ours.high),
        "source_files": files,
        **(_verdict(ours, goal) if proven else {"verdict": "unproven", "resolved": "no"}),
    }


def _together(each: list[tuple[str, dict[str, Any]]], goal: float) -> list[dict[str, Any]]:
    """One row over several phones, none for fewer: a phone counts once, whatever it measured."""
    proven = [(phone, row) for phone, row in each if row.get("verdict") not in (None, "unproven")]
    values = pd.Series([row["ours"].mean for _, row in proven], dtype=float)
    of_phone = values.groupby([phone for phone, _ in proven]).median()
    if len(of_phone) < ENOUGH:
        return []
    ours = range_of(of_phone)
    said = ", ".join(f"{phone}: {decimal(value)}" for phone, value in of_phone.items())
    files = sorted({file for _, row in proven for file in row["source_files"].split(";")})
    return [
        {
            "tested_on": f"{ours.n} phones together, the median of them, low and high the least "
            f"and largest: {said}",
            "ours": Summary(ours.n, ours.median, None, ours.low, ours.high),
            "source_files": ";".join(files),
            **_verdict(ours, goal),
        }
    ]


def _verdict(ours: Range, goal: float) -> dict[str, str]:
    """Whether the median reaches the goal, and whether all repeats agree on it."""
    settled = ours.n >= ENOUGH and (ours.low >= goal or ours.high < goal)
    if not ours.resolved:
        return {"verdict": "not resolved", "resolved": "no"}
    verdict = "holds" if ours.median >= goal else "does not hold"
    return {"verdict": verdict, "resolved": "yes" if settled else "no"}


def _networks(runs: pd.DataFrame) -> str:
    """Each network's own speed-up, loud on stand-ins."""
    parts = []
    for keys, some in runs.groupby([*NETWORK, "data_kind"]):
        dataset, model, seed, kind = keys
        own = range_of(some["ratio"])
        parts.append(
            f"{dataset_label(dataset, kind)}/{label(model)} seed {seed}: "
            f"{decimal(own.median)} [{decimal(own.low)}, {decimal(own.high)}]"
        )
    kinds = set(runs["data_kind"])
    loud = ""
    if "stand-in" in kinds:
        loud = f"{'STAND-IN DATA ONLY' if len(kinds) == 1 else 'PARTLY STAND-IN DATA'}: "
    return loud + ", ".join(parts)
