"""Round a pruned network's widths to multiples, for kernels that work in lanes."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from autoprune.core.errors import InputError
from autoprune.models import Architecture, build, load_state, new_network
from autoprune.models.layers import Network
from autoprune.pruning.rule import scores
from autoprune.pruning.shrink import Kept, cut, group_scores, largest

DIRECTIONS = ("nearest", "up", "down")
NO_SCORES = (
    "plan: no scores of filters, by which they come back; widths can be rounded of runs whose "
    "method searches as autoprune does"
)


def rounded_widths(
    widths: Sequence[int], base: Sequence[int], multiple: int, direction: str
) -> tuple[int, ...]:
    """Each width as a multiple of ``multiple``: at least one multiple, at most the base's width.

    A half is rounded up. Where the base's width is reached it stands, multiple or not: there are
    no more filters. Raises InputError for a multiple below 1 or an unknown direction.
    """
    if multiple < 1:
        raise InputError(f"round_widths_to: found {multiple}, expected at least 1 filter")
    if direction not in DIRECTIONS:
        raise InputError(
            f"round_widths: unknown {direction!r}; known are {', '.join(sorted(DIRECTIONS))}"
        )
    add = {"down": 0, "nearest": multiple // 2, "up": multiple - 1}[direction]
    return tuple(
        min(most, max(multiple, (width + add) // multiple * multiple))
        for width, most in zip(widths, base, strict=True)
    )


def history(plan: Mapping[str, Any]) -> tuple[Architecture, Kept, list[list[float]]]:
    """The base network of a plan, the base's filters that stayed, and the last score of each.

    A filter that went has the score for which it went. Raises InputError for a plan whose method
    records no scores.
    """
    if not {"base", "shrinks"} <= plan.keys():
        raise InputError(NO_SCORES)
    base = Architecture.from_json(plan["base"])
    alive = [list(range(width)) for width in base.widths]
    last = [[0.0] * width for width in base.widths]
    for shrink in plan["shrinks"]:
        for n, layer in enumerate(shrink["layers"]):
            if "scores" not in layer:
                raise InputError(NO_SCORES)
            for place, score in zip(alive[n], layer["scores"], strict=True):
                last[n][place] = score
            alive[n] = [alive[n][index] for index in layer["kept"]]
    return base, tuple(map(tuple, alive)), last


def round_widths(
    architecture: Architecture,
    state: Mapping[str, torch.Tensor],
    plan: Mapping[str, Any],
    seed: int,
    multiple: int,
    direction: str,
) -> tuple[Architecture, Network]:
    """The deployment variant of a trained network, without further training.

    Where a layer gets narrower, its filters with the smallest L1 norms go (coupled ones by their
    sum). Where it gets wider, the filters come back whose scores in the plan were the largest,
    with the weights that they had before training; nothing downstream listens to them yet, so the
    network computes exactly what it did. ``seed`` is the run's. Raises InputError as
    ``rounded_widths`` and ``history`` do.
    """
    base, alive, last = history(plan)
    if tuple(map(len, alive)) != architecture.widths:  # narrowed otherwise than by its shrinks
        raise InputError(NO_SCORES)
    goal = rounded_widths(architecture.widths, base.widths, multiple, direction)
    network = build(architecture)
    load_state(network, state)
    stay = tuple(
        largest(group_scores(network, layer, scores), min(width, wanted))
        for layer, (width, wanted) in enumerate(zip(architecture.widths, goal, strict=True))
    )
    architecture, network = cut(architecture, state, stay)
    alive = tuple(tuple(of[i] for i in keep) for of, keep in zip(alive, stay, strict=True))
    union = tuple(
        _joined(of, scores_of, wanted)
        for of, scores_of, wanted in zip(alive, last, goal, strict=True)
    )
    if union == alive:
        return architecture, network
    wider, grown = cut(base, new_network(base, seed).state_dict(), union)
    places = tuple(
        tuple(all_.index(filter_) for filter_ in of) for of, all_ in zip(alive, union, strict=True)
    )
    _embed(network, grown, places)
    return wider, grown


def _joined(alive: Sequence[int], score: Sequence[float], wanted: int) -> tuple[int, ...]:
    """The filters that stayed and, of the others, those with the largest scores; ascending."""
    gone = sorted(set(range(len(score))) - set(alive), key=lambda n: (-score[n], n))
    return tuple(sorted([*alive, *gone[: wanted - len(alive)]]))


@torch.no_grad()
def _embed(network: Network, grown: Network, places: Kept) -> None:
    """Write a network into a wider one at ``places``, with zeros behind what is new."""
    smaller, wider = network.state_dict(), grown.state_dict()
    indices = grown.places.indices(places)
    for name, target in wider.items():
        axes = indices.get(name, {})
        rows = axes.get(0, torch.arange(target.shape[0]))
        if 1 not in axes:
            target.index_copy_(0, rows, smaller[name])
            continue
        part = torch.zeros_like(target[rows])
        part.index_copy_(1, axes[1], smaller[name])
        target.index_copy_(0, rows, part)
