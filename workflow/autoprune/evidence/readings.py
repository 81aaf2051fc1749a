"""How two arms are read side by side: at equal rounds, equal training rounds and equal bytes."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from autoprune.core.evaluations import LAST
from autoprune.evidence.statistics import Summary, held_out, summarise
from autoprune.evidence.texts import some_dead
from autoprune.measure.table import PAIR, RUN

Pair = tuple[str, ...]
Arm = tuple[str, str]  # method, variant
ROUNDS, TRAINING, BYTES = "equal rounds", "equal training rounds", "equal bytes"
READINGS = {
    ROUNDS: "both at the end of the run, search included: mean of the last five evaluations",
    TRAINING: "both after as many rounds since network and weights last changed by force: mean of "
    "the last five evaluations since then",
    BYTES: "both when they had sent as many bytes on the wire, search included: linear in bytes "
    "between two evaluations",
}


class Curve(NamedTuple):
    """One run by its evaluated rounds: (evaluation,) arrays of ``rounds``, ``accuracy``, ``sent``.

    ``accuracy`` is a fraction of all held-out images, ``sent`` the bytes so far and ``total`` those
    of the whole run of ``last`` rounds. From round ``start`` on, network and weights stand still
    but for training. Runs with one ``mark`` are the same: widths and accuracies of every round.
    Of a ``dead`` one no filter of some layer fires in the end, so that its answer is constant.
    """

    seed: int
    rounds: np.ndarray
    accuracy: np.ndarray
    sent: np.ndarray
    start: int
    last: int
    total: float
    mark: str
    dead: bool = False

    @property
    def trained(self) -> int:
        """Rounds of training since network and weights stand still."""
        return self.last - self.start + 1


Arms = Mapping[Arm, Sequence[Curve]]


def curves(metrics: pd.DataFrame) -> dict[Pair, dict[Arm, list[Curve]]]:
    """Every run with an evaluation, by pair (PAIR) and arm, seeds in order."""
    by_round = metrics[metrics["round"].notna()]
    accuracy = held_out(metrics)
    wanted = ["bytes_cumulative", "shrunk", "restarted"]
    wide = by_round[by_round["metric"].isin(wanted)]
    wide = wide.set_index([*RUN, "round", "metric"])["value"].unstack("metric")  # noqa: PD010
    wide = wide.reindex(columns=wanted).reset_index()
    wide = wide.merge(accuracy, on=[*RUN, "round"], how="left").astype({"round": int})
    marks, dead = _marks(by_round), _dead(by_round)
    found: dict[Pair, dict[Arm, list[Curve]]] = {}
    for key, rows in wide.groupby(RUN):
        if rows["accuracy"].notna().any():
            about = dict(zip(RUN, key, strict=True))
            arms = found.setdefault(tuple(about[name] for name in PAIR), {})
            own = arms.setdefault((about["method"], about["variant"]), [])
            curve = _curve(int(about["seed"]), rows, marks[key])
            own.append(curve._replace(dead=key in dead))
    for arms in found.values():
        for own in arms.values():
            own.sort(key=lambda curve: curve.seed)
    return found


def _curve(seed: int, rows: pd.DataFrame, mark: str) -> Curve:
    """A run of its rows by round."""
    forced = (rows["shrunk"].fillna(0) > 0) | (rows["restarted"].fillna(0) > 0)
    seen = rows[rows["accuracy"].notna()]
    rounds, accuracy, sent = (
        seen[name].to_numpy() for name in ("round", "accuracy", "bytes_cumulative")
    )
    start = max(1, int(rows.loc[forced, "round"].max())) if forced.any() else 1
    last, total = int(rows["round"].max()), float(rows["bytes_cumulative"].max())
    return Curve(seed, rounds, accuracy, sent, start, last, total, mark)


def _marks(by_round: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """A digest of each run's widths and accuracies by round; RUN's values are the keys."""
    same = by_round["metric"].str.fullmatch(r"width_\d+|test_accuracy|validation_accuracy")
    found = {}
    for key, rows in by_round[same].groupby(RUN):
        digest = hashlib.blake2b(rows["value"].to_numpy().tobytes(), digest_size=16)
        digest.update(rows["round"].to_numpy(dtype=int).tobytes())
        digest.update(" ".join(rows["metric"]).encode())
        found[key] = digest.hexdigest()
    return found


def _dead(by_round: pd.DataFrame) -> set[tuple[Any, ...]]:
    """The runs, by RUN's values, whose last live filters are 0 in some layer."""
    rows = by_round[by_round["metric"].str.fullmatch(r"live_\d+")]
    last = rows.sort_values("round").groupby([*RUN, "metric"], sort=False)["value"].last()
    return {key[:-1] for key, fraction in last.items() if fraction == 0}


