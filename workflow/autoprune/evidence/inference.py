"""Differences between arms: simultaneous intervals of one family, from one critical value.

Runs of one seed share initial weights, cohorts and the order of batches, in many arms widths too:
their accuracies move together (correlations of 0.1 to 0.98 in docs/findings). So a comparison is
the mean of its differences by seed. Arms differ in spread (a run may die, another always ends at
chance) and seeds are few: the variance of a comparison is its own, drawn a quarter of the way to
the family's median, which one wild arm does not move. The critical value is that of the largest
|t| of the family by parametric bootstrap, which has the correlations in it that comparisons have
through seeds and a common arm. Beside it a pooled variance with Dunnett's values says "differs" in
up to a third of the studies without a difference, and intervals that do not pair are twice as wide
where seeds move arms together: tests/evidence/test_error_rate.py.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from autoprune.core.seeds import generator

LEVEL = 0.05
POOLED = 0.25  # weight of the family's median variance in a comparison's own
DRAWS = 20_000  # of the bootstrap; the critical value is then right to about 0.5 %
ENOUGH = 2  # values that a spread takes
MANY = 40  # seeds beyond which variances are drawn as chi-squares, each for itself
CORRECTION = (
    "simultaneous 95 % intervals of differences by seed: the chance that any interval of the "
    "family misses is 5 %, by parametric bootstrap of the largest |t|, variances of each "
    "comparison's own drawn a quarter of the way to the family's median"
)


class Sample(NamedTuple):
    """The values of one arm, a value per seed; without ``seeds`` they are 0, 1, 2 and so on.

    Variances are pooled among the contrasts of samples of the same ``pool``.
    """

    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    pool: Hashable = ""

    @property
    def by_seed(self) -> dict[int, float]:
        """The values by seed; raises ValueError where there are not as many seeds."""
        seeds = self.seeds or tuple(range(len(self.values)))
        return dict(zip(seeds, self.values, strict=True))


class Estimate(NamedTuple):
    """A contrast of means: ``p`` is adjusted for the family, ``error`` the standard error.

    ``low``, ``high`` and ``p`` are None where seeds or spread are lacking. The interval excludes
    0 exactly when p <= LEVEL.
    """

    n: int  # seeds that all samples have
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
    """Contrasts with an interval as arrays over them: all have ``size`` >= ENOUGH.

    ``places``: among the contrasts as they were given. ``variance``: of the contrast's value by
    seed, moderated. ``correlation``: between contrasts, of their values by seed. ``pools``: which
    share a median. ``scale``: the sum of squared weights, in whose units variances are pooled.
    """

    places: list[int]
    size: np.ndarray
    variance: np.ndarray
    correlation: np.ndarray
    pools: np.ndarray
    scale: np.ndarray


def simultaneous(
    samples: Sequence[Sample], contrasts: Sequence[Contrast], draws: int = DRAWS
) -> list[Estimate]:
    """The contrasts with the intervals of one family, in the order given.

    A contrast of samples with fewer than two seeds in common, or without any spread in its whole
    pool, has its mean alone and is not counted to the family. Raises ValueError for a value that
    is not finite.
    """
    for sample in samples:
        if not all(map(math.isfinite, sample.values)):
            raise ValueError(f"found {sample.values}, expected finite numbers")
    found = [_plain(samples, contrast) for contrast in contrasts]
    family = _family(samples, contrasts)
    if family is None:
        return found
    largest = _largest(family, draws)
    critical = _quantile(largest)
    errors = np.sqrt(family.variance / family.size).tolist()
    for place, error in zip(family.places, errors, strict=True):
        n, mean = found[place][:2]
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
    found: list[float | None] = [None] * len(contrasts)
    family = _family(samples, contrasts)
    if family is None or seeds < ENOUGH:
        return found
    family = family._replace(size=np.full_like(family.size, seeds))
    half = _quantile(_largest(family, draws)) * np.sqrt(family.variance / seeds)
    for place, width in zip(family.places, half.tolist(), strict=True):
        found[place] = width
    return found


def _by_seed(samples: Sequence[Sample], contrast: Contrast) -> np.ndarray:
    """The contrast's value for each seed that all its samples have, seeds in order."""
    values = [samples[at].by_seed for at in contrast]
    common = sorted(set.intersection(*map(set, values))) if values else []
    weights = np.array(list(contrast.values()))
    return np.array([weights @ [own[seed] for own in values] for seed in common])


def _plain(samples: Sequence[Sample], contrast: Contrast) -> Estimate:
    """The mean of a contrast without its interval: over common seeds, or else over all."""
    values = [samples[at].values for at in contrast]
    if not values or not all(values):
        return NOTHING
    common = _by_seed(samples, contrast)
    if len(common):
        return Estimate(len(common), math.fsum(common) / len(common))
    parts = zip(values, contrast.values(), strict=True)
    mean = math.fsum(weight * math.fsum(own) / len(own) for own, weight in parts)
    return Estimate(0, mean)


