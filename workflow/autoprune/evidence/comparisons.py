"""Stage: every method against the paper's, at equal parameters and at equal bytes."""

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from autoprune.errors import InputError, run_main
from autoprune.evidence.ablated import comparable
from autoprune.evidence.inference import equivalence_p, holm, paired_p
from autoprune.evidence.statistics import Summary, files_behind, final_figures, require, summarise
from autoprune.latex import Paper
from autoprune.metrics import RUN, read_metrics
from autoprune.style import (
    add_table_flags,
    arm_label,
    arm_order,
    dataset_label,
    decimal,
    label,
    with_interval,
    with_spread,
    write_table,
)

PAIR = ["dataset", "data_kind", "model"]
# question -> how an arm's accuracy is read
QUESTIONS = {
    "final": "mean of the last five evaluations",
    "equal bytes": "linear in bytes between evaluations",
}
LEVEL = 0.05
BUDGET_SLACK = 0.05  # share of the budget by which an arm may miss it and still be at it
ACCURACIES = {
    "test_accuracy": "mean of the last five evaluations",
    "test_accuracy_last": "last",
    "test_accuracy_best": "best by validation",
    "test_macro_accuracy": "mean over classes",
    "test_accuracy_worst_decile": "worst tenth of clients",
}
FAIRNESS = ("test_macro_accuracy", "test_accuracy_worst_decile")  # pruning may hurt the few
NEEDED = [*ACCURACIES, "parameters_with_statistics", "nonzeros", "bits", "bytes_total"]

TITLE = "Comparisons"
NOTES = [
    "Each method minus the paper's ({reference}), paired by seed, in accuracy points: mean "
    "[95 % t-interval]. In bold what differs at the 5 % level by a paired t-test, after Holm's "
    "correction for all methods of a data set, model and question. A variant that changes how "
    "clients train, or the rule's k, patience or cap, is no method but an ablation or a point of "
    "the map, and is left out.",
    "Equal bytes: each read once, when it had sent the smaller of the two totals, search and masks "
    "included. The method that sends less is read at its end; the other one mostly gets there "
    "between two evaluations, and is read on the straight line between them, by bytes.",
    "FedMap, PruneFL and SSFL mask single weights of a network that keeps its widths: what they "
    "send is less, their MACs and latency are the dense network's.",
    "Numbers sent: of the final network, what no mask takes away, as a share of the budget; "
    "(off budget) marks more than 5 % beside it. Accuracy is the mean of the last five "
    "evaluations; the last, the best by validation, the mean over classes and the worst tenth of "
    "clients stand beside it, the latter two with their difference (not corrected).",
]
PAPER = Paper(
    headings=["data", "model"],
    left_out=[f"{short}, %" for short in list(ACCURACIES.values())[1:]],
)


def at_bytes(rounds: pd.DataFrame, budget: float) -> float:
    """Test accuracy when ``budget`` bytes were sent, linear in bytes between two evaluations.

    ``rounds`` has a run's ``bytes_cumulative`` and ``test_accuracy`` by round. After the last
    evaluation it is that one's: nothing is extrapolated. Round 0, before anything was sent, is
    always evaluated; raises ValueError for a budget below the first evaluation all the same.
    """
    evaluated = rounds.dropna(subset="test_accuracy").sort_values("bytes_cumulative", kind="stable")
    # a round without a usable reply sends nothing: of such evaluations the later one counts
    evaluated = evaluated.drop_duplicates("bytes_cumulative", keep="last")
    sent, accuracy = (evaluated[name].to_numpy() for name in ("bytes_cumulative", "test_accuracy"))
    if budget < sent[0]:
        raise ValueError(f"no evaluation at or before {budget} bytes; the first is at {sent[0]}")
    return float(np.interp(budget, sent, accuracy))


