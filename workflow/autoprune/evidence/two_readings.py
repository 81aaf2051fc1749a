"""One verdict from two readings of accuracy: at equal rounds and at equal training rounds."""

from collections.abc import Sequence
from typing import Any

from autoprune.core.labels import arm_label, decimal
from autoprune.evidence.family import Difference, Study, as_summary
from autoprune.evidence.inference import Estimate
from autoprune.evidence.readings import Arm, deaths, rise, same_runs, still_rising
from autoprune.evidence.statistics import UNRESOLVED, judge

DEPENDS = {"verdict": "depends on training rounds", "resolved": "no"}


def judged(found: Estimate, margin: float) -> dict[str, str]:
    """The verdict of "the difference is at least - margin"; not resolved without a difference."""
    return UNRESOLVED if found.mean is None else judge(as_summary(found), -margin)


def both(end: dict[str, str], trained: dict[str, str]) -> dict[str, str]:
    """The verdict of two readings: theirs where it is one, and what it depends on where not.

    Settled at one reading alone is not resolved: the other might still come to the same.
    """
    if end["verdict"] == trained["verdict"]:
        return end
    return UNRESOLVED if "no" in (end["resolved"], trained["resolved"]) else DEPENDS


def columns_of(end: Difference, trained: Difference) -> dict[str, Any]:
    """The columns of a row of claims beside the interval over seeds at equal rounds."""
    wider, later = end.clients, trained.seeds
    return {
        "clients_low": wider and wider.low,
        "clients_high": wider and wider.high,
        "training_ours": later.mean,
        "training_low": later.low,
        "training_high": later.high,
        "training_rounds": trained.at,
    }


def remarks(study: Study, one: Arm, other: Arm) -> str:
    """What a reader must know of two arms: still rising, dead, the same run in some seeds."""
    arms = [study.arms[arm] for arm in (one, other)]
    rising = [
        arm_label(*arm)
        for arm, own in zip((one, other), arms, strict=True)
        if still_rising(rise(own), study.margin)
    ]
    text = f"; still rising: {', '.join(rising)}" if rising else ""
    for arm, own in zip((one, other), arms, strict=True):
        text += f"; {arm_label(*arm)}: {deaths(own)}" if deaths(own) else ""
    same, common = same_runs(*arms)
    return text + (f"; the same run in {same} of {common} seeds" if same else "")


def words(verdicts: Sequence[dict[str, str]], trained: Difference) -> str:
    """Both readings in words; ``verdicts`` at equal rounds and at equal training rounds."""
    end, later = (one["verdict"] for one in verdicts)
    text = f"at equal rounds: {end}; at equal training rounds"
    if trained.at is not None:
        text += f" ({trained.at:g})"
    found = trained.seeds
    if found.mean is None:
        return f"{text}: no evaluation"
    text += f": {later}, {decimal(found.mean, sign=True)}"
    if found.low is None or found.high is None:
        return text
    return f"{text} [{decimal(found.low)}, {decimal(found.high)}]"
