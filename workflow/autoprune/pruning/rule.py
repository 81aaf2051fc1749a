"""The paper's rule: a filter stays iff its L1 norm lies within mean ± k·std of its layer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from autoprune.core.errors import InputError


@dataclass(frozen=True)
class Boundaries:
    """One layer's decision: its filters' scores, their statistics and the indices of those kept.

    ``std`` is the population's. ``lower`` and ``upper`` are mean ∓ k·std, for people to read;
    the decision itself is exact (see ``boundaries``). ``upper`` is None where only the low tail
    goes.
    """

    mean: float
    std: float
    lower: float
    upper: float | None
    kept: tuple[int, ...]
    scores: tuple[float, ...] = ()


def scores(kernel: torch.Tensor) -> list[float]:
    """L1 norm of each filter of a kernel (filter, input channel, height, width).

    Each sum is correctly rounded, so it depends neither on the order of the filters nor on that
    of the input channels. Source: method.md, ``S_n = sum |w|``. Raises InputError when a norm is
    not finite, since no boundary can be drawn then.
    """
    rows = kernel.detach().abs().double().flatten(1).tolist()
    norms = [math.fsum(row) for row in rows]
    if not all(map(math.isfinite, norms)):
        raise InputError(
            "pruning: a filter's L1 norm is not finite, so the training diverged; "
            "lower the learning rate"
        )
    return norms


def boundaries(
    norms: list[float], k: float, tails: str = "both", population: list[float] | None = None
) -> Boundaries:
    """Keep filter n iff mean - k·std <= S_n <= mean + k·std; at least one filter stays.

    Mean and std are those of ``population``, by default the layer's own ``norms``. With ``tails``
    "low" only the filters below the lower boundary go. The comparison is made in rational
    numbers, ``N·d_n² <= k²·Σd²`` with ``d_n`` the distance to the mean, and k as its decimal
    digits say. So a filter that lies exactly on a boundary stays, as the closed-form floors
    require (a layer can lose a filter only if N > k² + 1), whatever a rounded square root would
    say. If all would go, the one nearest to the mean stays. Raises InputError unless k > 0.
    """
    if not k > 0:
        raise InputError(f"k: found {k}, expected a number above 0 (standard deviations)")
    mean, variance = _moments(norms if population is None else population)
    allowed = Fraction(str(k)) ** 2 * variance
    distances = [Fraction(s) - mean for s in norms]
    squares = [d * d for d in distances]
    kept = tuple(
        n
        for n, (distance, square) in enumerate(zip(distances, squares, strict=True))
        if square <= allowed or (tails == "low" and distance > 0)
    )
    if not kept:
        kept = (squares.index(min(squares)),)
    std = math.sqrt(variance)
    upper = None if tails == "low" else float(mean) + k * std
    return Boundaries(float(mean), std, float(mean) - k * std, upper, kept, tuple(norms))


def squared_distances(
    norms: Sequence[float], population: Sequence[float] | None = None
) -> list[Fraction]:
    """How far each filter's norm lies from the mean, in standard deviations, squared; exact.

    The rule at k keeps a filter iff this is at most k². All are 0 where all norms are equal.
    """
    mean, variance = _moments(norms if population is None else population)
    return [(Fraction(s) - mean) ** 2 / variance if variance else Fraction() for s in norms]


def _moments(norms: Sequence[float]) -> tuple[Fraction, Fraction]:
    """Mean and population variance, exact."""
    known = [Fraction(s) for s in norms]
    mean = sum(known, Fraction()) / len(known)
    return mean, sum(((s - mean) ** 2 for s in known), Fraction()) / len(known)
