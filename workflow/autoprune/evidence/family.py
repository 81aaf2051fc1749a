"""The family of a pair: every comparison that is made of its arms, with one correction for all.

Of a pair of data set and network these are: every arm against the reference, every variant of
autoprune against dense, and every control against the autoprune run it controls for.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from autoprune.core.labels import arm_order
from autoprune.evidence import clients
from autoprune.evidence.ablated import ALIKE, IN_COMMON, comparable
from autoprune.evidence.clients import Units
from autoprune.evidence.inference import NOTHING, Contrast, Estimate, Sample, simultaneous
from autoprune.evidence.readings import ROUNDS, Arm, Curve, Pair, at_end, curves, cut, merged, read
from autoprune.evidence.statistics import BASELINE, Summary, binomial_margin, held_out_images
from autoprune.measure.table import PAIR

FAMILY = (
    "the family of a data set and network: every arm against the reference, every variant of "
    "autoprune against dense, every control against its autoprune"
)
CONTROLS = ("random-filters", "found-widths", "narrow")
Comparison = tuple[Arm, Arm]  # one minus the other


class Study(NamedTuple):
    """The runs of one pair as they are compared: same runs merged, arms that are methods.

    ``stands_for`` leads from every arm to the one that its runs are merged with. ``margin`` is in
    accuracy points.
    """

    pair: Pair
    arms: Mapping[Arm, list[Curve]]
    stands_for: Mapping[Arm, Arm]
    units: Mapping[Arm, Units]
    margin: float
    comparisons: Sequence[Comparison]


class Difference(NamedTuple):
    """A comparison at one reading, in accuracy points.

    ``seeds``: the interval of the family, over seeds. ``clients``: a wider or equal one, over
    seeds and held-out clients, None without them. ``at``: where both were read, None at the end.
    """

    seeds: Estimate
    clients: Estimate | None = None
    at: float | None = None

    @property
    def widest(self) -> Estimate:
        """The interval that a verdict must bear."""
        return self.clients or self.seeds

    @property
    def summary(self) -> Summary:
        """The interval over seeds as tables show it."""
        return as_summary(self.seeds)


def as_summary(found: Estimate) -> Summary:
    """An estimate as tables show it."""
    return Summary(found.n, found.mean, None, found.low, found.high)


def comparisons_of(arms: Iterable[Arm], reference: Arm | None) -> list[Comparison]:
    """The family of a pair that has these arms, in one order."""
    known = arm_order(arms)
    found = [(arm, reference) for arm in known if reference in known and arm != reference]
    ours = [arm for arm in known if arm[0] == "autoprune"]
    found += [(arm, BASELINE) for arm in ours if BASELINE in known]
    for control in CONTROLS:
        found += [
            ((control, variant), (method, variant))
            for method, variant in ours
            if (control, variant) in known
        ]
    return once(found)


def once(found: Iterable[Comparison]) -> list[Comparison]:
    """Each comparison in one direction, the first."""
    kept: dict[frozenset[Arm], Comparison] = {}
    for comparison in found:
        kept.setdefault(frozenset(comparison), comparison)
    return list(kept.values())


def studies(
    metrics: pd.DataFrame,
    values: pd.DataFrame,
    reference: Arm | None,
    margin: float | None = None,
    units: Mapping[Pair, Mapping[Arm, Units]] | None = None,
) -> dict[Pair, Study]:
    """The study of every pair; ``values`` as of ``final_figures``, of the pairs that are wanted.

    ``margin`` in points, None for that of the held-out images. Arms that train otherwise than the
    reference, or have another rule, are left out.
    """
    found = {}
    by_pair = curves(metrics)
    for pair in values.groupby(PAIR).groups:
        own = by_pair.get(pair, {})
        frames = {arm: some for arm, some in of_pair(values, pair).items() if arm in own}
        lead = next((arm for arm in (reference, BASELINE) if arm in frames), None)
        if lead is None:
            continue
        alike = IN_COMMON if lead == reference else ALIKE  # dense has no rule to have in common
        names = [arm for arm, some in frames.items() if comparable(some, frames[lead], alike)]
        order = sorted(arm_order(names), key=lambda arm: arm != reference)
        arms, stands_for = merged(own, order)
        family = once(
            (stands_for[one], stands_for[other])
            for one, other in comparisons_of(names, reference)
            if stands_for[one] != stands_for[other]
        )
        wide = margin_of(frames, lead) if margin is None else margin
        of_units = (units or {}).get(pair, {})
        found[pair] = Study(pair, arms, stands_for, of_units, wide, sorted(family))
    return found


def of_pair(values: pd.DataFrame, pair: Pair) -> dict[Arm, pd.DataFrame]:
    """The runs of a pair by arm; ``values`` as of ``final_figures``."""
    mine = values[(values[PAIR] == list(pair)).all(axis=1)]
    return dict(iter(mine.groupby(["method", "variant"])))


def margin_of(frames: Mapping[Arm, pd.DataFrame], lead: Arm) -> float:
    """The margin of a pair in points, from its dense runs' accuracy, or else from ``lead``'s."""
    runs = frames.get(BASELINE, frames[lead])
    return binomial_margin(float(runs["accuracy"].mean()), held_out_images(runs))


def differences(study: Study, reading: str) -> dict[Comparison, Difference]:
    """All comparisons of a pair at one of READINGS."""
    return averaged([study], reading)


def averaged(of: Sequence[Study], reading: str) -> dict[Comparison, Difference]:
    """The comparisons that all pairs ``of`` a study have, each the average over the pairs.

    With one pair it is its whole family.
    """
    common, samples, contrasts, places = design(of, reading)
    found = simultaneous(samples, contrasts)
    wider = _with_clients(of, common, found) if reading == ROUNDS else [None] * len(found)
    return {
        comparison: Difference(estimate, clients, place)
        for comparison, estimate, clients, place in zip(common, found, wider, places, strict=True)
    }


class Design(NamedTuple):
    """A family as ``simultaneous`` takes it, and where each comparison is read (None: the end)."""

    comparisons: list[Comparison]
    samples: list[Sample]
    contrasts: list[Contrast]
    places: list[float | None]


def design(of: Sequence[Study], reading: str) -> Design:
    """The comparisons that all pairs ``of`` a study have, as samples and contrasts."""
    common = [one for one in of[0].comparisons if all(one in study.comparisons for study in of)]
    samples: dict[Any, Sample] = {}
    contrasts: list[Contrast] = []
    places: list[float | None] = []
    for comparison in common:
        weights: dict[int, float] = {}
        at = None
        for study in of:
            at = cut(reading, *(study.arms[arm] for arm in comparison))
            for arm, sign in zip(comparison, (1, -1), strict=True):
                key = (study.pair, arm, at)
                if key not in samples:
                    samples[key] = _sample(study, arm, reading, at)
                weights[list(samples).index(key)] = sign / len(of)
        contrasts.append(weights)
        places.append(at if len(of) == 1 else None)
    return Design(common, list(samples.values()), contrasts, places)


def _sample(study: Study, arm: Arm, reading: str, at: float | None) -> Sample:
    """An arm's accuracies in per cent; none where a run was not evaluated there."""
    own = study.arms[arm]
    values = [read(reading, curve, at) for curve in own]
    known = tuple(100 * value for value in values if value is not None)
    if len(known) < len(values):
        return Sample((), pool=study.pair)
    return Sample(known, tuple(curve.seed for curve in own), study.pair)