def deaths(own: Sequence[Curve]) -> str:
    """How many runs of an arm are dead, as a remark; "" without any."""
    return some_dead(sum(curve.dead for curve in own), len(own))


def at_end(curve: Curve) -> float:
    """The mean accuracy of the last LAST evaluations."""
    return float(curve.accuracy[curve.rounds > 0][-LAST:].mean())


def at_training(curve: Curve, rounds: float) -> float | None:
    """The mean accuracy of the last LAST evaluations within so many rounds of standing still.

    None where none of these rounds was evaluated.
    """
    since = (curve.rounds >= curve.start) & (curve.rounds <= curve.start - 1 + rounds)
    return float(curve.accuracy[since][-LAST:].mean()) if since.any() else None


def at_bytes(curve: Curve, budget: float) -> float:
    """The accuracy when ``budget`` bytes were sent, linear in bytes between two evaluations.

    After the last evaluation it is that one's: nothing is extrapolated. Round 0, before anything
    was sent, is always evaluated; raises ValueError for a budget below the first evaluation.
    """
    # a round without a usable reply sends nothing: of such evaluations the later one counts
    newest = np.append(np.diff(curve.sent) > 0, True)
    sent, accuracy = curve.sent[newest], curve.accuracy[newest]
    if budget < sent[0]:
        raise ValueError(f"no evaluation at or before {budget} bytes; the first is at {sent[0]}")
    return float(np.interp(budget, sent, accuracy))


def cut(reading: str, one: Sequence[Curve], other: Sequence[Curve]) -> float | None:
    """Where both arms are read: rounds of training, or bytes; None is the end.

    It is the least of all runs of the two arms, so that every run of both has come so far.
    """
    runs = [*one, *other]
    if reading == TRAINING:
        return min(curve.trained for curve in runs)
    return min(curve.total for curve in runs) if reading == BYTES else None


def read(reading: str, curve: Curve, at: float | None) -> float | None:
    """A run's accuracy at the place that ``cut`` gave; None where it was not evaluated."""
    if at is None:
        return at_end(curve)
    return at_training(curve, at) if reading == TRAINING else at_bytes(curve, at)


def rise(own: Sequence[Curve]) -> Summary:
    """Points by which the last LAST evaluations exceed the LAST before, over seeds.

    Empty where a run has fewer evaluations than both.
    """
    gaps = []
    for curve in own:
        seen = curve.accuracy[curve.rounds > 0]
        if len(seen) < 2 * LAST:
            return summarise([])
        gaps.append(100 * (seen[-LAST:].mean() - seen[-2 * LAST : -LAST].mean()))
    return summarise(gaps)


def still_rising(gap: Summary, margin: float) -> bool | None:
    """The plateau test: whether the 95 % interval of ``rise`` lies above 0, its mean above margin.

    None where it cannot be told: one seed, or too few evaluations.
    """
    if gap.low is None or gap.mean is None:
        return None
    return gap.low > 0 and gap.mean > margin


def same_runs(one: Sequence[Curve], other: Sequence[Curve]) -> tuple[int, int]:
    """(how many of their common seeds are one and the same run, how many they have in common)."""
    marks = {curve.seed: curve.mark for curve in other}
    common = [curve for curve in one if curve.seed in marks]
    return sum(curve.mark == marks[curve.seed] for curve in common), len(common)


def merged(arms: Arms, order: Sequence[Arm]) -> tuple[dict[Arm, list[Curve]], dict[Arm, Arm]]:
    """Arms that are the same runs in all their common seeds as one: (arms, arm -> its stand-in).

    The first in ``order`` stands for those after it and has their seeds too.
    """
    kept: dict[Arm, list[Curve]] = {}
    stands_for: dict[Arm, Arm] = {}
    for arm in order:
        own = list(arms[arm])
        for first, runs in kept.items():
            same, common = same_runs(own, runs)
            if common and same == common:
                stands_for[arm] = first
                seeds = {curve.seed for curve in runs}
                runs += [curve for curve in own if curve.seed not in seeds]
                break
        else:
            kept[arm], stands_for[arm] = own, arm
    return kept, stands_for


def trained_rounds(own: Sequence[Curve]) -> float:
    """Mean over seeds of the rounds trained since network and weights stand still."""
    return math.fsum(curve.trained for curve in own) / len(own)
