"""The client's local training, and the server's evaluation: plain PyTorch, no federation."""

import ctypes
import sys
from functools import cache

import numpy as np
import torch
from torch import Tensor
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


def to_input(images: np.ndarray) -> Tensor:
    """uint8 (image, height, width, channel) -> float32 (image, channel, height, width) in [0, 1].

    The result is channels-last in memory, which is how the images are stored.
    """
    return torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32).div_(255)


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

    ``images`` (image, channel, height, width) in [0, 1], ``labels`` (image,) int64. The last,
    smaller batch of an epoch counts, as in Keras' fit. With ``precision`` "bf16" convolutions and
    linear layers compute in bfloat16 (torch.autocast); weights, optimizer and loss stay float32.
    """
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, eps=epsilon, fused=True)
    total = torch.zeros(())
    for _ in range(epochs):
        total = torch.zeros(())
        order = torch.from_numpy(shuffle.permutation(len(labels)))
        for batch in order.split(batch_size):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = network(images[batch])
            loss = F.cross_entropy(logits.float(), labels[batch])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
    return float(total) / len(labels)


@torch.no_grad()
def evaluate(network: Network, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy (fraction) and mean cross-entropy on a pooled data set.

    ``images`` are uint8 (image, height, width, channel), ``labels`` (image,). Read in batches, so
    that memory-mapped images of any number need memory for one batch.
    """
    network.eval()
    correct, loss = 0, 0.0
    for start in range(0, len(labels), EVALUATION_BATCH):
        batch = slice(start, start + EVALUATION_BATCH)
        target = torch.from_numpy(labels[batch].astype(np.int64))
        logits = network(to_input(np.array(images[batch])))
        correct += int((logits.argmax(1) == target).sum())
        loss += float(F.cross_entropy(logits, target, reduction="sum"))
    return correct / len(labels), loss / len(labels)
