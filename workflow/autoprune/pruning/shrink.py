"""Cut a network down to the filters that were kept, or decide which filters those are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from autoprune.models import Architecture, build, load_state
from autoprune.models.layers import Network
from autoprune.models.places import Kept
from autoprune.pruning.rule import Boundaries, boundaries, scores


def decide(
    network: Network, k: float, tails: str = "both", statistics: str = "layer"
) -> list[Boundaries]:
    """Apply the rule to each prunable convolution of a network, in the order of its widths.

    With ``statistics`` "pooled" all layers share one mean and one std. Layers differ in how many
    weights a filter has, so the scores are then norms per weight.
    """
    norms = layer_norms(network, statistics)
    population = None if statistics == "layer" else [s for of_layer in norms for s in of_layer]
    return [boundaries(of_layer, k, tails, population) for of_layer in norms]


def layer_norms(network: Network, statistics: str = "layer") -> list[list[float]]:
    """The scores of each prunable layer's filters, per weight where statistics are "pooled"."""
    kernels = [network.filters(layer, name) for layer, name in enumerate(network.prunable)]
    norms = [scores(kernel) for kernel in kernels]
    if statistics == "layer":
        return norms
    return [
        [norm / kernel[0].numel() for norm in of_layer]
        for of_layer, kernel in zip(norms, kernels, strict=True)
    ]


def inherited_filters(network: Network, decisions: Sequence[Boundaries]) -> Kept:
    """Which filters keep their weights, given each layer's decision.

    A layer of its own keeps the filters that the rule keeps. Where convolutions are coupled (the
    ResNet's stem, second convolutions and shortcuts), the rule on the prunable one says how many
    stay, and those with the largest L1 norm summed over the group do; equal sums go by index.
    """
    return tuple(
        decision.kept
        if len(network.group(layer)) == 1
        else largest(group_scores(network, layer, scores), len(decision.kept))
        for layer, decision in enumerate(decisions)
    )


def group_scores(
    network: Network, layer: int, score: Callable[[torch.Tensor], list[float]]
) -> list[float]:
    """The score of each filter of a prunable convolution, summed over the coupled kernels."""
    of_kernels = [score(network.filters(layer, name)) for name in network.group(layer)]
    return [sum(of_filter) for of_filter in zip(*of_kernels, strict=True)]


def largest(of_filters: Sequence[float], number: int) -> tuple[int, ...]:
    """Indices of the ``number`` largest scores, ascending; of equal scores the first."""
    order = sorted(range(len(of_filters)), key=lambda n: (-of_filters[n], n))
    return tuple(sorted(order[:number]))


def cut(
    architecture: Architecture, state: Mapping[str, torch.Tensor], kept: Kept
) -> tuple[Architecture, Network]:
    """The smaller network whose weights are the slices of ``state`` that belong to ``kept``.

    Filters, their biases and batch-norm rows go along the output axis, the next layer's slices
    along the input axis; behind a flatten a filter takes its whole block of inputs with it.
    Raises ValueError when ``kept`` is not a non-empty ascending selection in every layer.
    """
    for layer, (indices, width) in enumerate(zip(kept, architecture.widths, strict=True)):
        if (
            not indices
            or list(indices) != sorted(set(indices))
            or not (0 <= indices[0] <= indices[-1] < width)
        ):
            raise ValueError(f"kept filters of layer {layer}: {indices}, of {width} filters")
    smaller = architecture.with_widths([len(indices) for indices in kept])
    result = build(smaller)
    load_state(result, build(architecture).places.cut(state, kept))
    return smaller, result


def recut(
    base: Architecture, state: Mapping[str, torch.Tensor], cuts: Sequence[Mapping[str, Any]]
) -> tuple[Architecture, Network]:
    """The base network's weights after the cuts of a plan, as ``record.check_cuts`` knows them."""
    network = build(base)
    load_state(network, state)
    for step in cuts:
        kept = tuple(tuple(layer["kept"]) for layer in step["layers"])
        base, network = cut(base, network.state_dict(), kept)
    return base, network
