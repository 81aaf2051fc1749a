"""A network's state in fewer bytes and back: values under masks, int8 with scales. Pure tensors."""

import math

import numpy as np
import torch
from torch import Tensor

from autoprune.models.state import Shapes, State, flat, shapes, unflat

SCALE = ".scale"  # suffix of the scales that belong to an int8 kernel


def compress(state: State, masks: State) -> Tensor:
    """The numbers (number,) at the masks' ones, and all of the tensors that have none."""
    return flat(state)[_places(masks, shapes(state))] if masks else flat(state)


def expand(values: Tensor, masks: State, of: Shapes) -> dict[str, Tensor]:
    """The inverse of ``compress``, zeros elsewhere; raises ValueError for another number."""
    places = _places(masks, of)
    if values.shape != (int(places.sum()),):
        raise ValueError(f"{tuple(values.shape)} values, the masks have {int(places.sum())} ones")
    whole = torch.zeros(len(places), dtype=values.dtype)
    whole[places] = values
    return unflat(whole, of)


def _places(masks: State, of: Shapes) -> Tensor:
    """Where of all numbers of a state (number,) those are that no mask takes away."""
    parts = [
        masks[name].flatten() if name in masks else torch.ones(math.prod(shape), dtype=torch.bool)
        for name, shape in of.items()
    ]
    return torch.cat(parts)


def quantise(state: State) -> dict[str, Tensor]:
    """Kernels and matrices as int8 with one float32 scale an output channel, symmetric about 0.

    ``scale = max |w| / 127`` of the channel; a channel of zeros has scale 1.
    """
    sent = {}
    for name, tensor in state.items():
        if tensor.dim() < 2:
            sent[name] = tensor
            continue
        rows = tensor.flatten(1)
        scale = rows.abs().amax(1) / 127
        scale[scale == 0] = 1
        steps = (rows / scale[:, None]).round().clamp(-127, 127)
        sent[name] = steps.to(torch.int8).view(tensor.shape)
        sent[name + SCALE] = scale
    return sent


def dequantise(sent: State) -> dict[str, Tensor]:
    """What ``quantise`` made, as float32."""
    state = {}
    for name, tensor in sent.items():
        if name + SCALE in sent:
            scale = sent[name + SCALE].view(-1, *[1] * (tensor.dim() - 1))
            state[name] = tensor.float() * scale
        elif not name.endswith(SCALE):
            state[name] = tensor
    return state


def pack_int8(quantised: State) -> Tensor:
    """What ``quantise`` made as bytes (byte,) uint8.

    First the int8 of all kernels and matrices, then, as little-endian float32, for each tensor of
    the state its scales or, where it has none, its numbers; both in the state's order.
    """
    steps = [t.flatten() for t in quantised.values() if t.dtype == torch.int8]
    rest = [t.flatten() for t in quantised.values() if t.dtype != torch.int8]
    floats = torch.cat(rest).numpy().astype("<f4").view(np.uint8)
    return torch.cat([torch.cat(steps).view(torch.uint8), torch.from_numpy(floats)])


def unpack_int8(packed: Tensor, of: Shapes) -> dict[str, Tensor]:
    """The inverse of ``pack_int8``; raises ValueError for another number of bytes."""
    kernels = {name: shape for name, shape in of.items() if len(shape) > 1}
    others = {n + SCALE if n in kernels else n: s[:1] if n in kernels else s for n, s in of.items()}
    split = sum(map(math.prod, kernels.values()))
    if len(packed) != split + 4 * sum(map(math.prod, others.values())):
        raise ValueError(f"{len(packed)} bytes are not those of this network in int8")
    floats = np.frombuffer(packed[split:].numpy().tobytes(), "<f4").astype(np.float32)
    found = unflat(packed[:split].view(torch.int8), kernels)
    found |= unflat(torch.from_numpy(floats), others)
    return {key: found[key] for name in of for key in (name, name + SCALE) if key in found}


def corrected(update: State, residual: State) -> dict[str, Tensor]:
    """``update`` plus what earlier roundings lost, where its shape is still the same."""
    return {
        name: tensor + residual[name]
        if name in residual and residual[name].shape == tensor.shape
        else tensor
        for name, tensor in update.items()
    }