def by_round(metrics: pd.DataFrame) -> dict[tuple[Any, ...], pd.DataFrame]:
    """Of each run (RUN's values) the table of ``at_bytes``."""
    wanted = ["bytes_cumulative", "test_accuracy"]
    rows = metrics[metrics["round"].notna() & metrics["metric"].isin(wanted)]
    wide = rows.set_index([*RUN, "round", "metric"])["value"].unstack("metric")  # noqa: PD010
    return {key: frame.reset_index() for key, frame in wide.groupby(level=list(range(len(RUN))))}


def differences(
    own: pd.DataFrame, reference: pd.DataFrame, rounds: dict[tuple[Any, ...], pd.DataFrame]
) -> pd.DataFrame:
    """Points by which ``own`` exceeds ``reference``: a row per seed, QUESTIONS and FAIRNESS."""
    both = own.merge(reference, on="seed", suffixes=("", "_reference"))
    rows = []
    for run in both.to_dict("records"):
        key = tuple(run[name] for name in RUN)
        theirs = tuple(run[name if name in ("seed",) else f"{name}_reference"] for name in RUN)
        budget = min(run["bytes_total"], run["bytes_total_reference"])
        rows.append(
            {
                "seed": run["seed"],
                "final": 100 * (run["test_accuracy"] - run["test_accuracy_reference"]),
                **{name: 100 * (run[name] - run[f"{name}_reference"]) for name in FAIRNESS},
                "equal bytes": 100
                * (at_bytes(rounds[key], budget) - at_bytes(rounds[theirs], budget)),
            }
        )
    return pd.DataFrame(rows, columns=["seed", *QUESTIONS, *FAIRNESS])


