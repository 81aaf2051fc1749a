"""What the accidents of the notebooks do, one change at a time; and last-round reporting."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.evidence.ablated import Ablation, split_arm
from autoprune.evidence.inference import Estimate, Sample, simultaneous
from autoprune.evidence.statistics import Summary, files_behind, final_figures, require, summarise
from autoprune.evidence.texts import failed

INPUTS = {"metrics": "<results>/metrics.csv"}
OPTIONS = ("ablation",)
ARM = ["dataset", "model", "method", "variant"]
NEEDED = ["accuracy", "test_accuracy", "test_accuracy_last"]
NOTHING = Summary(0, None, None, None, None)


def arm_of(values: pd.DataFrame, name: str) -> pd.DataFrame:
    """The runs of "dataset-model/method/variant"; raises InputError when there are none."""
    pair, arm = split_arm(name)
    found = values[(values[ARM] == [*pair, *arm]).all(axis=1)]
    if found.empty:
        raise InputError(
            f"ablations: no run of {name!r}; expected dataset-model/method/variant of a run of "
            "this study (config: ablations)"
        )
    return found


def ablations(metrics: pd.DataFrame, pairs: Sequence[Ablation]) -> list[dict[str, Any]]:
    """A record for each (name, arm with the change, arm without) and one of last rounds.

    Raises InputError when an arm has no run or a run lacks a figure.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    samples: dict[str, Sample] = {}
    contrasts = []
    records: list[dict[str, Any]] = []
    for name, changed, plain in pairs:
        one, other = arm_of(values, changed), arm_of(values, plain)
        for arm, runs in ((changed, one), (plain, other)):
            accuracy = tuple(100 * runs["accuracy"])
            samples[arm] = Sample(accuracy, tuple(runs["seed"]), split_arm(arm)[0])
        places = list(samples)
        contrasts.append({places.index(changed): 1.0, places.index(plain): -1.0})
        records.append(
            {
                "ablation": name,
                "with": changed,
                "without": plain,
                "accuracy_with": summarise(100 * one["accuracy"]),
                "accuracy_without": summarise(100 * other["accuracy"]),
                "largest": None,
                "failed_replies": failed(one, other),
                "source_files": files_behind(sources, NEEDED, one, other),
            }
        )
    for record, found in zip(records, simultaneous([*samples.values()], contrasts), strict=True):
        record["difference"] = found
    gaps = 100 * (values["test_accuracy_last"] - values["test_accuracy"])
    # runs of a seed share data and cohorts: as so many independent ones they would claim an
    # interval that is too short
    by_seed = summarise(gaps.groupby(values["seed"]).mean())
    records.append(
        {
            "ablation": "last round instead of the last five evaluations",
            "with": f"all {len(values)} runs",
            "without": "the same",
            "accuracy_with": NOTHING,
            "accuracy_without": NOTHING,
            "difference": Estimate(by_seed.n, by_seed.mean, by_seed.low, by_seed.high),
            "largest": gaps.abs().max(),
            "failed_replies": failed(values),
            "source_files": files_behind(sources, NEEDED, values),
        }
    )
    return records


def table(metrics: pd.DataFrame, ablation: Sequence[Ablation] = ()) -> pd.DataFrame:
    """A row an ablation, and one of last rounds; raises InputError as ``ablations`` does."""
    rows = []
    for record in ablations(metrics, ablation):
        row = {name: record[name] for name in ("ablation", "with", "without")}
        for name in ("accuracy_with", "accuracy_without"):
            row |= {f"{name}_percent": record[name].mean, f"{name}_sd": record[name].sd}
            row |= {f"{name}_n": record[name].n}
        found: Estimate = record["difference"]
        row |= {"n": found.n, "difference_points": found.mean}
        row |= {"difference_low": found.low, "difference_high": found.high}
        row |= {"largest_points": record["largest"], "p_adjusted": found.p}
        row |= {"failed_replies": record["failed_replies"]}
        rows.append(row | {"source_files": record["source_files"]})
    return pd.DataFrame(rows)
