"""A network's state in fewer bytes and back: values under masks, int8 with scales. Pure tensors."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

State = Mapping[str, Tensor]
SCALE = ".scale"  # suffix of the scales that belong to an int8 kernel


def maskable(state: State) -> list[str]:
    """Names of the kernels and matrices; biases and batch norm stay whole."""
    return [name for name, tensor in state.items() if tensor.dim() > 1]


def pack_mask(masks: State) -> Tensor:
    """Boolean masks as the smaller of a bitmap (uint8) and the places of the ones (int32)."""
    flat = torch.cat([mask.flatten() for mask in masks.values()]).numpy()
    bitmap, places = np.packbits(flat), np.flatnonzero(flat).astype(np.int32)
    return torch.from_numpy(bitmap if bitmap.nbytes <= places.nbytes else places)


def unpack_mask(packed: Tensor, like: State) -> dict[str, Tensor]:
    """The inverse of ``pack_mask`` for a network whose state has the shapes of ``like``."""
    names = maskable(like)
    total = sum(like[name].numel() for name in names)
    if packed.dtype == torch.uint8:
        flat = torch.from_numpy(np.unpackbits(packed.numpy(), count=total)).bool()
    else:
        flat = torch.zeros(total, dtype=torch.bool)
        flat[packed.long()] = True
    parts = flat.split([like[name].numel() for name in names])
    return {name: part.view(like[name].shape) for name, part in zip(names, parts, strict=True)}


def compress(state: State, masks: State) -> dict[str, Tensor]:
    """Of a masked tensor only the values at the ones, flat; the others as they are."""
    return {
        name: tensor[masks[name]] if name in masks else tensor for name, tensor in state.items()
    }


def expand(values: State, masks: State) -> dict[str, Tensor]:
    """The inverse of ``compress``, with zeros elsewhere; raises ValueError when it cannot be."""
    state = {}
    for name, tensor in values.items():
        if name not in masks:
            state[name] = tensor
            continue
        if tensor.shape != (int(masks[name].sum()),):
            raise ValueError(
                f"{name} has {tuple(tensor.shape)} values, its mask {int(masks[name].sum())} ones"
            )
        state[name] = torch.zeros(masks[name].shape, dtype=tensor.dtype)
        state[name][masks[name]] = tensor
    return state


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


def corrected(state: State, residual: State) -> dict[str, Tensor]:
    """``state`` plus what earlier roundings lost, where its shape is still the same."""
    return {
        name: tensor + residual[name]
        if name in residual and residual[name].shape == tensor.shape
        else tensor
        for name, tensor in state.items()
    }
