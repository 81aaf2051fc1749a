"""Batch-norm statistics of clients' images: taken in one pass, pooled, put into a state.

Averages with momentum 0.99 hardly move in the few local steps of a round and restart with every
fresh network, so that an evaluation would measure how old they are. These are of the very weights
that are evaluated.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from autoprune.models.kinds import BATCH_NORMS
from autoprune.models.layers import Network

MEAN, VARIANCE = "running_mean", "running_var"  # torch's names in a network's state
BATCH = 256  # images at most; the fewer batches, the fewer images are normalised by others' means


def _norms(network: Network) -> dict[str, nn.Module]:
    return {n: m for n, m in network.named_modules() if isinstance(m, BATCH_NORMS)}


def names(network: Network) -> list[str]:
    """Names in the state: each batch norm's mean, then its variance; none without batch norm."""
    return [f"{norm}.{kind}" for norm in _norms(network) for kind in (MEAN, VARIANCE)]


@torch.no_grad()
def statistics(network: Network, images: Tensor) -> dict[str, Tensor]:
    """Mean and variance (channel,) at each batch norm over images (image, channel, height, width).

    By ``names``, float32. One forward pass in training mode, in batches of equal size, ``pooled``;
    the variance is divided by the number of values. The network is left as it was, its own
    statistics included.
    """
    network.train()
    before = [buffer.clone() for buffer in network.buffers()]
    seen: dict[str, Tensor] = {}

    def take(name: str, norm: nn.Module, inputs: tuple[Tensor]) -> None:
        others = (0, *range(2, inputs[0].dim()))
        variance, mean = torch.var_mean(inputs[0], others, correction=0)
        seen[f"{name}.{MEAN}"], seen[f"{name}.{VARIANCE}"] = mean, variance

    hooks = [
        norm.register_forward_pre_hook(partial(take, name))
        for name, norm in _norms(network).items()
    ]
    batches = []
    try:
        for batch in images.tensor_split(-(-len(images) // BATCH)):
            network(batch)
            batches.append(({name: seen[name] for name in names(network)}, len(batch)))
    finally:
        for hook in hooks:
            hook.remove()
        for buffer, own in zip(network.buffers(), before, strict=True):
            buffer.copy_(own)
    return pooled(batches)


def possible(found: Mapping[str, Tensor]) -> bool:
    """Whether these can be anybody's statistics, and pooled without an overflow of float32."""
    return all(
        bool(values.square().isfinite().all())
        and (name.endswith(MEAN) or bool((values >= 0).all()))
        for name, values in found.items()
    )


def pooled(parts: Sequence[tuple[Mapping[str, Tensor], int]]) -> dict[str, Tensor]:
    """``statistics`` of parts of images, each with its number of them, as those of all together.

    The mean of means by images, and of the variances plus what the parts' means differ:
    ``sum(n (variance + mean²)) / sum(n) - mean²``. In float64 in the order given, then rounded.
    """
    images = sum(number for _, number in parts)
    nothing = torch.zeros((), dtype=torch.float64)
    found = {}
    for name in parts[0][0]:
        if name.endswith(MEAN):
            other = name.removesuffix(MEAN) + VARIANCE
            moments = [(part[name].double(), part[other].double(), n) for part, n in parts]
            mean = sum((n * mean for mean, _, n in moments), nothing) / images
            squares = sum((n * (var + own.square()) for own, var, n in moments), nothing) / images
            found[name] = mean.float()
            # rounding may take it below 0
            found[other] = (squares - mean.square()).clamp(min=0).float()
    return found
