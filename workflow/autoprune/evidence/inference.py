"""Differences between arms: simultaneous intervals of one family, from one critical value.

The arms of a study differ in spread (a run may die, another always ends at chance), seeds are few,
and all are held against the same reference. So: variances of each arm's own, drawn a quarter of the
way to the pooled one, and a critical value of the largest |t| of the family by parametric bootstrap
(Krishnamoorthy, Lu and Mathew 2007 for unequal variances), which has Dunnett's correlation through
the reference in it. Beside it a pooled variance with Dunnett's values says "differs" in up to a
third of the studies without a difference, and Welch's intervals with Šidák's correction are up to
twice as wide: tests/evidence/test_error_rate.py.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from autoprune.seeds import generator

LEVEL = 0.05
POOLED = 0.25  # weight of the pooled variance in an arm's own
DRAWS = 20_000  # of the bootstrap; the critical value is then right to about 0.5 %
ENOUGH = 2  # values that a spread takes
CORRECTION = (
    "simultaneous 95 % intervals: the chance that any interval of the family misses is 5 %, by "
    "parametric bootstrap of the largest |t|, variances of each arm's own drawn a quarter of the "
    "way to the pooled one"
)


class Sample(NamedTuple):
    """The values of one arm, a value per seed.

    Samples of the same ``arm`` are the same runs read at another round: their errors are one.
    Variances are pooled among the samples of a ``pool``.
    """

    arm: Hashable
    values: tuple[float, ...]
    pool: Hashable = ""


class Estimate(NamedTuple):
    """A contrast of means: ``p`` is adjusted for the family, ``error`` the standard error.

    ``low``, ``high`` and ``p`` are None where seeds or spread are lacking. The interval excludes
    0 exactly when p <= LEVEL.
    """

    n: int  # seeds of the smallest sample
    mean: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    error: float | None = None

    @property
    def half_width(self) -> float | None:
        """Half of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    def negative(self) -> "Estimate":
        """The same contrast the other way round."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        mean = None if self.mean is None else -self.mean
        return self._replace(mean=mean, low=low, high=high)

    @property
    def critical(self) -> float:
        """Half-width over standard error; 0 without an interval."""
        return self.half_width / self.error if self.half_width and self.error else 0.0


Contrast = Mapping[int, float]  # place of a sample -> weight
NOTHING = Estimate(0, None)


class _Family(NamedTuple):
    """Samples and contrasts as arrays: (sample,), (sample, sample), (contrast, sample)."""

    spread: np.ndarray  # sample variances
    size: np.ndarray
    arm: np.ndarray  # place of each sample's arm among the arms
    sizes: tuple[int, ...]  # of each arm
    moderate: np.ndarray  # a matrix: variances -> moderated variances
    weights: np.ndarray

    def errors(self, spread: np.ndarray) -> np.ndarray:
        """Standard errors of the contrasts for variances (..., sample): (..., contrast)."""
        return np.sqrt((spread @ self.moderate.T) @ (self.weights**2 / self.size).T)


def simultaneous(
    samples: Sequence[Sample], contrasts: Sequence[Contrast], draws: int = DRAWS
) -> list[Estimate]:
    """The contrasts with the intervals of one family, in the order given.

    A contrast with a sample of fewer than two values, or of samples without any spread in their
    whole pool, has its mean alone and is not counted to the family. Raises ValueError for a value
    that is not finite.
    """
    for sample in samples:
        if not all(map(math.isfinite, sample.values)):
            raise ValueError(f"found {sample.values}, expected finite numbers")
    plain = [_plain(samples, contrast) for contrast in contrasts]
    able = [
        place
        for place, contrast in enumerate(contrasts)
        if contrast and all(len(samples[at].values) >= ENOUGH for at in contrast)
    ]
    if not able:
        return plain
    family = _family(samples, [contrasts[place] for place in able])
    errors = family.errors(family.spread)
    spread = errors > 0
    if not spread.any():
        return plain
    family = family._replace(weights=family.weights[spread])
    able = [place for place, one in zip(able, spread, strict=True) if one]
    largest = _largest(family, draws)
    critical = _quantile(largest)
    found = list(plain)
    for place, error in zip(able, errors[spread].tolist(), strict=True):
        n, mean = plain[place][:2]
        assert mean is not None
        p = float(np.mean(largest >= abs(mean) / error))
        half = critical * error
        found[place] = Estimate(n, mean, mean - half, mean + half, p, error)
    return found


def projected(
    samples: Sequence[Sample], contrasts: Sequence[Contrast], seeds: int, draws: int = DRAWS
) -> list[float | None]:
    """The half-widths to expect of ``simultaneous`` with ``seeds`` values in each sample.

    None for a contrast that has no interval now.
    """
    now = simultaneous(samples, contrasts, draws)
    able = [place for place, one in enumerate(now) if one.low is not None]
    if not able:
        return [None] * len(now)
    family = _family(samples, [contrasts[place] for place in able])
    family = family._replace(
        size=np.full_like(family.size, seeds), sizes=(seeds,) * len(family.sizes)
    )
    half = _quantile(_largest(family, draws)) * family.errors(family.spread)
    found: list[float | None] = [None] * len(now)
    for place, width in zip(able, half.tolist(), strict=True):
        found[place] = width
    return found


def _plain(samples: Sequence[Sample], contrast: Contrast) -> Estimate:
    """The mean of a contrast without its interval."""
    values = [samples[at].values for at in contrast]
    if not values or not all(values):
        return NOTHING
    parts = zip(values, contrast.values(), strict=True)
    mean = math.fsum(weight * math.fsum(own) / len(own) for own, weight in parts)
    return Estimate(min(map(len, values)), mean)


def _family(samples: Sequence[Sample], contrasts: Sequence[Contrast]) -> _Family:
    """Those samples that contrasts name."""
    used = sorted({at for contrast in contrasts for at in contrast})
    chosen = [samples[at] for at in used]
    keys = [(sample.arm, len(sample.values)) for sample in chosen]
    arms = list(dict.fromkeys(keys))
    arm = np.array([arms.index(key) for key in keys])
    size = np.array([len(sample.values) for sample in chosen])
    # equal values have a variance of 1e-33 by their mean's rounding
    spread = np.array([np.var(s.values, ddof=1) if len(set(s.values)) > 1 else 0.0 for s in chosen])
    weights = np.zeros((len(contrasts), len(used)))
    for row, contrast in zip(weights, contrasts, strict=True):
        for at, weight in contrast.items():
            row[used.index(at)] = weight
    # an arm that is read at many rounds counts once among those pooled
    share = (size - 1) / np.bincount(arm)[arm]
    pools = [sample.pool for sample in chosen]
    same = np.array([[one == other for other in pools] for one in pools])
    pooled = same * share / (same * share).sum(axis=1, keepdims=True)
    moderate = POOLED * pooled + (1 - POOLED) * np.eye(len(used))
    return _Family(spread, size, arm, tuple(n for _, n in arms), moderate, weights)


@lru_cache(maxsize=64)
def _drawn(sizes: tuple[int, ...], draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Standard normal means and relative variances of arms of these ``sizes``: (draw, arm)."""
    stream = generator(0, "family of comparisons", *sizes)
    degrees = np.array(sizes) - 1
    means = stream.standard_normal((draws, len(sizes)))
    return means, stream.chisquare(degrees, (draws, len(sizes))) / degrees


def _largest(family: _Family, draws: int) -> np.ndarray:
    """The largest |t| of the family in each draw without a difference, (draw,), ascending."""
    means, relative = _drawn(family.sizes, draws)
    sds = np.sqrt(family.spread / family.size)
    shifts = (means[:, family.arm] * sds) @ family.weights.T
    errors = family.errors(relative[:, family.arm] * family.spread)
    return np.sort(np.abs(shifts / errors).max(axis=1))


def _quantile(largest: np.ndarray) -> float:
    """The critical value: at most LEVEL of the ``largest`` lie above it."""
    return float(largest[len(largest) - math.floor(LEVEL * len(largest)) - 1])
