"""A state whose kernels and matrices have few bits, as bytes and back: each layer at its own.

On the way down weights are on the grids that the state itself brings (``models.quantised``). On the
way up an update is on grids of as many bits, one a channel, that reach to its largest number.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from flwr.app import RecordDict
from torch import Tensor

from autoprune.federation.encoding import SCALE
from autoprune.models import Architecture, quantised
from autoprune.models.attached import folded
from autoprune.models.layers import Network
from autoprune.models.quantiser import pack, packed_length, unpack
from autoprune.models.state import Shapes, State, maskable, shapes, unflat

Bits = Mapping[str, int]


def length(bits: Bits, of: Shapes, *, scaled: bool) -> int:
    """Bytes of such a state, with a scale a channel (``scaled``, up) or without (down)."""
    whole = sum(packed_length(n, math.prod(of[name])) for name, n in bits.items())
    return whole + 4 * sum(map(math.prod, _floats(bits, of, scaled=scaled).values()))


def _floats(bits: Bits, of: Shapes, *, scaled: bool) -> dict[str, tuple[int, ...]]:
    """What travels as float32, scales and what has no bits, in the state's order; its shapes."""
    scales = {name: shape[:1] for name, shape in of.items()} if scaled else {}
    return {
        name + SCALE if name in bits else name: scales[name] if name in bits else shape
        for name, shape in of.items()
        if scaled or name not in bits
    }


def _bytes(whole: State, floats: State, bits: Bits) -> Tensor:
    """First the float32, little-endian, then of each layer its numbers, from a byte of its own."""
    values = torch.cat([tensor.flatten() for tensor in floats.values()])
    head = torch.from_numpy(values.numpy().astype("<f4").view(np.uint8))
    return torch.cat([head, *(pack(whole[name].flatten(), n) for name, n in bits.items())])


def _parts(
    packed: Tensor, bits: Bits, of: Shapes, *, scaled: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What ``_bytes`` was given; raises ValueError for another number of bytes."""
    if len(packed) != length(bits, of, scaled=scaled):
        raise ValueError(f"{len(packed)} bytes are not those of this network at {list(bits)} bits")
    floats = _floats(bits, of, scaled=scaled)
    at = 4 * sum(map(math.prod, floats.values()))
    values = np.frombuffer(packed[:at].numpy().tobytes(), "<f4").astype(np.float32)
    whole = {}
    for name, n in bits.items():
        number = math.prod(of[name])
        end = at + packed_length(n, number)
        whole[name] = unpack(packed[at:end], n, number).view(of[name])
        at = end
    return whole, unflat(torch.from_numpy(values), floats)


def pack_weights(state: State) -> Tensor:
    """A state with grids as bytes (byte,) uint8: its weights in whole numbers of steps."""
    bits = quantised.bits(state)
    floats = {name: tensor for name, tensor in state.items() if name not in bits}
    return _bytes(quantised.on_grids(state), floats, bits)


def unpack_weights(packed: Tensor, bits: Bits, of: Shapes) -> dict[str, Tensor]:
    """The state as it is after ``pack_weights``, its weights on their grids."""
    whole, floats = _parts(packed, bits, of, scaled=False)
    state = {name: whole[name] if name in whole else floats[name] for name in of}
    return state | {name: whole[name] * step for name, (step, _) in quantised.grids(state).items()}


def quantise_update(update: State, bits: Bits) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """An update in whole numbers of its channels' scales, and as it is after that."""
    sent, got = dict(update), dict(update)
    for name, n in bits.items():
        most = 2 ** (n - 1) - 1
        scale = update[name].flatten(1).abs().amax(1) / most
        scale[scale == 0] = 1
        by_channel = scale.view(-1, *[1] * (update[name].dim() - 1))
        sent[name] = (update[name] / by_channel).round().clamp(-most, most)
        sent[name + SCALE] = scale
        got[name] = sent[name] * by_channel
    return sent, got


def pack_update(sent: State, bits: Bits) -> Tensor:
    """The whole numbers and scales of ``quantise_update`` as bytes (byte,) uint8."""
    of = shapes({name: tensor for name, tensor in sent.items() if not name.endswith(SCALE)})
    return _bytes(sent, {name: sent[name] for name in _floats(bits, of, scaled=True)}, bits)


def unpack_update(packed: Tensor, bits: Bits, of: Shapes) -> dict[str, Tensor]:
    """The update that such bytes are; raises ValueError for another number of them."""
    whole, floats = _parts(packed, bits, of, scaled=True)
    update = {}
    for name, shape in of.items():
        scales = [1] * (len(shape) - 1)
        update[name] = (
            whole[name] * floats[name + SCALE].view(-1, *scales) if name in bits else floats[name]
        )
    return update


def named(content: RecordDict, like: State) -> dict[str, int]:
    """The bits that a message tells, by the kernels and matrices of the state that it brings."""
    told = content.config_records["packed"]["bits"]
    assert isinstance(told, list)
    return dict(zip(maskable(like), map(int, told), strict=True))


def described(
    architecture: Architecture, grids: Mapping[str, tuple[int, float]], base: Architecture
) -> dict[str, Any]:
    """What architecture.json says: of weights on grids also that by which BOPs are counted."""
    bits = {name.removesuffix(".weight"): n for name, (n, _) in grids.items()}
    more = {"quantised": {"weight_bits": bits, "base_widths": list(base.widths)}} if bits else {}
    return architecture.to_json() | more


def measured_with(architecture: Architecture, network: Network) -> tuple[Architecture, Network]:
    """The network that goes to clients to be measured, without what is attached.

    But with grids, on which its weights travel in fewer bits and nothing is drawn at random.
    """
    if quantised.grids(network.state_dict()):
        return architecture, network
    return folded(architecture, network)