def comparisons(
    metrics: pd.DataFrame, reference: tuple[str, str], margin: float
) -> list[dict[str, Any]]:
    """The comparisons table as records, a record per data set, model, arm and question.

    ``reference`` is the (method, variant) that all others are compared with; pairs without it are
    left out. ``margin``: accuracy points within which two methods are equivalent. Raises
    InputError when a run lacks a figure.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    rounds = by_round(metrics)
    records = []
    for pair, runs in values.groupby(PAIR):
        arms = {arm: some for arm, some in runs.groupby(["method", "variant"])}  # noqa: C416
        if reference not in arms:
            continue
        arms = {arm: some for arm, some in arms.items() if comparable(some, arms[reference])}
        of_pair = []
        for arm in arm_order(arms):
            own = arms[arm]
            found = differences(own, arms[reference], rounds)
            common = own[own["seed"].isin(found["seed"])]
            about = dict(zip(PAIR, pair, strict=True)) | {"method": arm[0], "variant": arm[1]}
            about |= size_of(own, arms[reference])
            about |= {name: summarise(100 * own[name]) for name in ACCURACIES}
            for name in FAIRNESS:
                about[f"{name}_difference"] = summarise([] if arm == reference else found[name])
            about["source_files"] = files_behind(sources, NEEDED, common, arms[reference])
            for question in QUESTIONS:
                of_pair.append(about | judged(question, found[question], margin, arm == reference))
        for question in QUESTIONS:
            family = [r for r in of_pair if r["question"] == question and not r["is_reference"]]
            for record, p in zip(family, holm([r["p"] for r in family]), strict=True):
                record["p_holm"], record["comparisons"] = p, len(family)
        records += of_pair
    return records


def size_of(own: pd.DataFrame, reference: pd.DataFrame) -> dict[str, Any]:
    """Means over seeds of what an arm's final network holds, and its share of the budget.

    The budget is that of the same seed; for networks of fewer bits a number it is one of bits.
    """
    both = own.merge(reference, on="seed", suffixes=("", "_reference"))
    plain = (both["bits"] >= 32 * both["nonzeros"]).all()
    used = both["nonzeros"] if plain else both["bits"] / 32
    return {
        "parameters_with_statistics": own["parameters_with_statistics"].mean(),
        "nonzeros": own["nonzeros"].mean(),
        "bits": own["bits"].mean(),
        "bytes_total": own["bytes_total"].mean(),
        "share_of_budget": (used / both["parameters_with_statistics_reference"]).mean(),
    }


def judged(question: str, found: pd.Series, margin: float, is_reference: bool) -> dict[str, Any]:
    """The statistics of one question."""
    values = [] if is_reference else list(found)
    return {
        "question": question,
        "is_reference": is_reference,
        "difference": summarise(values),
        "p": paired_p(values),
        "p_holm": None,
        "comparisons": 0,
        "p_equivalence": equivalence_p(values, margin),
    }


def differs(record: dict[str, Any]) -> bool:
    """Whether a comparison is significant after the correction."""
    return record["p_holm"] is not None and record["p_holm"] < LEVEL


def raw(records: list[dict[str, Any]], margin: float) -> pd.DataFrame:
    """The table for machines."""
    rows = []
    for record in records:
        row = {name: record[name] for name in [*PAIR, "method", "variant", "question"]}
        row |= {name: record[name] for name in ("parameters_with_statistics", "nonzeros", "bits")}
        row |= {name: record[name] for name in ("bytes_total", "share_of_budget")}
        for name in ACCURACIES:
            row |= {f"{name}_percent": record[name].mean, f"{name}_sd": record[name].sd}
        for name in FAIRNESS:
            change: Summary = record[f"{name}_difference"]
            row |= {f"{name}_difference_points": change.mean}
            row |= {f"{name}_difference_low": change.low, f"{name}_difference_high": change.high}
        found: Summary = record["difference"]
        row |= {"n": found.n, "difference_points": found.mean}
        row |= {"difference_low": found.low, "difference_high": found.high}
        row |= {name: record[name] for name in ("p", "p_holm", "comparisons", "p_equivalence")}
        row |= {"read": QUESTIONS[record["question"]], "margin_points": margin}
        row |= {"source_files": record["source_files"]}
        rows.append(row)
    return pd.DataFrame(rows)


def readable(records: list[dict[str, Any]], *, bold: str = "<b>{}</b>") -> pd.DataFrame:
    """The table for people, a row per arm; ``bold`` wraps what differs."""
    rows = []
    for final, equal in zip(records[::2], records[1::2], strict=True):
        share = final["share_of_budget"]
        off = " (off budget)" if abs(share - 1) > BUDGET_SLACK else ""
        row = {
            "data": dataset_label(final["dataset"], final["data_kind"]),
            "model": label(final["model"]),
            "method": arm_label(final["method"], final["variant"]),
            "numbers sent": f"{decimal(final['nonzeros'], 0)}, {decimal(100 * share, 0)} %{off}",
            "MB sent": decimal(final["bytes_total"] / 1e6, 2),
            "test accuracy, %": with_spread(final["test_accuracy"]),
        }
        for record in (final, equal):
            name = "final" if record is final else "at equal bytes"
            text = with_interval(record["difference"], sign=True)
            row[f"{name}, points"] = bold.format(text) if differs(record) else text
            row[f"p ({name})"] = "–" if record["p_holm"] is None else f"{record['p_holm']:.3f}"
        for name, short in list(ACCURACIES.items())[1:]:
            row[f"{short}, %"] = decimal(final[name].mean)
            if name in FAIRNESS and final[f"{name}_difference"].n:
                row[f"{short}, %"] += f"; {with_interval(final[f'{name}_difference'], sign=True)}"
        rows.append(row)
    return pd.DataFrame(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    parser.add_argument("--reference", required=True, help="variant of autoprune")
    parser.add_argument("--margin", type=float, required=True, help="of equivalence, points")
    add_table_flags(parser)
    arguments = parser.parse_args(argv)
    reference = ("autoprune", arguments.reference)
    records = comparisons(read_metrics(arguments.metrics), reference, arguments.margin)
    if not records:
        raise InputError(
            f"{arguments.metrics}: no run of autoprune/{arguments.reference}, with which all "
            "others are compared; add it to methods, or set controls.reference"
        )
    notes = [note.format(reference=arm_label(*reference)) for note in NOTES]
    shown = readable(records)
    numbers = raw(records, arguments.margin)
    write_table(arguments, numbers, shown, TITLE, notes, group=2, paper=PAPER)


if __name__ == "__main__":
    run_main(main)
