"""Batch-norm statistics of clients' images: taken in one pass, pooled, put into a state.

Averages with momentum 0.99 hardly move in the few local steps of a round and restart with every
fresh network, so that an evaluation would measure how old they are. These are of the very weights
that are evaluated.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from autoprune.models.layers import Network

MEAN, VARIANCE = "running_mean", "running_var"  # torch's names in a network's state
BATCH = 256  # images at most; the fewer batches, the fewer images are normalised by others' means


def _norms(network: Network) -> dict[str, nn.BatchNorm2d]:
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}


def names(network: Network) -> list[str]:
    """Names in the state: each batch norm's mean, then its variance; none without batch norm."""
    return [f"{norm}.{kind}" for norm in _norms(network) for kind in (MEAN, VARIANCE)]


@torch.no_grad()
def statistics(network: Network, images: Tensor) -> dict[str, Tensor]:
    """Mean and variance (channel,) at each batch norm over images (image, channel, height, width).

    By ``names``, float32. One forward pass in training mode, in batches of equal size: each counts
    by its number of images, and the variance is that of all, between batches included (divided by
    the number of values). The network is left as it was, its own statistics included.
    """
    network.train()
    before = [buffer.clone() for buffer in network.buffers()]
    sums = {name: torch.zeros((), dtype=torch.float64) for name in names(network)}

    def take(name: str, norm: nn.Module, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3), correction=0)
        _add(sums, name, mean, variance, len(inputs[0]))

    hooks = [
        norm.register_forward_pre_hook(partial(take, name))
        for name, norm in _norms(network).items()
    ]
    try:
        for batch in images.tensor_split(-(-len(images) // BATCH)):
            network(batch)
    finally:
        for hook in hooks:
            hook.remove()
        for buffer, own in zip(network.buffers(), before, strict=True):
            buffer.copy_(own)
    return _divided(sums, len(images))


def pooled(clients: Sequence[tuple[Mapping[str, Tensor], int]]) -> dict[str, Tensor]:
    """Clients' ``statistics``, each with its number of images, as those of all the images.

    The mean of means by images, and of the variances plus what the clients' means differ:
    ``sum(n (variance + mean²)) / sum(n) - mean²``. In float64 in the order given, then rounded.
    """
    sums = {name: torch.zeros((), dtype=torch.float64) for name in clients[0][0]}
    for found, images in clients:
        for norm in (name.removesuffix(f".{MEAN}") for name in found if name.endswith(MEAN)):
            _add(sums, norm, found[f"{norm}.{MEAN}"], found[f"{norm}.{VARIANCE}"], images)
    return _divided(sums, sum(images for _, images in clients))


def _add(sums: dict[str, Tensor], norm: str, mean: Tensor, variance: Tensor, images: int) -> None:
    """Add the first two moments of so many images."""
    mean = mean.double()
    sums[f"{norm}.{MEAN}"] = sums[f"{norm}.{MEAN}"] + images * mean
    squares = variance.double() + mean.square()
    sums[f"{norm}.{VARIANCE}"] = sums[f"{norm}.{VARIANCE}"] + images * squares


def _divided(sums: Mapping[str, Tensor], images: int) -> dict[str, Tensor]:
    """Mean and variance, from the sums of moments."""
    found = {name: total / images for name, total in sums.items()}
    for name in found:
        if name.endswith(VARIANCE):
            mean = found[name.removesuffix(VARIANCE) + MEAN]
            found[name] = (found[name] - mean.square()).clamp(min=0)  # rounding may take it below
    return {name: tensor.float() for name, tensor in found.items()}
