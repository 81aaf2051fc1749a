"""Quantised kernels and matrices: a network computes with weights on grids that are trained too."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.models import attached
from autoprune.models.layers import Network
from autoprune.models.quantiser import MOST, gradients, integers, quantised, step_of, whole_bits
from autoprune.models.state import State, maskable

STEPS, RANGES = "log_steps", "log_ranges"
# of these logarithms: so Adam's step of 0.0005 moves a grid by half a percent, and what a round of
# some ten steps moves is seen on a grid of 4 bits
PACE = 10
EDGE = 0.99  # of a cell: where it ends rounding may go either way


class _FakeQuantised(torch.autograd.Function):
    """``quantiser.quantised``, whose gradients pass straight through the rounding."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, most: Tensor) -> Tensor:
        ctx.save_for_backward(weight, step, most)
        return quantised(weight, step, most)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return gradients(*ctx.saved_tensors, *slopes)


class Part(attached.Attached):
    """A step and a range for each kernel and matrix, in the order of the state.

    They are kept as logarithms, divided by PACE: so no step of the optimizer makes one negative,
    and it moves a grid of 16 bits and one of 4 by the same share.
    """

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.names = maskable(dict(network.named_parameters()))
        number = len(self.names)
        self.log_steps, self.log_ranges = (nn.Parameter(torch.zeros(number)) for _ in range(2))
        self.set([step_of(MOST, 1)] * number, [1] * number)

    @torch.no_grad()
    def set(self, steps: Sequence[float], ranges: Sequence[float]) -> None:
        """Take these grids (layer,)."""
        for parameter, values in ((self.log_steps, steps), (self.log_ranges, ranges)):
            parameter.copy_(torch.tensor(values).log() / PACE)

    def used(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights' nearest places on their grids."""
        steps, ranges = ((PACE * values).exp() for values in (self.log_steps, self.log_ranges))
        return {
            name: _FakeQuantised.apply(weights[name], step, most)
            for name, step, most in zip(self.names, steps, ranges, strict=True)
        }

    @torch.no_grad()
    def start(self, network: Network) -> None:
        """Move each weight to a random place that is rounded to where it is, and within its range.

        What travels are the middles of the grid's cells, which no round of training leaves where
        the grid is coarse: the network would stand still and all steps have the same gradient. The
        weights that were rounded lay anywhere in their cells.
        """
        for name, (step, most) in grids(network.state_dict()).items():
            weight = network.get_parameter(name)
            within = (torch.rand(weight.shape).to(weight.device) - 0.5) * step * EDGE
            weight.copy_(quantised(weight, step, most) + within).clamp_(-most, most)


def grids(state: State) -> dict[str, tuple[Tensor, Tensor]]:
    """Step () and range () of each kernel and matrix of a state by its name; none without grids."""
    if attached.PREFIX + STEPS not in state:
        return {}
    both = ((PACE * state[attached.PREFIX + part]).exp() for part in (STEPS, RANGES))
    return dict(zip(maskable(state), zip(*both, strict=True), strict=True))


def bits(state: State) -> dict[str, int]:
    """The whole bits of each kernel and matrix of such a state."""
    return {name: whole_bits(step, most) for name, (step, most) in grids(state).items()}


def bits_and_steps(state: State) -> dict[str, tuple[int, float]]:
    """The whole bits and the step of each kernel and matrix of such a state."""
    return {
        name: (whole_bits(step, most), float(step)) for name, (step, most) in grids(state).items()
    }


def on_grids(state: State) -> dict[str, Tensor]:
    """Each kernel and matrix of such a state as whole numbers of steps, of its shape."""
    return {name: integers(state[name], step, most) for name, (step, most) in grids(state).items()}