def _with_clients(
    of: Sequence[Study], family: Sequence[Comparison], found: Sequence[Estimate]
) -> list[Estimate | None]:
    """The intervals over seeds and clients: the family's critical value, never narrower."""
    squares = [0.0 if one.low is not None else None for one in found]
    for study in of:
        own = clients.errors(study.units, family, "/".join(study.pair))
        squares = [
            None if square is None or error is None else square + (error / len(of)) ** 2
            for square, error in zip(squares, own, strict=True)
        ]
    wider: list[Estimate | None] = []
    for square, one in zip(squares, found, strict=True):
        if square is None or one.mean is None or one.error is None:
            wider.append(None)
            continue
        error = max(square**0.5, one.error)
        half = one.critical * error
        wider.append(Estimate(one.n, one.mean, one.mean - half, one.mean + half, None, error))
    return wider


def between(one: Arm | None, other: Arm | None, at: Mapping[Comparison, Difference]) -> Difference:
    """``one`` minus ``other`` of a family's differences; nothing where they are not compared."""
    if one is None or other is None:
        return Difference(NOTHING)
    if (other, one) in at:
        back = at[other, one]
        wider = None if back.clients is None else back.clients.negative()
        return Difference(back.seeds.negative(), wider, back.at)
    return at.get((one, other), Difference(NOTHING))


def accuracies(own: Sequence[Curve]) -> list[float]:
    """The accuracies of an arm at the end, in per cent, a value per seed."""
    return [100 * at_end(curve) for curve in own]
