"""Batch-norm statistics of clients' images: taken in one pass, pooled, put into a state.

Averages with momentum 0.99 hardly move in the few local steps of a round and restart with every
fresh network, so that an evaluation would measure how old they are. These are of the very weights
that are evaluated.
"""

from collections.abc import Iterable, Mapping
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


class Pool:
    """``statistics`` of parts of images, as those of all together.

    The mean of means by images, and of the variances plus what the parts' means differ:
    ``sum(n (variance + mean²)) / sum(n) - mean²``. The sums run in float64 in the order of ``add``
    and are rounded at the end; no part is kept.
    """

    def __init__(self) -> None:
        self.images = 0
        self._sums: dict[str, Tensor] = {}

    def add(self, part: Mapping[str, Tensor], images: int) -> None:
        """The statistics of so many images, by ``names``."""
        self.images += images
        for name, values in part.items():
            own = values.double()
            if not name.endswith(MEAN):
                own = own + part[name.removesuffix(VARIANCE) + MEAN].double().square()
            self._sums[name] = self._sums.get(name, torch.zeros_like(own)) + images * own

    def value(self) -> dict[str, Tensor]:
        """Those of all images, float32; nothing of none."""
        found = {}
        for name, total in self._sums.items():
            of = total / self.images
            if not name.endswith(MEAN):
                of = of - (self._sums[name.removesuffix(VARIANCE) + MEAN] / self.images).square()
                of = of.clamp(min=0)  # rounding may take it below 0
            found[name] = of.float()
        return found


def pooled(parts: Iterable[tuple[Mapping[str, Tensor], int]]) -> dict[str, Tensor]:
    """The ``Pool`` of all of these, in this order."""
    pool = Pool()
    for part, images in parts:
        pool.add(part, images)
    return pool.value()
