"""A target in place of k: which filters go so that a network's cost comes to what was asked for.

The rule's own order decides: filters go by their distance from their layer's mean, in standard
deviations, the farthest first, whatever their layer. To stop at a filter is to choose a k.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from autoprune.core.errors import InputError
from autoprune.models import Architecture
from autoprune.models.counts import Counts, Widths
from autoprune.pruning.latency import Latency
from autoprune.pruning.options import TARGETS
from autoprune.pruning.rule import Boundaries, boundaries, squared_distances
from autoprune.pruning.settings import Rule

TOLERANCE = 0.05  # of the target: as near as a search must come where widths allow it
ENUMERATED = 200_000  # networks that are counted one by one; what has more has fine steps
TINY = 1e-300  # a k that keeps nothing but what lies on its mean
BYTES = 8  # of a number that one client receives and sends in a round, float32 both ways


class Unit(NamedTuple):
    """Filters of a layer that go together: how far the nearest of them lies (z²), what stays."""

    distance: Fraction
    layer: int
    width: int


@dataclass(frozen=True)
class Aim:
    """What is aimed at: ``of`` one of TARGETS, ``value`` in its unit, widths by ``multiple``.

    ``cost`` gives it for the widths of a network of ``base``; it never falls when one gets wider.
    ``places`` are all widths (network, layer) within TOLERANCE of the target, None where there
    are too many networks to count.
    """

    of: str
    value: float
    multiple: int
    base: Architecture
    cost: Callable[[Widths], np.ndarray]
    places: np.ndarray | None

    def to_json(self) -> dict[str, Any]:
        """What a plan says of it."""
        return {"of": self.of, "value": self.value, "multiple": self.multiple}

    def off(self, widths: Sequence[int]) -> float:
        """How far these widths' cost is from the target, as a share of it; above it more than 0."""
        return float(self.cost(widths)) / self.value - 1

    def reachable(self, widths: Sequence[int]) -> bool:
        """Whether a network no wider than this one anywhere has what was asked for."""
        return self.places is None or bool((self.places <= np.array(widths)).all(1).any())


def aim_of(rule: Rule, base: Architecture) -> Aim | None:
    """The target of a rule's settings; None where they have a k.

    Raises InputError for one that no network of ``base`` comes to, with what can be reached.
    """
    if rule.target is None:
        return None
    of, value = rule.target
    multiple = rule.width_multiple or 1
    counts = Counts(base)
    cost = cost_of(of, counts, rule.latency_table, multiple)
    key = f"target_{of}"
    least = [smallest(width, multiple) for width in base.widths]
    low, high = float(cost(least)), float(cost(base.widths))
    if not low <= value <= high:
        raise InputError(
            f"{key}: found {value:,.7g}, expected {low:,.7g} (widths {' '.join(map(str, least))}) "
            f"to {high:,.7g} (the dense network, {' '.join(map(str, base.widths))})"
        )
    places = _places(base, multiple, cost, value) if counts.exact else None
    if places is not None and not len(places):
        every = cost(_grid(base, multiple))
        under, over = every[every < value].max(initial=low), every[every > value].min()
        raise InputError(
            f"{key}: found {value:,.7g}, the nearest that widths in multiples of {multiple} give "
            f"are {under:,.7g} and {over:,.7g}; take one of these"
        )
    return Aim(of, value, multiple, base, cost, places)


def cost_of(
    of: str, counts: Counts, table: str | None = None, multiple: int = 1
) -> Callable[[Widths], np.ndarray]:
    """A network's cost as a function of its widths, by what it is ``of``, one of TARGETS.

    ``table``: of a latency, which is of widths that are multiples of ``multiple``.
    """
    if of == "latency_ms":
        return Latency.read(str(table), counts, multiple)
    if of == "macs":
        return counts.macs
    if of == "bytes":
        return lambda widths: BYTES * counts.parameters(widths)
    if of == "parameters":
        return counts.parameters
    raise InputError(f"target: unknown {of!r}; known are {', '.join(TARGETS)}")


def smallest(width: int, multiple: int) -> int:
    """The least that can stay of a layer: one multiple, or all of one that is narrower."""
    return min(width, multiple)


