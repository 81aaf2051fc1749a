"""Stage: every method against the paper's, at equal rounds, equal training rounds, equal bytes."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from autoprune.errors import InputError, run_main
from autoprune.evidence.clients import Units, add_units_flag, read_units
from autoprune.evidence.differences import differences_note
from autoprune.evidence.family import (
    FAMILY,
    Difference,
    Study,
    accuracies,
    between,
    differences,
    of_pair,
    studies,
)
from autoprune.evidence.inference import CORRECTION, NOTHING, Estimate
from autoprune.evidence.readings import (
    BYTES,
    PAIR,
    READINGS,
    ROUNDS,
    Arm,
    Pair,
    deaths,
    rise,
    same_runs,
    still_rising,
    trained_rounds,
)
from autoprune.evidence.statistics import (
    add_margin_flag,
    files_behind,
    final_figures,
    require,
    size_of,
    summarise,
)
from autoprune.latex import Paper
from autoprune.measure.table import read_metrics
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

BUDGET_SLACK = 0.05  # share of the budget by which an arm may miss it and still be at it
ACCURACIES = {
    "test_accuracy_last": "test images, last",
    "test_accuracy_best": "test images, best by validation",
    "test_macro_accuracy": "mean over classes",
    "test_accuracy_worst_decile": "worst tenth of clients",
}
NEEDED = [
    *("accuracy", *ACCURACIES, "test_examples"),
    *("parameters_with_statistics", "nonzeros", "bits", "bytes_total"),
]
BETTER, WORSE, EQUIVALENT, OPEN = "better", "worse", "equivalent", "open"

TITLE = "Comparisons"
NOTES = [
    "Each method minus the paper's ({reference}), seed by seed, in accuracy points of all held-out "
    "images, validation and test together: mean [interval]. In bold what differs. Intervals are "
    f"{CORRECTION}; {FAMILY}. A variant that changes how clients train, or the rule's k, patience "
    "or cap, is no method but an ablation or a point of the map, and is left out.",
    *(f"At {name}: {text}." for name, text in READINGS.items()),
    "With clients: the interval at equal rounds when the held-out clients are drawn anew as well "
    "as the seeds, all arms on the same ones. Where it is there, only what it too excludes is "
    "bold.",
    "Arms that are the same runs in every common seed stand in one row; (same as …) names those "
    "that are the same in some. (still rising): the last five evaluations exceed the five before "
    "by more than the margin, and by a 95 % t-interval over seeds above 0. (dead): in so many "
    "seeds not one filter of some layer fires on any training image in the end.",
    "FedMap, PruneFL and SSFL mask single weights of a network that keeps its widths: what they "
    "send is less, their MACs and latency are the dense network's.",
    "Numbers sent: of the final network, what no mask takes away, as a share of the budget; "
    "(off budget) marks more than 5 % beside it. Last, best by validation, mean over classes and "
    "worst tenth of clients are of the test images alone.",
]
PAPER = Paper(
    headings=["data", "model"],
    left_out=[*(f"{short}, %" for short in ACCURACIES.values()), "rounds trained"],
)


def comparisons(
    metrics: pd.DataFrame,
    reference: Arm,
    margin: float | None = None,
    units: Mapping[Pair, Mapping[Arm, Units]] | None = None,
) -> list[dict[str, Any]]:
    """The comparisons table as records, a record per data set, model, arm and reading.

    ``reference`` is the (method, variant) that all others are compared with; pairs without it are
    left out. ``margin``: accuracy points within which two methods are equivalent, None for that
    of the held-out images. Raises InputError when a run lacks a figure.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    records = []
    for pair, study in studies(metrics, values, reference, margin, units).items():
        if reference not in study.arms:
            continue
        found = {reading: differences(study, reading) for reading in READINGS}
        frames = of_pair(values, pair)
        for arm in arm_order(study.arms):
            about = dict(zip(PAIR, pair, strict=True)) | {"method": arm[0], "variant": arm[1]}
            about |= arm_facts(study, arm, reference, frames)
            about["source_files"] = files_behind(sources, NEEDED, frames[arm], frames[reference])
            for reading, of in found.items():
                difference = between(arm, reference, of)
                family = sum(one.seeds.p is not None for one in of.values())
                records.append(
                    about
                    | {"question": reading, "difference": difference, "comparisons": family}
                    | {"answer": answer(difference.widest, study.margin)}
                )
    return records


