"""The comparisons: every method against the paper's, at three readings."""

from collections.abc import Sequence

import pandas as pd

from autoprune.core.labels import arm_label, dataset_label, decimal, label
from autoprune.evidence.comparisons import ACCURACIES, BETTER, WORSE
from autoprune.evidence.differences import differences_note
from autoprune.evidence.family import FAMILY
from autoprune.evidence.inference import CORRECTION
from autoprune.evidence.readings import BYTES, PAIR, READINGS, ROUNDS
from autoprune.evidence.texts import remarks, with_interval, with_spread
from autoprune.publish.latex import Paper
from autoprune.publish.tables import Row, number, summary

BUDGET_SLACK = 0.05  # share of the budget by which an arm may miss it and still be at it
TITLE = "Comparisons"
GROUP = 2
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


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table: its rules, and in what methods differ from their sources."""
    reference = next(arm_label(row["method"], row["variant"]) for row in rows if not row["answer"])
    own = [note.format(reference=reference) for note in NOTES]
    return own + differences_note({row["method"] for row in rows})


def readable(rows: Sequence[Row], *, bold: str = "<b>{}</b>") -> pd.DataFrame:
    """The table for people, a row per arm; ``bold`` wraps what differs."""
    shown = []
    by_arm: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in [*PAIR, "method", "variant"])
        by_arm.setdefault(key, {})[row["question"]] = row
    for of in by_arm.values():
        first = of[ROUNDS]
        share = float(first["share_of_budget"])
        off = " (off budget)" if abs(share - 1) > BUDGET_SLACK else ""
        accuracy = with_spread(summary(first, "accuracy_n", "accuracy_percent", "accuracy_sd"))
        accuracy += remarks(
            first["still_rising"], int(first["dead_runs"]), int(first["accuracy_n"])
        )
        cells = {
            "data": dataset_label(first["dataset"], first["data_kind"]),
            "model": label(first["model"]),
            "method": named(first),
            "numbers sent": f"{decimal(number(first['nonzeros']), 0)}, "
            f"{decimal(100 * share, 0)} %{off}",
            "MB sent": decimal(float(first["bytes_total"]) / 1e6, 2),
            "rounds trained": decimal(number(first["trained_rounds"]), 0),
            "accuracy, %": accuracy,
        }
        for reading, row in of.items():
            differs = row["answer"] in (BETTER, WORSE)
            text = difference(row)
            cells[f"{reading}, points"] = bold.format(text) if differs else text
            if reading == ROUNDS:
                cells["with clients, points"] = with_clients(row)
        cells |= {
            f"{short}, %": decimal(number(first[f"{name}_percent"]))
            for name, short in ACCURACIES.items()
        }
        shown.append(cells)
    return pd.DataFrame(shown)


def named(row: Row) -> str:
    """An arm with those that are the same runs, and those that are in some seeds."""
    arms = [f"{row['method']}/{row['variant']}", *parts(row["same_runs"])]
    text = " = ".join(map(label, arms))
    some = [part.partition(" ") for part in parts(row["partly_same"])]
    others = ", ".join(f"{label(arm)} in {share} seeds" for arm, _, share in some)
    return f"{text} (same as {others})" if others else text


def parts(text: str) -> list[str]:
    """The parts of a cell that lists several."""
    return text.split("; ") if text else []


def difference(row: Row) -> str:
    """A difference with its interval, and the place where it was read."""
    figures = (f"difference_{end}" for end in ("low", "high"))
    found = summary(row, "n", "difference_points", "", *figures)
    text = with_interval(found, sign=True)
    at = number(row["read_at"])
    if at is None or found.mean is None:
        return text
    return f"{text} at {at / 1e6:.2f} MB" if row["question"] == BYTES else f"{text} at {at:g}"


def with_clients(row: Row) -> str:
    """The wider interval alone: the mean stands beside it."""
    low, high = number(row["with_clients_low"]), number(row["with_clients_high"])
    if low is None or high is None:
        return "–"
    return f"[{decimal(low, sign=True)}, {decimal(high, sign=True)}]"
