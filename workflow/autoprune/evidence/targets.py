"""Runs that aimed at a cost: what they reached, and the plain rule's arm nearest to that cost."""

import math
from typing import Any

import pandas as pd

from autoprune.core.labels import arm_order
from autoprune.evidence.statistics import files_behind, final_figures, require, summarise
from autoprune.measure.table import AIMED, RULE

INPUTS = {"metrics": "<results>/metrics.csv"}
ARM = ["dataset", "data_kind", "model", "method", "variant"]
TARGETS = [metric for metric in RULE if metric.startswith("target_")]
NEEDED = ["accuracy", "parameters_with_statistics", "macs", "bits"]
# what is reached, by another count than the one that the search went by; a latency has none
COUNTED = {
    "target_macs": "macs",
    "target_parameters": "parameters_with_statistics",
    "target_bytes": "bytes_a_round",
    "target_latency_ms": "target_reached",
}


def aimed(values: pd.DataFrame) -> pd.Series:
    """Which runs have a target, by the columns that metrics have."""
    known = [name for name in TARGETS if name in values]
    return values[known].notna().any(axis=1)


def with_bytes(values: pd.DataFrame) -> pd.DataFrame:
    """The values, and the bytes of numbers that a client receives and sends in a round."""
    return values.assign(bytes_a_round=2 * values["bits"] / 8)


def table(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row for each arm with a target; InputError when a run lacks a figure.

    ``error_percent`` is of the mean over seeds, ``largest_error_percent`` of the seed that is
    farthest off. The plain rule's arm is that whose mean cost is nearest; costs of a latency are
    held against each other by multiply-adds. Differences are seed by seed.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    values = with_bytes(values)
    with_target = aimed(values)
    require(values[with_target], AIMED)
    rows = []
    groups = {tuple(key): own for key, own in values[with_target].groupby(ARM)}
    arms = arm_order(key[3:] for key in groups)
    for key in sorted(groups, key=lambda key: (key[:3], arms.index(key[3:]))):
        own = groups[key]
        name = next(name for name in TARGETS if name in own and own[name].notna().all())
        row = dict(zip(ARM, key, strict=True)) | reached(own, name)
        pair = (values[ARM[:3]] == list(key[:3])).all(axis=1)
        plain = values[pair & ~with_target & (values["method"] == "autoprune")]
        near = nearest(plain, own, COUNTED[name] if name != "target_latency_ms" else "macs")
        row |= beside("plain", own, near)
        control = values[pair & (values["method"] == "narrow") & (values["variant"] == key[4])]
        row |= beside("narrow", own, control)
        rows.append(row | {"source_files": files_behind(sources, NEEDED, own, near, control)})
    return pd.DataFrame(rows)


def reached(own: pd.DataFrame, name: str) -> dict[str, Any]:
    """What an arm was asked for, what it came to, and how accurate it is (fractions)."""
    target, found = float(own[name].iloc[0]), own[COUNTED[name]]
    errors = 100 * (found / target - 1)
    return {
        "target_of": name.removeprefix("target_"),
        "target": target,
        "of_dense_percent": 100 * target / float(own["target_dense"].iloc[0]),
        "n": len(own),
        "reached": float(found.mean()),
        "error_percent": float(errors.mean()),
        "largest_error_percent": float(errors.loc[errors.abs().idxmax()]),
        "parameters_with_statistics": float(own["parameters_with_statistics"].mean()),
        "macs": float(own["macs"].mean()),
        **{f"accuracy_{k}": v for k, v in summarise(own["accuracy"])._asdict().items() if k != "n"},
    }


def nearest(plain: pd.DataFrame, own: pd.DataFrame, cost: str) -> pd.DataFrame:
    """The runs of the plain rule's arm whose mean cost is nearest to an arm's, as a ratio."""
    if plain.empty:
        return plain
    means = plain.groupby("variant")[cost].mean()
    ratios = (means / own[cost].mean()).map(math.log).abs()
    return plain[plain["variant"] == ratios.idxmin()]


def beside(name: str, own: pd.DataFrame, other: pd.DataFrame) -> dict[str, Any]:
    """Another arm: its size and accuracy, and the arm's difference from it in points."""
    both = own.merge(other, on="seed", suffixes=("", "_other"))
    points = summarise(100 * (both["accuracy"] - both["accuracy_other"]))
    sizes = ("parameters_with_statistics", "macs")
    return {
        f"{name}_variant": "" if other.empty else other["variant"].iloc[0],
        **{f"{name}_{size}": None if other.empty else float(other[size].mean()) for size in sizes},
        f"{name}_accuracy_mean": summarise(other["accuracy"]).mean,
        f"{name}_n": points.n,
        f"{name}_difference_points": points.mean,
        f"{name}_difference_low": points.low,
        f"{name}_difference_high": points.high,
    }
