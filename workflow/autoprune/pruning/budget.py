"""Widths and filters for a budget of parameters: by bisection, then up to the last filter."""

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction

from autoprune.models import Architecture, cost
from autoprune.pruning.shrink import Kept


def uniform_widths(base: Architecture, limit: Sequence[int], budget: int) -> tuple[int, ...]:
    """The widest network within ``budget`` whose layers keep the same share of the base's filters.

    No layer exceeds ``limit`` or falls below 1 filter. The largest share that fits is found by
    bisection over the shares at which a width changes; what is left of the budget is filled with
    single filters, the relatively narrowest layer first. So the result is within one filter of
    the budget: with one more in any layer it would exceed it. If even one filter a layer costs
    more than the budget, that is the result.
    """

    def at(share: Fraction) -> tuple[int, ...]:
        return tuple(
            max(1, min(most, int(share * width)))
            for width, most in zip(base.widths, limit, strict=True)
        )

    shares = sorted({Fraction(n, width) for width in base.widths for n in range(1, width + 1)})
    fitting = bisect_right(shares, budget, key=lambda share: cost(base.with_widths(at(share))))
    widths = list(at(shares[fitting - 1] if fitting else Fraction(0)))
    while True:
        wider = []
        for layer, (width, most) in enumerate(zip(widths, limit, strict=True)):
            more = [*widths[:layer], width + 1, *widths[layer + 1 :]]
            if width < most and cost(base.with_widths(more)) <= budget:
                wider.append((Fraction(width, base.widths[layer]), layer))
        if not wider:
            return tuple(widths)
        widths[min(wider)[1]] += 1


def globally_largest(
    architecture: Architecture, scores: Sequence[Sequence[float]], budget: int
) -> Kept:
    """The filters that stay when the lowest scores of all layers go until the budget is met.

    ``scores`` (layer, filter). The best filter of each layer stays whatever its score; equal
    scores go by layer and index. The number that goes is found by bisection, so the last filter
    that went would not have fitted.
    """
    best = {(layer, max(range(len(s)), key=s.__getitem__)) for layer, s in enumerate(scores)}
    order = sorted(
        (score, layer, n)
        for layer, of_layer in enumerate(scores)
        for n, score in enumerate(of_layer)
        if (layer, n) not in best
    )

    def left(gone: int) -> Kept:
        out = {(layer, n) for _, layer, n in order[:gone]}
        return tuple(
            tuple(n for n in range(len(s)) if (layer, n) not in out)
            for layer, s in enumerate(scores)
        )

    def excess(gone: int) -> bool:
        return cost(architecture.with_widths([len(kept) for kept in left(gone)])) <= budget

    gone = bisect_right(range(len(order) + 1), False, key=excess)
    return left(min(gone, len(order)))


def cubic(start: int, end: int, progress: float) -> int:
    """A budget on its way from ``start`` to ``end``: fast first, slow last (Zhu & Gupta 2017).

    ``end + (start - end)·(1 - progress)³`` with progress in [0, 1], rounded down.
    """
    return int(end + (start - end) * (1 - progress) ** 3)
