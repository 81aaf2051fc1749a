"""The client's local training, and the server's evaluation: plain PyTorch, no federation."""

import ctypes
import sys
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.models import Architecture, build
from autoprune.models.layers import Network, to_channels_last

EVALUATION_BATCH = 256  # images; larger ones only take more memory


@cache
def keep_memory() -> None:
    """Tell glibc to keep freed memory: activations are freed and needed again each batch.

    Without it each large activation is mapped and unmapped, and its pages zeroed, every time.
    Does nothing on other C libraries.
    """
    if sys.platform == "linux":
        try:
            mallopt = ctypes.CDLL("libc.so.6").mallopt
        except (OSError, AttributeError):
            return
        trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30)


@cache
def workspace(architecture: Architecture) -> Network:
    """A network of this architecture to load weights into: building it costs more than that."""
    network = build(architecture)
    to_channels_last(network)
    return network


def to_input(images: np.ndarray, pixel_range: tuple[float, float] = (0, 1)) -> Tensor:
    """uint8 (image, height, width, channel) -> float32 (image, channel, height, width).

    0 and 255 become the ends of ``pixel_range``. The result is channels-last in memory, which is
    how the images are stored.
    """
    low, high = pixel_range
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32).div_(255)
    return scaled if (low, high) == (0, 1) else scaled.mul_(high - low).add_(low)


def train(
    network: Network,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    epsilon: float,
    precision: str,
    shuffle: np.random.Generator,
) -> float:
    """Train in place with a fresh Adam; return the mean loss of the last epoch.

    ``images`` (image, channel, height, width), ``labels`` (image,) int64. The last,
    smaller batch of an epoch counts, as in Keras' fit. With ``precision`` "bf16" convolutions and
    linear layers compute in bfloat16 (torch.autocast); weights, optimizer and loss stay float32.
    """
    network.train()
    weights = flatten(network)
    assert weights.grad is not None
    optimizer = torch.optim.Adam([weights], lr=learning_rate, eps=epsilon, fused=True)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    total = torch.zeros(())
    for _ in range(epochs):
        total = torch.zeros(())
        order = torch.from_numpy(shuffle.permutation(len(labels)))
        batches = zip(images[order].split(batch_size), labels[order].split(batch_size), strict=True)
        for batch, targets in batches:
            weights.grad.zero_()
            total += network.backward(batch, targets, dtype) * len(targets)
            optimizer.step()
    return float(total) / len(labels)


@torch.no_grad()
def flatten(network: Network) -> nn.Parameter:
    """Move the network's parameters, and their gradients, into one tensor (parameters,) each.

    The network's own are views of them, kernels channels-last: the optimizer then has one tensor
    to update instead of many small ones.
    """
    parameters = list(network.parameters())
    weights = nn.Parameter(torch.empty(sum(p.numel() for p in parameters)))
    weights.grad = torch.zeros_like(weights)
    start = 0
    for parameter in parameters:
        shape = parameter.shape
        for whole, into in ((weights.data, "data"), (weights.grad, "grad")):
            view = whole[start : start + parameter.numel()]
            if len(shape) == 4:  # (filter, channel, height, width)
                view = view.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
            view = view.view(shape)
            if into == "data":
                view.copy_(parameter)
            setattr(parameter, into, view)
        start += parameter.numel()
    return weights


@torch.no_grad()
def evaluate(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    pixel_range: tuple[float, float] = (0, 1),
) -> tuple[float, float]:
    """Accuracy (fraction) and mean cross-entropy on a pooled data set.

    ``images`` are uint8 (image, height, width, channel), ``labels`` (image,). Read in batches, so
    that memory-mapped images of any number need memory for one batch.
    """
    network.eval()
    correct, loss = 0, 0.0
    for start in range(0, len(labels), EVALUATION_BATCH):
        batch = slice(start, start + EVALUATION_BATCH)
        target = torch.from_numpy(labels[batch].astype(np.int64))
        logits = network(to_input(np.array(images[batch]), pixel_range))
        correct += int((logits.argmax(1) == target).sum())
        loss += float(F.cross_entropy(logits, target, reduction="sum"))
    return correct / len(labels), loss / len(labels)
