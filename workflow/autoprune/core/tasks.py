"""Names of tasks, of what is measured of them, and of their scores in files and in sentences."""

import re
from typing import Literal

TaskName = Literal["multi-class", "multi-label", "regression"]
# what else than its score may be measured of a task's final network, and what is without asking
METRICS = {
    "multi-class": ("macro-f1", "auc"),
    "multi-label": ("macro-f1", "auc"),
    "regression": ("mae",),
}
UNASKED = {"multi-class": (), "multi-label": ("macro-f1", "auc"), "regression": ("mae",)}
TOGETHER = ", "  # between the targets of one task, where they stand in one text
ACCURACY, R2 = "accuracy", "r2"
# A regression has no accuracy. Its score is R², of which code reads as of an accuracy: a mean over
# images that training raises. Its files and pages name it, by these.
PHRASES = (
    (r"Where no margin is given it is 1\.96 [^:]*: what two equal networks [^.]*\.", ""),
    (r"beyond the margin: what two equal networks[^.]*\.", "beyond the configuration's margin."),
    (r"points of accuracy|accuracy points", "hundredths of R²"),
    (r"as accurate as", "as good as"),
    (r"less accurate than", "worse than"),
    (r"\bAccurac(y|ies)\b", "R²"),
    (r"\baccurac(y|ies)\b", "R²"),
)


def column(metric: str) -> str:
    """The name that a metric of METRICS has in a file."""
    return f"test_{metric.replace('-', '_')}"


COLUMNS = [column(name) for name in dict.fromkeys(sum(METRICS.values(), ()))]


def score_of(task: str) -> str:
    """ACCURACY, or R2 of a regression."""
    return R2 if task == "regression" else ACCURACY


def named(name: str, score: str) -> str:
    """A column or metric as files of this score name it: ``test_accuracy`` is ``test_r2`` there."""
    return name.replace(ACCURACY, score)


def plain(name: str) -> str:
    """The inverse of ``named``: the name that code goes by."""
    return re.sub(r"(?<![a-z0-9])r2(?![a-z0-9])", ACCURACY, name)


def worded(text: str, score: str) -> str:
    """A sentence on accuracies as one on this score; names of files and columns stay."""
    if score != ACCURACY:
        for phrase, instead in PHRASES:
            text = re.sub(phrase, instead, text)
    return text