def _levels(width: int, multiple: int) -> list[int]:
    """The widths that a layer can have, descending: its own, then the multiples below it."""
    return [width, *range((width - 1) // multiple * multiple, 0, -multiple)]


def _grid(base: Architecture, multiple: int) -> np.ndarray:
    """All widths (network, layer) that there can be."""
    return np.array(list(product(*(_levels(width, multiple) for width in base.widths))))


def _places(
    base: Architecture, multiple: int, cost: Callable[[Widths], np.ndarray], value: float
) -> np.ndarray | None:
    """All widths whose cost is within TOLERANCE of a target; None where there are too many."""
    if math.prod(len(_levels(width, multiple)) for width in base.widths) > ENUMERATED:
        return None
    grid = _grid(base, multiple)
    return grid[np.abs(cost(grid) - value) <= TOLERANCE * value]


def units(distances: Sequence[Sequence[Fraction]], multiple: int) -> list[Unit]:
    """What can go of each layer, in the order in which it goes; ``distances`` are z² of filters.

    So many filters go at once that a multiple is left, by the one of them that is nearest to its
    layer's mean: the rule would let all of them go at that k.
    """
    found = []
    for layer, of_layer in enumerate(distances):
        far = sorted(of_layer, reverse=True)
        for left in _levels(len(far), multiple)[1:]:
            found.append(Unit(far[len(far) - left - 1], layer, left))
    return sorted(found, key=lambda unit: (-unit.distance, unit.layer, -unit.width))


def nearest(distances: Sequence[Fraction], number: int) -> tuple[int, ...]:
    """Indices of the filters nearest to their layer's mean, ascending; of equal ones the first."""
    order = sorted(range(len(distances)), key=lambda n: (distances[n], n))
    return tuple(sorted(order[:number]))


def half_width(distances: Sequence[Sequence[Fraction]], widths: Sequence[int]) -> float:
    """The k that leaves these widths: every filter that goes lies farther from its mean than that.

    The shortest decimal that also keeps the next filter in order, where one can be told from the
    other. Where none goes it keeps all.
    """
    far = [sorted(of_layer, reverse=True) for of_layer in distances]
    gone = [
        of[len(of) - width - 1] for of, width in zip(far, widths, strict=True) if width < len(of)
    ]
    known = {z for of_layer in distances for z in of_layer}
    high = min(gone) if gone else None
    low = max((z for z in known if high is None or z < high), default=Fraction())
    start = math.sqrt(low)
    for digits in range(1, 17):
        k = math.ceil(start * 10**digits) / 10**digits
        square = Fraction(str(k)) ** 2
        if k > 0 and low <= square and (high is None or square < high):
            return k
    if not high:
        return TINY
    k = math.sqrt(high)
    while Fraction(str(k)) ** 2 >= high:
        k = math.nextafter(k, 0)
    return k


def decided(
    norms: Sequence[Sequence[float]], widths: Sequence[int], statistics: str
) -> tuple[float, list[Boundaries]]:
    """The k that leaves ``widths`` of these norms, and the rule's decisions at it.

    Filters that it would let go but that stay, by a tie, a multiple or to land on the target, are
    the nearest of their layer to its mean.
    """
    population = None if statistics == "layer" else [s for of in norms for s in of]
    distances = [squared_distances(of_layer, population) for of_layer in norms]
    k = half_width(distances, widths)
    return k, [
        replace(boundaries(list(of), k, "both", population), kept=nearest(z, width))
        for of, z, width in zip(norms, distances, widths, strict=True)
    ]


def step(
    aim: Aim, norms: Sequence[Sequence[float]], statistics: str, applied: int, of: int
) -> tuple[int, ...]:
    """The widths that the application number ``applied`` of ``of`` leaves.

    As few filters go as keep to the schedule, and none whose loss the target does not bear: cubic,
    so that most go first and the last ones to a trained network. The last application lands.
    """
    start = tuple(map(len, norms))
    population = None if statistics == "layer" else [s for of_layer in norms for s in of_layer]
    order = units([squared_distances(of_layer, population) for of_layer in norms], aim.multiple)
    dense = float(aim.cost(aim.base.widths))
    goal = aim.value + max(0.0, dense - aim.value) * (1 - applied / of) ** 3
    number = _first(aim, start, order, goal)
    if applied == of:
        return _landed(aim, start, order, number)
    while number and not (
        aim.off(after(start, order[:number])) >= 0 and aim.reachable(after(start, order[:number]))
    ):
        number -= 1
    return after(start, order[:number])


def after(start: Sequence[int], gone: Sequence[Unit]) -> tuple[int, ...]:
    """The widths when these have gone, in order."""
    left = {unit.layer: unit.width for unit in gone}
    return tuple(left.get(layer, width) for layer, width in enumerate(start))


def _first(aim: Aim, start: Sequence[int], order: Sequence[Unit], goal: float) -> int:
    """How many must go until the cost is at most ``goal``; all where that is not enough."""
    low, high = 0, len(order)
    while low < high:
        middle = (low + high) // 2
        if float(aim.cost(after(start, order[:middle]))) <= goal:
            high = middle
        else:
            low = middle + 1
    return low


def _landed(aim: Aim, start: Sequence[int], order: Sequence[Unit], number: int) -> tuple[int, ...]:
    """The widths nearest to those that the order gives whose cost is within TOLERANCE.

    Where networks can be counted one by one the nearest is known, and of equally near ones that
    closest to the target. Else a unit that is too large for what is left of the budget is passed
    over for the next. If nothing is within, the closest that was seen.
    """
    ruled = after(start, order[:number])
    if -TOLERANCE <= aim.off(ruled) <= 0:
        return ruled
    if aim.places is not None and aim.reachable(start):
        near = aim.places[(aim.places <= np.array(start)).all(1)]
        apart = np.abs(near - np.array(ruled)).sum(1)
        off = np.abs(aim.cost(near) - aim.value)
        best = np.lexsort([*near.T, off, apart])[0]
        return tuple(int(width) for width in near[best])
    gone = list(order[: max(0, number - 1)])
    passed: set[int] = set()
    for unit in order[len(gone) :]:
        widths = after(start, [*gone, unit])
        if unit.layer in passed or aim.off(widths) < -TOLERANCE:
            passed.add(unit.layer)
            continue
        gone.append(unit)
        if aim.off(widths) <= 0:
            break
    return min(ruled, after(start, gone), key=lambda widths: abs(aim.off(widths)))
