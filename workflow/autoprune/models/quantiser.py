"""Uniform symmetric quantisers with a step and a range a layer, their gradients, and packed bits.

Source: Qu et al. 2025 (GETA), eq. 1 to 3 with exponent t = 1, the linear mapping that the authors'
code has by default; gradients as in Uhlich et al. 2020 and Esser et al. 2020 (LSQ).
"""

import math

import numpy as np
import torch
from torch import Tensor

from autoprune.models.state import State, maskable

LEAST, MOST = 2, 16  # bits of a quantised weight: with 1 a symmetric grid has only its zero


def quantised(weight: Tensor, step: Tensor, most: Tensor) -> Tensor:
    """The multiple of ``step`` () that is nearest to each weight within ``most`` () of 0."""
    return integers(weight, step, most) * step


def integers(weight: Tensor, step: Tensor, most: Tensor) -> Tensor:
    """Of each weight the number of steps, whole and as float32, none beyond ``most``/``step``."""
    return (weight.clamp(-most, most) / step).round()


def gradients(
    weight: Tensor, step: Tensor, most: Tensor, slope: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From dL/d ``quantised`` those by weight, step () and range (), straight through the rounding.

    By the weight it is the slope itself within the range and 0 beyond; by the step the rounding
    error in steps times the slope; by the range the slope of what is clipped, with its sign.
    """
    inside = weight.abs() <= most
    places = weight.clamp(-most, most) / step
    of_step = (slope * (places.round() - places)).sum()
    return slope * inside, of_step, (slope * weight.sign())[~inside].sum()


def bits_of(step: float, most: float) -> float:
    """The bit width of a grid from -``most`` to ``most``, its sign included (GETA, eq. 3)."""
    return math.log2(most / step + 1) + 1


def step_of(bits: float, most: float) -> float:
    """The step that gives a range so many bits: the inverse of ``bits_of``."""
    return most / (2 ** (bits - 1) - 1)


def whole_bits(step: Tensor, most: Tensor) -> int:
    """The bits that every one of ``integers`` fits into, its sign included."""
    return max(LEAST, int((most / step).round()).bit_length() + 1)


def pack(values: Tensor, bits: int) -> Tensor:
    """Whole numbers (number,) in two's complement of so many bits, as bytes (byte,) uint8.

    The lowest bit comes first; only the last byte has bits to spare. Raises ValueError for a
    number that does not fit.
    """
    whole = values.to(torch.int32).numpy()
    most = 1 << (bits - 1)
    if len(whole) and not (-most <= whole.min() and whole.max() < most):
        raise ValueError(f"numbers from {whole.min()} to {whole.max()} do not fit {bits} bits")
    rows = (whole[:, None] >> np.arange(bits)) & 1  # (number, bit)
    return torch.from_numpy(np.packbits(rows.astype(np.uint8), bitorder="little"))


def unpack(packed: Tensor, bits: int, number: int) -> Tensor:
    """The inverse of ``pack``: (number,) float32; raises ValueError for another length."""
    if len(packed) != packed_length(bits, number):
        raise ValueError(f"{len(packed)} bytes are not {number} numbers of {bits} bits")
    flags = np.unpackbits(packed.numpy(), count=number * bits, bitorder="little")
    rows = flags.reshape(number, bits).astype(np.int32)
    weights = 1 << np.arange(bits, dtype=np.int32)
    weights[-1] = -weights[-1]  # of two's complement
    return torch.from_numpy((rows @ weights).astype(np.float32))


def packed_length(bits: int, number: int) -> int:
    """Bytes of so many numbers."""
    return -(-bits * number // 8)


def largest(state: State) -> Tensor:
    """The largest |weight| (layer,) of each kernel and matrix of a state, above 0."""
    tiny = torch.finfo(torch.float32).tiny
    return torch.stack([state[name].abs().max() for name in maskable(state)]).clamp(min=tiny)
