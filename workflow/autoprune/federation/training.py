"""The client's local training, and the server's evaluation: plain PyTorch, no federation."""

import ctypes
import math
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from autoprune.federation.device import CPU, move, of
from autoprune.federation.optimizers import Chosen
from autoprune.federation.step import (
    PRECISIONS,
    Step,
    adam_step,
    batches,
    fresh_moments,
    of_kernels,
    scales_of,
)
from autoprune.models import Architecture, build
from autoprune.models.layers import Network, gradient, to_channels_last

EVALUATION_BATCH = 256  # images; larger ones only take more memory
FLAT = "_flat"  # where a network keeps the tensor that its parameters are views of


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


def workspace(architecture: Architecture, device: torch.device = CPU) -> Network:
    """A network of this architecture to load weights into: building it costs more than that.

    The same one each time, on each device.
    """
    return _workspace(architecture, device)  # which keeps one, whether or not CPU is said


@cache
def _workspace(architecture: Architecture, device: torch.device) -> Network:
    network = to_channels_last(build(architecture))
    if device != CPU:  # what a family has written out by hand is for processors
        network.backward = MethodType(Network.backward, network)  # type: ignore[method-assign]
    return move(network, device)


def to_input(images: np.ndarray | Tensor, pixel_range: tuple[float, float] = (0, 1)) -> Tensor:
    """uint8 (image, height, width, channel) -> float32 (image, channel, height, width).

    0 and 255 become the ends of ``pixel_range``. The result is channels-last in memory, which is
    how the images are stored, and on their device.
    """
    low, high = pixel_range
    given = torch.from_numpy(images) if isinstance(images, np.ndarray) else images
    scaled = given.permute(0, 3, 1, 2).to(torch.float32).div_(255)
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
    masks: Mapping[str, Tensor] | None = None,
    norm_l1: float = 0.0,
    moments: dict[str, Tensor] | None = None,
    gradients: dict[str, Tensor] | None = None,
    optimizer: Mapping[str, Any] | None = None,
    proximal_mu: float = 0.0,
    augment: Callable[[Tensor], Tensor] | None = None,
) -> float:
    """Train in place, with Adam or another ``optimizer``; return the mean loss of the last epoch.

    ``images`` (image, channel, height, width), ``labels`` as the network's loss has them. The last,
    smaller batch of an epoch counts, as in Keras' fit. With ``precision`` "bf16" convolutions and
    linear layers compute in bfloat16 (torch.autocast); weights, optimizer and loss stay float32.

    Weights whose place in ``masks`` is False stay as they are. Each step then takes ``norm_l1``
    times the learning rate from every |scale| of the batch norms, down to 0: the proximal step of
    the penalty of Liu et al. 2017, eq. 1, apart from Adam, which would divide it away. Adam is
    fresh, or goes on from ``moments``, which are then replaced by its last ones. ``gradients``
    gets, of every kernel and matrix, the sum of the loss' gradients over all steps, of masked
    weights too.

    ``proximal_mu``/2 times the squared distance from the weights as they came joins the loss that
    is descended (Li et al. 2020, FedProx, eq. 2), not the one that is returned. ``augment`` makes
    of a batch of ``images``, which are bytes then, the network's input.
    """
    network.train()
    weights = flatten(network)
    device = weights.device
    trained = flat_mask(network, masks).to(device) if masks else None
    rates = learning_rate, epsilon
    other = Chosen(optimizer, network, weights, *rates, trained, moments) if optimizer else None
    came = {name: tensor.to(device) for name, tensor in (moments or {}).items()}
    state = came or fresh_moments(weights)
    summed = torch.zeros_like(weights) if gradients is not None else None
    step = Step(
        network.backward,
        weights,
        other.step if other else partial(adam_step, weights, state, *rates),
        PRECISIONS[precision],
        trained=trained,
        summed=summed,
        received=weights.detach().clone() if proximal_mu else None,
        proximal_mu=proximal_mu,
        scales=scales_of(network) if norm_l1 else (),
        reach=norm_l1 * learning_rate,
    )
    total = torch.zeros((), device=device)
    for _ in range(epochs):
        total = torch.zeros((), device=device)
        for batch, targets in batches(images, labels, batch_size, shuffle):
            inputs = augment(batch).to(device) if augment else batch
            total += step(inputs, targets) * len(targets)
    if moments is not None:
        last = other.state() if other else state
        moments |= {name: tensor.cpu() for name, tensor in last.items()}
    if gradients is not None and summed is not None:
        gradients |= of_kernels(network, weights, summed)
    return float(total) / len(labels)