def _family(samples: Sequence[Sample], contrasts: Sequence[Contrast]) -> _Family | None:
    """Those contrasts that have an interval; None without any."""
    seen = {place: _by_seed(samples, contrast) for place, contrast in enumerate(contrasts)}
    places = [place for place, values in seen.items() if len(values) >= ENOUGH]
    own = np.array([_variance(seen[place]) for place in places])
    keys = [frozenset(samples[at].pool for at in contrasts[place]) for place in places]
    pools = np.array([keys.index(key) for key in keys], dtype=int)
    scale = np.array([math.fsum(w * w for w in contrasts[place].values()) for place in places])
    variance = _moderated(own, pools, scale)
    able = variance > 0
    if not able.any():
        return None
    places = [place for place, one in zip(places, able, strict=True) if one]
    variance, pools, scale = variance[able], pools[able], scale[able]
    size = np.array([len(seen[place]) for place in places])
    kept = [contrasts[place] for place in places]
    correlation = _correlation(samples, kept, variance / scale)
    return _Family(places, size, variance, correlation, pools, scale)


def _variance(values: np.ndarray) -> float:
    """The sample variance; 0 for values that differ by rounding alone."""
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return 0.0
    return float(values.var(ddof=1))


def _moderated(own: np.ndarray, pools: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Variances (..., contrast) drawn to the median of those of their pool that are not 0."""
    moderated = np.zeros_like(own)
    relative = own / scale
    for pool in np.unique(pools):
        mine = pools == pool
        spread = mine & (own > 0).reshape(-1, len(pools)).any(axis=0)
        if spread.any():
            median = np.median(relative[..., spread], axis=-1, keepdims=True)
            moderated[..., mine] = (1 - POOLED) * own[..., mine] + POOLED * median * scale[mine]
    return moderated


def _correlation(
    samples: Sequence[Sample], contrasts: Sequence[Contrast], level: np.ndarray
) -> np.ndarray:
    """Between contrasts: of the samples' own covariance, drawn to that of independent errors.

    ``level``: the moderated variance of each contrast by its scale. As few seeds as there are
    leave the samples' covariance without its full rank: by itself it would tie contrasts together
    that are not.
    """
    used = sorted({at for contrast in contrasts for at in contrast})
    weights = np.zeros((len(contrasts), len(used)))
    for row, contrast in zip(weights, contrasts, strict=True):
        for at, weight in contrast.items():
            row[used.index(at)] = weight
    seeds = sorted({seed for at in used for seed in samples[at].by_seed})
    table = np.full((len(used), len(seeds)), np.nan)
    for row, at in zip(table, used, strict=True):
        for seed, value in samples[at].by_seed.items():
            row[seeds.index(seed)] = value
    named = weights != 0
    errors = (named * level[:, None]).sum(axis=0) / named.sum(axis=0)
    together = weights @ _covariance(table) @ weights.T * (1 - POOLED)
    together += POOLED * (weights * errors) @ weights.T
    sds = np.sqrt(together.diagonal())
    return together / np.outer(sds, sds)


def _covariance(table: np.ndarray) -> np.ndarray:
    """Of the rows (sample, seed), by the seeds that both have; 0 where these are too few."""
    known = np.isfinite(table)
    if known.all():
        return np.atleast_2d(np.cov(table))
    found = np.zeros((len(table), len(table)))
    for one in range(len(table)):
        for other in range(one + 1):
            both = known[one] & known[other]
            if both.sum() >= ENOUGH:
                value = np.cov(table[one, both], table[other, both])[0, 1]
                found[one, other] = found[other, one] = value
    values, vectors = np.linalg.eigh(found)  # by other seeds here and there it may be no covariance
    return vectors * np.maximum(values, 0) @ vectors.T


@lru_cache(maxsize=4)
def _drawn(size: int, contrasts: int, draws: int) -> np.ndarray:
    """Standard normal values: (value, draw, contrast)."""
    stream = generator(0, "family of comparisons", size, contrasts)
    return stream.standard_normal((size, draws, contrasts))


def _largest(family: _Family, draws: int) -> np.ndarray:
    """The largest |t| of the family in each draw without a difference, (draw,), ascending.

    Contrasts of as many seeds are drawn together, those of others apart.
    """
    means = np.empty((draws, len(family.size)))
    spread = np.empty_like(means)
    for size in np.unique(family.size):
        mine = np.flatnonzero(family.size == size)
        values, vectors = np.linalg.eigh(family.correlation[np.ix_(mine, mine)])
        # the symmetric root: whatever basis a machine's library finds, it is the same
        root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
        if size <= MANY:
            normal = _drawn(int(size), len(mine), draws) @ root
            means[:, mine], squares = normal[0], (normal[1:] ** 2).mean(axis=0)
        else:
            stream = generator(0, "family of many seeds", int(size), len(mine))
            means[:, mine] = stream.standard_normal((draws, len(mine))) @ root
            squares = stream.chisquare(size - 1, (draws, len(mine))) / (size - 1)
        spread[:, mine] = squares * family.variance[mine]
    errors = np.sqrt(_moderated(spread, family.pools, family.scale))
    return np.sort(np.abs(means * np.sqrt(family.variance) / errors).max(axis=1))


def _quantile(largest: np.ndarray) -> float:
    """The critical value: at most LEVEL of the ``largest`` lie above it."""
    return float(largest[len(largest) - math.floor(LEVEL * len(largest)) - 1])
