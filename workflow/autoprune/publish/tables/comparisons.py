"""Every method and control against the paper's, at three readings.

*Equal rounds* reads both at their end, *equal training rounds* after as many rounds since network
and weights stand still, *equal bytes* when they had sent as much. Intervals are simultaneous for
all comparisons that are made of a data set and model, and nothing is bold whose interval does not
exclude 0.
"""

from collections.abc import Sequence

from autoprune.core.labels import arm_label, decimal, label
from autoprune.evidence.comparisons import ACCURACIES, BETTER, WORSE
from autoprune.evidence.differences import differences_note
from autoprune.evidence.family import FAMILY
from autoprune.evidence.inference import CORRECTION
from autoprune.evidence.readings import BYTES, PAIR, READINGS, ROUNDS, TRAINING
from autoprune.evidence.texts import remarks, with_interval, with_spread
from autoprune.publish.tables import DATA, MODEL, Column, Row, number, summary, written

TITLE = "Comparisons"
CATEGORY = "Controls"
LABEL = "methods and controls"
GROUP = 2
ONLY_WITH = "reference"
BUDGET_SLACK = 0.05  # share of the budget by which an arm may miss it and still be at it
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
DIFFERENCE = ("difference_points", "difference_low", "difference_high")


def notes(rows: Sequence[Row]) -> list[str]:
    """What stands below the table: its rules, and in what methods differ from their sources."""
    reference = next(arm_label(row["method"], row["variant"]) for row in rows if not row["answer"])
    own = [note.format(reference=reference) for note in NOTES]
    return own + differences_note({row["method"] for row in rows})


def shown(rows: Sequence[Row]) -> list[Row]:
    """A row an arm: that of equal rounds, and the differences at the other readings beside it.

    Those columns are named READING/COLUMN.
    """
    by_arm: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        key = tuple(row[name] for name in [*PAIR, "method", "variant"])
        by_arm.setdefault(key, {})[row["question"]] = row
    return [
        {**of[ROUNDS]}
        | {f"{reading}/{name}": row[name] for reading, row in of.items() for name in READ}
        for of in by_arm.values()
    ]


READ = ("n", *DIFFERENCE, "read_at", "answer")


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


def sent(row: Row) -> str:
    """Numbers in the final network, and their share of the budget."""
    share = float(row["share_of_budget"])
    off = " (off budget)" if abs(share - 1) > BUDGET_SLACK else ""
    return f"{written(row, 'nonzeros', 0)}, {decimal(100 * share, 0)} %{off}"


def accuracy(row: Row) -> str:
    """An arm's accuracy, and what to know of it."""
    text = with_spread(summary(row, "accuracy_n", "accuracy_percent", "accuracy_sd"))
    known = row["still_rising"], int(row["dead_runs"]), int(row["accuracy_n"])
    return text + remarks(*known, row["failed_replies"])


def difference(reading: str) -> Column:
    """The difference from the reference at a reading, and where that was; bold where it differs."""

    def text(row: Row) -> str:
        of = {name: row[f"{reading}/{name}"] for name in READ}
        found = summary(of, "n", DIFFERENCE[0], "", *DIFFERENCE[1:])
        said, at = with_interval(found, sign=True), number(of["read_at"])
        if at is not None and found.mean is not None:
            said += f" at {at / 1e6:.2f} MB" if reading == BYTES else f" at {at:g}"
        return f"<b>{said}</b>" if of["answer"] in (BETTER, WORSE) else said

    return Column(f"{reading}, points", text, tuple(f"{reading}/{name}" for name in DIFFERENCE))


def with_clients(row: Row) -> str:
    """The wider interval alone: the mean stands beside it."""
    low, high = number(row["with_clients_low"]), number(row["with_clients_high"])
    if low is None or high is None:
        return "–"
    return f"[{decimal(low, sign=True)}, {decimal(high, sign=True)}]"


def of_test(name: str, title: str) -> Column:
    """An accuracy on test images alone."""
    column = f"{name}_percent"
    return Column(f"{title}, %", lambda row: written(row, column), (column,), paper="left out")


COLUMNS = [
    DATA,
    MODEL,
    Column("method", named),
    Column("numbers sent", sent, ("nonzeros", "share_of_budget")),
    Column("MB sent", lambda row: written(row, "bytes_total", 2, 1e-6), ("bytes_total",)),
    Column(
        "rounds trained",
        lambda row: written(row, "trained_rounds", 0),
        ("trained_rounds",),
        paper="left out",
    ),
    Column("accuracy, %", accuracy, ("accuracy_percent", "accuracy_sd")),
    difference(ROUNDS),
    Column("with clients, points", with_clients, ("with_clients_low", "with_clients_high")),
    difference(TRAINING),
    difference(BYTES),
    *(of_test(name, title) for name, title in ACCURACIES.items()),
]