@torch.no_grad()
def flat_mask(network: Network, masks: Mapping[str, Tensor]) -> Tensor:
    """Ones and zeros (parameters,) in the order of ``flatten``: zero where a mask is False."""
    parts = []
    for name, parameter in network.named_parameters():
        mask = masks.get(name, torch.ones(parameter.shape, dtype=torch.bool))
        in_order = mask.permute(0, 2, 3, 1) if mask.dim() == 4 else mask
        parts.append(in_order.reshape(-1))
    return torch.cat(parts).float()


@torch.no_grad()
def flatten(network: Network) -> nn.Parameter:
    """Move the network's parameters, and their gradients, into one tensor (parameters,) each.

    The network's own are views of them, kernels channels-last: the optimizer then has one tensor
    to update instead of many small ones. They stay where they are from one client to the next.
    """
    parameters = list(network.parameters())
    known: nn.Parameter | None = network.__dict__.get(FLAT)
    if known is not None and all(_within(known, p) for p in parameters):
        return known
    numbers = sum(p.numel() for p in parameters)
    weights = nn.Parameter(torch.empty(numbers, device=parameters[0].device))
    weights.grad = torch.zeros_like(weights)
    start = 0
    for parameter in parameters:
        shape = parameter.shape
        for whole, into in ((weights.data, "data"), (weights.grad, "grad")):
            view = whole[start : start + parameter.numel()]
            if len(shape) == 4:  # (filter, channel, height, width)
                # not viewed once more: of one filter, torch would give its stride as what a channel
                # has, and its own backward of one image refuses such a kernel
                view = view.view(shape[0], shape[2], shape[3], shape[1]).permute(0, 3, 1, 2)
            else:
                view = view.view(shape)
            if into == "data":
                view.copy_(parameter)
            setattr(parameter, into, view)
        start += parameter.numel()
    network.__dict__[FLAT] = weights  # beside torch's own attributes: it is no further parameter
    return weights


def _within(weights: nn.Parameter, parameter: nn.Parameter) -> bool:
    """Whether a parameter and its gradient are views of these weights and theirs."""
    if parameter.grad is None:
        return False
    pairs = ((parameter, weights), (parameter.grad, gradient(weights)))
    return all(
        view.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
        for view, whole in pairs
    )


@torch.no_grad()
def outputs_of(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    pixel_range: tuple[float, float] = (0, 1),
) -> tuple[np.ndarray, float]:
    """A network's outputs (image, output) on a pooled data set, and the mean of its loss.

    ``images`` are uint8 (image, height, width, channel), ``labels`` as its loss has them. Read in
    batches, so that memory-mapped images of any number need memory for one batch.
    """
    network.eval()
    found, loss = [], 0.0
    numbers = math.prod(labels.shape[1:])  # that are judged of an image
    device = of(network)
    for start in range(0, len(labels), EVALUATION_BATCH):
        batch = slice(start, start + EVALUATION_BATCH)
        pixels = torch.from_numpy(np.array(images[batch])).to(device)
        outputs = network(to_input(pixels, pixel_range))
        found.append(outputs.cpu().numpy())
        target = torch.from_numpy(labels[batch]).to(device)
        loss += float(network.loss(outputs, target, reduction="sum")) / numbers
    return np.concatenate(found), loss / len(labels)


def predict(
    network: Network,
    images: np.ndarray,
    labels: np.ndarray,
    pixel_range: tuple[float, float] = (0, 1),
) -> tuple[np.ndarray, float]:
    """``outputs_of`` as classes (image,): the first of those with the largest output."""
    outputs, loss = outputs_of(network, images, labels.astype(np.int64), pixel_range)
    return outputs.argmax(1), loss
