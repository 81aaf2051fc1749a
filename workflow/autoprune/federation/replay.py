"""A client's training on a GPU: each step is recorded once, and replayed for clients and steps.

A step of a small network is a hundred kernels of a few microseconds, which cost more to start than
to run; a CUDA graph starts all of them at once. What it reads and writes must stay where it was
recorded: so a network's weights, gradients and moments have one place each, and so have a batch's
images and labels, one for each number of images. Everything else is ``federation.training.train``,
to whose bits the tests hold this on the processor, where to replay a step is to call it.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from autoprune.core.calls import is_call
from autoprune.federation import device
from autoprune.federation.step import (
    PRECISIONS,
    Step,
    adam_step,
    batches,
    fresh_moments,
    of_kernels,
    scales_of,
)
from autoprune.federation.training import flat_mask, flatten
from autoprune.federation.training import to_input as as_input
from autoprune.models.layers import Network

WARM_UP = 3  # steps before one is recorded: cuDNN, cuBLAS and autograd set themselves up in them
KEPT = 2  # networks whose steps are kept: a search comes to many, and never back
Call = Callable[[], object]  # a step on a batch that lies in its place
Recorder = Callable[[Call], Call]


class Recorded:
    """Makes of a step a CUDA graph's replay; all graphs of a network share their memory.

    They may: one runs at a time, and what one leaves for another is in no graph's memory.
    """

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Call) -> Call:
        """Record a step, which has run before on another stream, as CUDA asks for."""
        side, now = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(now)
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                step()
        now.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        return graph.replay


def called(step: Call) -> Call:
    """What stands in for ``Recorded`` where there is no GPU: as many steps before, then itself."""
    for _ in range(WARM_UP):
        step()
    return step


@dataclass(frozen=True)
class Form:
    """What a step is recorded for: nothing of it can change in the replay."""

    images: int
    dtype: torch.dtype
    pixel_range: tuple[float, float]
    learning_rate: float
    epsilon: float
    norm_l1: float
    proximal_mu: float
    masked: bool
    summed: bool
    loss: Callable[..., Tensor]


class Place:
    """A network, and all that its steps read and write, where it stays.

    They stay where ``flatten`` has laid them, from one client to the next. ``record`` makes of a
    step what replays it.
    """

    def __init__(self, network: Network, record: Recorder) -> None:
        self.network, self._record = network, record
        self.weights = flatten(network)
        self.state = fresh_moments(self.weights)
        self.total = torch.zeros((), device=self.weights.device)
        self.trained, self.received, self.summed = (
            torch.empty_like(self.weights.detach()) for _ in "123"
        )
        self._steps: dict[Form, tuple[Tensor, Tensor, Call]] = {}

    def step(self, form: Form, pixels: Tensor, labels: Tensor) -> None:
        """One step on a batch of bytes (image, height, width, channel) and its labels."""
        if form not in self._steps:
            self._steps[form] = self._recorded(form, pixels, labels)
        own_pixels, own_labels, replay = self._steps[form]
        own_pixels.copy_(pixels)
        own_labels.copy_(labels)
        replay()

    def _recorded(self, form: Form, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Call]:
        """A batch's place and the step on it; what the steps before recording changed is undone."""
        own = pixels.clone(), labels.clone()
        changed = [self.weights.data, self.total, self.summed, *self.state.values()]
        changed += list(self.network.buffers())
        before = [tensor.clone() for tensor in changed]
        replay = self._record(self._of(form, *own))
        with torch.no_grad():
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
        return *own, replay

    def _of(self, form: Form, pixels: Tensor, labels: Tensor) -> Call:
        """The step itself, and its loss into the epoch's."""
        step = Step(
            # autograd's: what a family has written out by hand is for processors
            partial(Network.backward, self.network),
            self.weights,
            partial(adam_step, self.weights, self.state, form.learning_rate, form.epsilon),
            form.dtype,
            trained=self.trained if form.masked else None,
            summed=self.summed if form.summed else None,
            received=self.received if form.proximal_mu else None,
            proximal_mu=form.proximal_mu,
            scales=scales_of(self.network) if form.norm_l1 else (),
            reach=form.norm_l1 * form.learning_rate,
        )

        def call() -> None:
            loss = step(as_input(pixels, form.pixel_range), labels)
            self.total.add_(loss * form.images)

        return call


_places: OrderedDict[Network, Place] = OrderedDict()


def place_of(network: Network, record: Recorder | None = None) -> Place:
    """The place of a network of this process, one of the last KEPT that were trained.

    Steps are recorded by ``record``, without one as the network's device can.
    """
    if network in _places and _places[network].weights is not flatten(network):
        del _places[network]  # somebody has moved it
    if network not in _places:
        on_gpu = device.of(network).type == device.CUDA
        _places[network] = Place(network, record or (Recorded() if on_gpu else called))
        if len(_places) > KEPT:
            _places.popitem(last=False)
    _places.move_to_end(network)
    return _places[network]


def covers(network: Network, optimizer: Mapping[str, Any], augment: object, family: str) -> bool:
    """Whether a client's steps can be recorded: Adam's, of a built-in network that draws nothing.

    What a method attached may look at its numbers, an augmentation is the processor's work, and a
    function's network may do anything.
    """
    return not (optimizer or augment or is_call(family) or network.attached is not None)


def train(
    network: Network,
    pixels: Tensor,
    labels: Tensor,
    pixel_range: tuple[float, float],
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
    proximal_mu: float = 0.0,
    record: Recorder | None = None,
) -> float:
    """``federation.training.train`` by recorded steps, with Adam and nothing attached.

    ``pixels`` uint8 (image, height, width, channel), of which 0 and 255 are the ends of
    ``pixel_range``, and ``labels`` lie on the network's device. Moments and gradients come and go
    on the processor. ``record`` as of ``place_of``.
    """
    network.train()
    place = place_of(network, record)
    with torch.no_grad():
        for name, tensor in place.state.items():
            tensor.copy_(moments[name]) if moments else tensor.zero_()
        if masks:
            place.trained.copy_(flat_mask(network, masks))
        place.received.copy_(place.weights)
        place.summed.zero_()
    dtype = PRECISIONS[precision]
    ends = float(pixel_range[0]), float(pixel_range[1])
    for _ in range(epochs):
        place.total.zero_()
        for batch, targets in batches(pixels, labels, batch_size, shuffle):
            form = Form(
                len(targets), dtype, ends, learning_rate, epsilon, norm_l1, proximal_mu,
                bool(masks), gradients is not None, network.loss,
            )  # fmt: skip
            place.step(form, batch, targets)
    if moments is not None:
        moments |= {name: tensor.to("cpu", copy=True) for name, tensor in place.state.items()}
    if gradients is not None:
        gradients |= of_kernels(network, place.weights, place.summed)
    return float(place.total) / len(labels)
