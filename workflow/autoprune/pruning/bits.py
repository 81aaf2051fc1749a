"""How many bits each layer's weights get within a mean: a projection, and whole numbers."""

import math
from collections.abc import Sequence

from autoprune.models.quantiser import LEAST, MOST

EXACT = 1e-9  # bits: how near to its mean a projection comes


def limits(mean: float, spread: float) -> tuple[float, float]:
    """The fewest and most bits of a layer, ``spread`` from the mean, of those that a grid has."""
    return max(LEAST, mean - spread), min(MOST, mean + spread)


def projected(
    bits: Sequence[float], weights: Sequence[int], mean: float, spread: float
) -> list[float]:
    """The nearest bits within ``limits`` whose mean over all weights is at most ``mean``.

    ``bits`` and ``weights`` (layer,): the layer's bit width and its number of weights. Nearest is
    by the squared distance of every single weight's bits, so that all layers go down by the same
    amount until they reach a limit; the amount is found by bisection. Raises ValueError for a
    ``mean`` below what a grid can have.
    """
    low, high = limits(mean, spread)
    if mean < low:
        raise ValueError(f"mean: found {mean:g} bits, expected at least {low:g}")

    def less(amount: float) -> list[float]:
        return [min(high, max(low, of_layer - amount)) for of_layer in bits]

    allowed = mean * sum(weights)
    if _total(less(0), weights) <= allowed:
        return less(0)
    none, enough = 0.0, max(bits) - low
    while enough - none > EXACT:
        middle = (none + enough) / 2
        if _total(less(middle), weights) <= allowed:
            enough = middle
        else:
            none = middle
    return less(enough)


def whole(bits: Sequence[float], weights: Sequence[int], mean: float, spread: float) -> list[int]:
    """Whole bits for each layer, as near as the mean allows; ``bits`` as ``projected`` gives them.

    Rounded down, then up again one bit at a time while the mean holds, the layer first that has
    lost most; so with one more in any layer below its limit the mean would be exceeded.
    """
    low, high = limits(mean, spread)
    found = [max(math.ceil(low), math.floor(of_layer + EXACT)) for of_layer in bits]
    while True:
        left = mean * sum(weights) - _total(found, weights)
        more = [
            (found[n] - bits[n], n)
            for n, number in enumerate(weights)
            if found[n] < math.floor(high) and number <= left
        ]
        if not more:
            return found
        found[min(more)[1]] += 1


def _total(bits: Sequence[float], weights: Sequence[int]) -> float:
    return sum(n * number for n, number in zip(bits, weights, strict=True))
