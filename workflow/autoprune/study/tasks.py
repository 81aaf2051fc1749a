"""A data set's task in the configuration: what does not fit together, and what runs are told."""

from collections.abc import Mapping
from typing import Any

from autoprune.core.tasks import METRICS, R2, TOGETHER, UNASKED, score_of
from autoprune.data.prepare.schemes import BY_LABEL, no_classes

PAPERS = "multi-class"


def fault(data: Mapping[str, Any]) -> str:
    """What is wrong with a data set's targets, metrics and partition for its task; or ""."""
    task, target = data["task"], data["target"]
    several = not isinstance(target, str)
    if task == "multi-label" and (not several or len(target) < 2):
        return f"target: found {target!r}, expected a list of two at least for task multi-label"
    if several and any("," in name for name in target):
        return f"target: found {target!r}, expected names without a comma"
    if several and task != "multi-label":
        return f"target: found {target!r}, expected one; several are for task multi-label"
    for name in data["metrics"] or ():
        if name not in (known := METRICS[task]):
            return f"metrics: found {name!r}; known of task {task} are {', '.join(known)}"
    if task == PAPERS:
        return ""
    if data["stands_for"] != "none":
        return (
            f"stands_for: found {data['stands_for']!r}, expected none for task {task}, which "
            "is not the paper's"
        )
    scheme = data["partition"].scheme
    return f"partition.scheme: {no_classes(scheme, f'task {task}')}" if scheme in BY_LABEL else ""


def told(data: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of a data set is told of its task; nothing of it where it is the paper's."""
    task, target = data.get("task", PAPERS), data["target"]
    metrics = data.get("metrics", UNASKED[task])
    return {
        "target": target if isinstance(target, str) else TOGETHER.join(target),
        **({"task": task} if task != PAPERS else {}),
        **({"metrics": [*metrics]} if metrics else {}),
    }


def score(config: Mapping[str, Any], pair: str) -> str:
    """What the runs of a pair are scored by."""
    return score_of(config["datasets"][config["pairs"][pair]["dataset"]].get("task", PAPERS))


def mixed(config: Mapping[str, Any]) -> tuple[list[Any], str] | None:
    """The key of a regression, and why, where it goes with no other pair or lacks its margin."""
    scores = {pair: score(config, pair) for pair in config["study"]}
    numbers = [pair for pair, own in scores.items() if own == R2]
    if not numbers:
        return None
    path = ["datasets", config["pairs"][numbers[0]]["dataset"], "task"]
    for other, own in scores.items():
        if own != R2:
            return path, (
                f"found regression, which is scored by R², and {other} beside it by accuracy: no "
                "table has both; make two studies"
            )
    if config["claims"]["accuracy_margin"] is None:
        return path, (
            "found regression, and claims.accuracy_margin null, which follows from accuracies "
            "alone; give it the hundredths of R² that count as equal, such as 2"
        )
    return None