def arm_facts(
    study: Study, arm: Arm, reference: Arm, frames: Mapping[Arm, pd.DataFrame]
) -> dict[str, Any]:
    """What is known of an arm apart from its difference."""
    own = study.arms[arm]
    gap = rise(own)
    same = [name for name in arm_order(study.stands_for) if study.stands_for[name] == arm]
    partly = {
        other: same_runs(own, study.arms[other]) for other in arm_order(study.arms) if other != arm
    }
    return {
        "is_reference": arm == reference,
        "same_runs": [name for name in same if name != arm],
        "partly_same": {other: counts for other, counts in partly.items() if counts[0]},
        "accuracy": summarise(accuracies(own)),
        "trained_rounds": trained_rounds(own),
        "rise": gap,
        "still_rising": still_rising(gap, study.margin),
        "dead_runs": sum(curve.dead for curve in own),
        "deaths": deaths(own),
        "margin": study.margin,
        **size_of(frames[arm], frames[reference]),
        **{name: summarise(100 * frames[arm][name]) for name in ACCURACIES},
    }


def answer(found: Estimate, margin: float) -> str:
    """What an interval says of an arm against the reference: better, worse, equivalent, open."""
    if found.low is None or found.high is None:
        return OPEN
    if found.low > 0 or found.high < 0:
        return BETTER if found.low > 0 else WORSE
    return EQUIVALENT if -margin < found.low and found.high < margin else OPEN


def raw(records: list[dict[str, Any]]) -> pd.DataFrame:
    """The table for machines."""
    rows = []
    for record in records:
        difference: Difference = record["difference"]
        seeds, wider = difference.seeds, difference.clients or NOTHING
        row = {name: record[name] for name in [*PAIR, "method", "variant", "question"]}
        row |= {"same_runs": "; ".join(map("/".join, record["same_runs"]))}
        row |= {"partly_same": partly(record)}
        row |= {name: record[name] for name in ("parameters_with_statistics", "nonzeros", "bits")}
        row |= {name: record[name] for name in ("bytes_total", "share_of_budget")}
        for name in ("accuracy", *ACCURACIES):
            row |= {f"{name}_percent": record[name].mean, f"{name}_sd": record[name].sd}
        row |= {"trained_rounds": record["trained_rounds"]}
        row |= {"rise_points": record["rise"].mean, "rise_low": record["rise"].low}
        row |= {"still_rising": {True: "yes", False: "no", None: ""}[record["still_rising"]]}
        row |= {"dead_runs": record["dead_runs"]}
        row |= {"n": seeds.n, "difference_points": seeds.mean}
        row |= {"difference_low": seeds.low, "difference_high": seeds.high}
        row |= {"with_clients_low": wider.low, "with_clients_high": wider.high}
        row |= {"p_adjusted": seeds.p, "comparisons": record["comparisons"]}
        row |= {"answer": "" if record["is_reference"] else record["answer"]}
        row |= {"read": READINGS[record["question"]], "read_at": difference.at}
        row |= {"margin_points": record["margin"], "source_files": record["source_files"]}
        rows.append(row)
    return pd.DataFrame(rows)


def partly(record: dict[str, Any]) -> str:
    """The arms that are the same runs in some seeds: "narrow/reinit 2 of 3"."""
    return "; ".join(
        f"{'/'.join(arm)} {same} of {common}"
        for arm, (same, common) in record["partly_same"].items()
    )


