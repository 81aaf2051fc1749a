"""Numbers and multiply-adds of a network at any widths, from one run of the whole network."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from autoprune.models import Architecture, build
from autoprune.models.kinds import CONVOLUTIONS
from autoprune.models.places import Places

Widths = Sequence[int] | np.ndarray


class Counts:
    """What a network costs when its layers have other widths; exact, and without building it.

    ``widths`` are those of the prunable layers, or an array (..., layer) of many networks; each
    count is then an array (...). Raises InputError as ``build`` does.
    """

    def __init__(self, base: Architecture) -> None:
        network = build(base).eval()
        self.base = base
        self._sides = {
            name: [_side(network.places, name, axis, n) for axis, n in enumerate(tensor.shape)]
            for name, tensor in network.state_dict().items()
        }
        # of each kernel and matrix: how many places of its input it is applied to
        self.positions = _positions(network, base.input_shape)
        # attention multiplies what no layer's weights have: such a network is counted by running it
        self.exact = int(self._macs(base.widths)) == _counted(base)

    def sides(self, name: str, widths: Widths, lanes: int = 1) -> list[np.ndarray]:
        """The sides of a tensor of the state; those that filters have rounded up to ``lanes``."""
        given, found = np.asarray(widths, np.int64), []
        for fixed, of_layers in self._sides[name]:
            side = np.full(given.shape[:-1], fixed)
            for layer, each in of_layers.items():
                side = side + each * given[..., layer]
            found.append(-(-side // lanes) * lanes if of_layers else side)
        return found

    def numbers(self, name: str, widths: Widths, lanes: int = 1) -> np.ndarray:
        """How many numbers a tensor of the state has."""
        return np.prod(self.sides(name, widths, lanes), axis=0, dtype=np.int64)

    def parameters(self, widths: Widths) -> np.ndarray:
        """All numbers of the state, batch-norm statistics included, as ``models.cost`` has them."""
        return np.sum([self.numbers(name, widths) for name in self._sides], axis=0)

    def macs(self, widths: Widths) -> np.ndarray:
        """Multiply-adds of one image, as ``measure.complexity`` counts them."""
        if self.exact:
            return self._macs(widths)
        given = np.asarray(widths)
        rows = given.reshape(-1, given.shape[-1]).tolist()
        found = [_counted(self.base.with_widths(row)) for row in rows]
        return np.array(found).reshape(given.shape[:-1])

    def _macs(self, widths: Widths) -> np.ndarray:
        parts = [n * self.numbers(name, widths) for name, n in self.positions.items()]
        return np.sum(parts, axis=0)


def _side(places: Places, name: str, axis: int, whole: int) -> tuple[int, dict[int, int]]:
    """What stays of a tensor's side whatever goes, and what each filter of a layer adds to it."""
    fixed, of_layers = places.shares(name, axis)
    return (fixed, of_layers) if of_layers else (whole, {})


def _positions(network: nn.Module, input_shape: Sequence[int]) -> dict[str, int]:
    """Tensor name -> how often the kernel or matrix is applied to one image."""
    found: dict[str, int] = {}

    def note(name: str, output: Tensor, width: int) -> None:
        found[name] = found.get(name, 0) + output.numel() // width

    hooks = [
        module.register_forward_hook(
            lambda module, _, output, name=name: note(
                f"{name}.weight", output, module.weight.shape[0]
            )
        )
        for name, module in network.named_modules()
        if isinstance(module, (*CONVOLUTIONS, nn.Linear))
    ]
    try:
        with torch.no_grad():
            network(torch.zeros(1, *input_shape))
    finally:
        for hook in hooks:
            hook.remove()
    return found


@lru_cache(maxsize=4096)
def _counted(architecture: Architecture) -> int:
    """Multiply-adds of one image by torch's own counter, which sees every operator."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        build(architecture).eval()(torch.zeros(1, *architecture.input_shape))
    return int(counter.get_total_flops()) // 2
