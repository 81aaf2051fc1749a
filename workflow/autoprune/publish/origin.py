"""What stands behind a cell of a table: runs, the metrics of them that it rests on, files.

The report's dialog and ``check.trace`` both ask here.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import NamedTuple

from autoprune.core.tasks import R2, plain, worded
from autoprune.evidence.abstract import ABSTRACT
from autoprune.evidence.questions import QUESTIONS

STATISTICS = ("_mean", "_sd", "_low", "_high", "_n", "_points", "_percent", "_reduction")
# columns that are not named after the metric that they rest on
RESTS_ON = {
    "accuracy_change": ["test_accuracy"],
    "accuracy_with": ["test_accuracy"],
    "accuracy_without": ["test_accuracy"],
    "largest": ["test_accuracy", "test_accuracy_last"],
    "difference": ["test_accuracy", "bytes_total"],
    "accuracy": ["test_accuracy", "validation_examples", "test_examples", "rounds"],
    "p_adjusted": ["test_accuracy"],
    "answer": ["test_accuracy"],
    "rise": ["test_accuracy"],
    "still_rising": ["test_accuracy"],
    "trained_rounds": ["rounds"],
    "dead_runs": ["rounds"],
    "live_filters": ["rounds"],
    "failed_replies": ["failed_replies", "usable_replies"],
    "with_clients": ["test_accuracy"],
    "communication_factor": ["bytes_total"],
    "communication_factor_payload": ["payload_total"],
    "share_of_budget": ["nonzeros", "bits", "parameters_with_statistics"],
}
COMPARED = (
    *("accuracy_change", "communication_factor", "difference", "p_", "share_of_budget"),
    *("answer", "with_clients"),
)
OF_CLAIM = (
    *("ours", "low", "high", "n", "verdict", "resolved", "answer", "clients_low", "clients_high"),
    *("training_ours", "training_low", "training_high", "training_rounds"),
)
NAMES = ("dataset", "model", "method", "variant")


class Origin(NamedTuple):
    """Files behind a cell: by the run that left them (dataset/model/method/variant/seed-0), and
    others: counts, and measurements of networks; ``networks`` are the runs of those."""

    runs: Mapping[str, list[str]]
    others: list[str]
    networks: list[str]


def origin(row: Mapping[str, str], column: str) -> Origin:
    """What is behind a column of a row of a table's CSV, as its ``source_files`` name it.

    A run's own figure rests on it alone, without what stands beside it in the row.
    """
    own = "method" in row and not is_compared(column)
    runs: dict[str, list[str]] = {}
    others: list[str] = []
    networks: dict[str, None] = {}
    for file in filter(None, row.get("source_files", "").split(";")):
        run = PurePath(file).parent
        if not run.name.startswith("seed-"):
            others.append(file)
            network = PurePath(file).with_suffix("")
            if network.name.startswith("seed-"):
                networks["/".join(network.parts[-5:])] = None
        elif not own or run.parts[-3:-1] == (row["method"], row["variant"]):
            runs.setdefault("/".join(run.parts[-5:]), []).append(file)
    if others and not runs and row.get("seed"):  # measured on a phone: the row names its network
        networks["/".join([*(row[name] for name in NAMES), f"seed-{row['seed']}"])] = None
    return Origin(runs, others, list(networks))


def is_compared(column: str) -> bool:
    """Whether a cell comes from a run beside another one, the dense or the reference."""
    column = plain(column)
    return "_reduction" in column or column == "p" or column.startswith(COMPARED)


def metrics_behind(row: Mapping[str, str], column: str) -> list[str]:
    """The metrics a cell rests on; of one that only names something none that there is."""
    if "claim" in row and column in OF_CLAIM:
        known = {figure.sentence: figure.counted for figure in ABSTRACT.values()}
        known |= {question.claim: question.counted for question in QUESTIONS}
        known |= {worded(claim, R2): counted for claim, counted in known.items()}
        counted = known.get(row["claim"], "test_accuracy")
        return RESTS_ON.get(counted, [counted])
    base = column = plain(column)
    while base not in RESTS_ON and (end := next((e for e in STATISTICS if base.endswith(e)), "")):
        base = base.removesuffix(end)
    return RESTS_ON.get(base, [column, base])
