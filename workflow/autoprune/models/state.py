"""A network's state as one flat tensor and back, and the masks of its single weights as bits."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

State = Mapping[str, Tensor]
Shapes = Mapping[str, tuple[int, ...]]


def shapes(state: State) -> dict[str, tuple[int, ...]]:
    """The shapes of a state's tensors, in its order."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def flat(state: State) -> Tensor:
    """All numbers (number,) of a state, tensor after tensor in its order, each row by row."""
    return torch.cat([tensor.flatten() for tensor in state.values()])


def unflat(values: Tensor, of: Shapes) -> dict[str, Tensor]:
    """The inverse of ``flat`` for tensors of these shapes, as views of ``values``."""
    parts = values.split([math.prod(shape) for shape in of.values()])
    return {name: part.view(of[name]) for name, part in zip(of, parts, strict=True)}


def maskable(state: State) -> list[str]:
    """Names of the kernels and matrices; biases and batch norm stay whole."""
    return [name for name, tensor in state.items() if tensor.dim() > 1]


def pack_mask(masks: State) -> Tensor:
    """Boolean masks as the smaller of a bitmap (uint8) and the places of the ones (int32)."""
    flags = flat(masks).numpy()
    bitmap, places = np.packbits(flags), np.flatnonzero(flags).astype(np.int32)
    return torch.from_numpy(bitmap if bitmap.nbytes <= places.nbytes else places)


def unpack_mask(packed: Tensor, like: State) -> dict[str, Tensor]:
    """The inverse of ``pack_mask`` for a network whose state has the shapes of ``like``."""
    of = shapes({name: like[name] for name in maskable(like)})
    total = sum(map(math.prod, of.values()))
    if packed.dtype == torch.uint8:
        flags = torch.from_numpy(np.unpackbits(packed.numpy(), count=total)).bool()
    else:
        flags = torch.zeros(total, dtype=torch.bool)
        flags[packed.long()] = True
    return unflat(flags, of)