def readable(records: list[dict[str, Any]], *, bold: str = "<b>{}</b>") -> pd.DataFrame:
    """The table for people, a row per arm; ``bold`` wraps what differs."""
    rows = []
    by_arm: dict[tuple[str, ...], dict[str, dict[str, Any]]] = {}
    for record in records:
        key = tuple(record[name] for name in [*PAIR, "method", "variant"])
        by_arm.setdefault(key, {})[record["question"]] = record
    for of in by_arm.values():
        first = of[ROUNDS]
        share = first["share_of_budget"]
        off = " (off budget)" if abs(share - 1) > BUDGET_SLACK else ""
        row = {
            "data": dataset_label(first["dataset"], first["data_kind"]),
            "model": label(first["model"]),
            "method": named(first),
            "numbers sent": f"{decimal(first['nonzeros'], 0)}, {decimal(100 * share, 0)} %{off}",
            "MB sent": decimal(first["bytes_total"] / 1e6, 2),
            "rounds trained": decimal(first["trained_rounds"], 0),
            "accuracy, %": with_spread(first["accuracy"]),
        }
        remarks = ["still rising"] if first["still_rising"] else []
        remarks += [first["deaths"]] if first["deaths"] else []
        row["accuracy, %"] += "".join(f" ({remark})" for remark in remarks)
        for reading, record in of.items():
            text = shown(record)
            differs = record["answer"] in (BETTER, WORSE)
            row[f"{reading}, points"] = bold.format(text) if differs else text
            if reading == ROUNDS:
                row["with clients, points"] = with_clients(record["difference"])
        row |= {f"{short}, %": decimal(first[name].mean) for name, short in ACCURACIES.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def named(record: dict[str, Any]) -> str:
    """An arm with those that are the same runs, and those that are in some seeds."""
    arms = [(record["method"], record["variant"]), *record["same_runs"]]
    text = " = ".join(arm_label(*arm) for arm in arms)
    some = [
        f"{arm_label(*arm)} in {same} of {common} seeds"
        for arm, (same, common) in record["partly_same"].items()
    ]
    return f"{text} (same as {', '.join(some)})" if some else text


def shown(record: dict[str, Any]) -> str:
    """A difference with its interval, and the place where it was read."""
    difference: Difference = record["difference"]
    text = with_interval(difference.summary, sign=True)
    if difference.at is None or difference.seeds.mean is None:
        return text
    at = f"{difference.at / 1e6:.2f} MB" if record["question"] == BYTES else f"{difference.at:g}"
    return f"{text} at {at}"


def with_clients(difference: Difference) -> str:
    """The wider interval alone: the mean stands beside it."""
    wider = difference.clients
    if wider is None or wider.low is None or wider.high is None:
        return "–"
    return f"[{decimal(wider.low, sign=True)}, {decimal(wider.high, sign=True)}]"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    parser.add_argument("--reference", required=True, help="variant of autoprune")
    add_margin_flag(parser, "--margin")
    add_units_flag(parser)
    parser.add_argument("--note", action="append", default=[], help="a sentence below the table")
    add_table_flags(parser)
    arguments = parser.parse_args(argv)
    reference = ("autoprune", arguments.reference)
    metrics, units = read_metrics(arguments.metrics), read_units(arguments.units)
    records = comparisons(metrics, reference, arguments.margin, units)
    if not records:
        raise InputError(
            f"{arguments.metrics}: no run of autoprune/{arguments.reference}, with which all "
            "others are compared; add it to methods, or set controls.reference"
        )
    notes = [note.format(reference=arm_label(*reference)) for note in NOTES] + arguments.note
    notes += differences_note({record["method"] for record in records})
    text = readable(records)
    write_table(arguments, raw(records), text, TITLE, notes, group=2, paper=PAPER)


if __name__ == "__main__":
    run_main(main)
