"""Stage: what the accidents of the notebooks do, one change at a time; and last-round reporting."""

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd

from autoprune.errors import InputError, run_main
from autoprune.evidence.ablated import Ablation, add_ablation_flag, split_arm
from autoprune.evidence.inference import holm, paired_p
from autoprune.evidence.statistics import Summary, files_behind, final_figures, require, summarise
from autoprune.metrics import read_metrics
from autoprune.style import (
    add_table_flags,
    decimal,
    with_interval,
    with_spread,
    write_table,
)

ARM = ["dataset", "model", "method", "variant"]
NEEDED = ["test_accuracy", "test_accuracy_last"]
TITLE = "Ablations"
NOTES = [
    "Test accuracy with the change minus without it, paired by seed, in points: mean "
    "[95 % t-interval]. p: paired t-test, Holm's correction over the rows of this table.",
    "Last round: the accuracy of the last evaluation minus the mean of the last five, a seed's "
    "value being the mean over its runs: mean [95 % t-interval] over seeds; the largest distance "
    "of a single run in either direction beside it. Where accuracy still rises in the end it is "
    "above 0 for that reason alone. The notebooks report the last round of one run.",
]


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
    records = []
    for name, changed, plain in pairs:
        one, other = arm_of(values, changed), arm_of(values, plain)
        both = one.merge(other, on="seed", suffixes=("", "_plain"))
        found = list(100 * (both["test_accuracy"] - both["test_accuracy_plain"]))
        records.append(
            {
                "ablation": name,
                "with": changed,
                "without": plain,
                "accuracy_with": summarise(100 * one["test_accuracy"]),
                "accuracy_without": summarise(100 * other["test_accuracy"]),
                "difference": summarise(found),
                "largest": max(map(abs, found), default=None),
                "p": paired_p(found),
                "source_files": files_behind(sources, NEEDED, one, other),
            }
        )
    for record, p in zip(records, holm([r["p"] for r in records]), strict=True):
        record["p_holm"] = p
    gaps = 100 * (values["test_accuracy_last"] - values["test_accuracy"])
    nothing = Summary(0, None, None, None, None)
    records.append(
        {
            "ablation": "last round instead of the last five evaluations",
            "with": f"all {len(values)} runs",
            "without": "the same",
            "accuracy_with": nothing,
            "accuracy_without": nothing,
            # runs of a seed share data and cohorts: as so many independent ones they would claim
            # an interval that is too short
            "difference": summarise(gaps.groupby(values["seed"]).mean()),
            "largest": gaps.abs().max(),
            "p": None,
            "p_holm": None,
            "source_files": files_behind(sources, NEEDED, values),
        }
    )
    return records


def raw(records: list[dict[str, Any]]) -> pd.DataFrame:
    """The table for machines."""
    rows = []
    for record in records:
        row = {name: record[name] for name in ("ablation", "with", "without")}
        for name in ("accuracy_with", "accuracy_without"):
            row |= {f"{name}_percent": record[name].mean, f"{name}_sd": record[name].sd}
        found: Summary = record["difference"]
        row |= {"n": found.n, "difference_points": found.mean}
        row |= {"difference_low": found.low, "difference_high": found.high}
        row |= {"largest_points": record["largest"], "p": record["p"], "p_holm": record["p_holm"]}
        rows.append(row | {"source_files": record["source_files"]})
    return pd.DataFrame(rows)


def readable(records: list[dict[str, Any]]) -> pd.DataFrame:
    """The table for people."""
    return pd.DataFrame(
        {
            "ablation": record["ablation"],
            "with": record["with"],
            "without": record["without"],
            "accuracy with, %": with_spread(record["accuracy_with"]),
            "accuracy without, %": with_spread(record["accuracy_without"]),
            "change, points": with_interval(record["difference"], sign=True),
            "largest, points": decimal(record["largest"]),
            "p": "–" if record["p_holm"] is None else f"{record['p_holm']:.3f}",
        }
        for record in records
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    add_ablation_flag(parser)
    add_table_flags(parser)
    arguments = parser.parse_args(argv)
    records = ablations(read_metrics(arguments.metrics), arguments.ablation)
    shown = readable(records)
    write_table(arguments, raw(records), shown, TITLE, NOTES)


if __name__ == "__main__":
    run_main(main)
