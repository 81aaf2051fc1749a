"""How a network's state travels: dense, under a mask, int8, or packed. One flat array a message.

A wire is the server's end. What it makes of a state are numbers one after the other, in the order
of the network's state; their shapes follow from the architecture, which the message names. The
client's end (``received`` and ``answered``) undoes and repeats it with what the message says.
"""

from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from autoprune.federation import packed
from autoprune.federation.encoding import (
    compress,
    dequantise,
    expand,
    pack_int8,
    quantise,
    unpack_int8,
)
from autoprune.models import quantised
from autoprune.models.state import State, flat, pack_mask, shapes, unflat, unpack_mask

Records = dict[str, ArrayRecord | MetricRecord | ConfigRecord]


def arrays(state: State) -> ArrayRecord:
    """Named tensors as Flower's arrays, in their order."""
    return ArrayRecord({name: Array(t.detach().cpu().numpy()) for name, t in state.items()})


def tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """The inverse of ``arrays``."""
    return {name: torch.from_numpy(array.numpy()) for name, array in record.items()}


def one(name: str, values: Tensor) -> ArrayRecord:
    """A record of a single array, which ``only`` gives back."""
    return arrays({name: values})


def only(content: RecordDict, record: str) -> Tensor:
    """The single array of a record of a message; raises KeyError or ValueError without it."""
    (values,) = tensors(content.array_records[record]).values()
    return values


class Dense:
    """Every number as float32."""

    name = "dense"

    def use(self, masks: State | None, server_round: int) -> None:
        """Travel under these masks from this round on, where the wire has any."""

    def outgoing(self, state: State) -> Tensor:
        """The flat array to send for a state, the same for all clients of the round."""
        return flat(state)

    def notes(self, client: int) -> Records:
        """Records that go to this client beside the array; none when it needs none."""
        return {}

    def incoming(self, sent: Tensor, like: State) -> dict[str, Tensor]:
        """A client's upload as a state with the shapes of ``like``, the one that was sent.

        The upload has the type of what was sent, and ``answer_length`` values.
        """
        return unflat(sent, shapes(like))

    def answer_length(self, sent: Tensor, like: State) -> int:
        """How many values the answer to ``sent`` has, which is the state ``like``."""
        return len(sent)

    def within(self, state: State) -> dict[str, Tensor]:
        """A state as the wire can carry it: the server's own steps know of no mask."""
        return dict(state)

    def arrived(self, client: int) -> None:
        """The client has answered, so it holds what was sent to it."""

    def lost(self, client: int) -> None:
        """The client has not answered, so it may hold nothing."""

    def deployed(self, state: State) -> dict[str, Tensor]:
        """The state that a device would hold: what is evaluated and saved."""
        return dict(state)

    def grids(self, state: State) -> dict[str, tuple[int, float]]:
        """Bits and step, by name, of the weights that are saved as whole numbers of steps."""
        return {}

    def nonzeros(self, state: State) -> int:
        """Numbers of the state that are not masked, batch-norm statistics included."""
        return sum(tensor.numel() for tensor in state.values())

    def bits(self, state: State) -> int:
        """Bits of the state as it travels, headers left out."""
        return 32 * self.nonzeros(state)

    def memory(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """What a resumed run needs: JSON values and tensors."""
        return {}, {}

    def restore(self, value: Mapping[str, Any], kept: State, like: State) -> None:
        """Go on from ``memory``'s values, for a network with the shapes of ``like``."""


class Sparse(Dense):
    """Values under a mask; the mask goes to a client only if it does not hold that one yet."""

    name = "sparse"

    def __init__(self) -> None:
        self.masks: dict[str, Tensor] | None = None
        self.version = 0  # the round in which the mask was made; 0 is no mask
        self.holders: set[int] = set()  # clients that have the mask of this version
        self._record = ArrayRecord()  # of the mask, the same for all messages that bring it

    def use(self, masks: State | None, server_round: int) -> None:
        """Travel under these masks from this round on; equal ones keep their version."""
        before = self.masks
        if masks is None or (
            before is not None and all(torch.equal(masks[n], before[n]) for n in masks)
        ):
            return
        self.masks, self.version, self.holders = dict(masks), server_round, set()
        self._record = one("mask", pack_mask(self.masks))

    def outgoing(self, state: State) -> Tensor:
        """The values at the mask's ones."""
        return compress(state, self.masks or {})

    def notes(self, client: int) -> Records:
        """The mask's version, and the mask unless the client holds it."""
        if self.masks is None:
            return {}
        version: Records = {"mask": ConfigRecord({"version": self.version})}
        if client not in self.holders:
            version["mask-bits"] = self._record
        return version

    def incoming(self, sent: Tensor, like: State) -> dict[str, Tensor]:
        """Zeros where the mask is zero."""
        return expand(sent, self.masks or {}, shapes(like))

    def within(self, state: State) -> dict[str, Tensor]:
        """Zeros where the mask is zero."""
        return self.incoming(self.outgoing(state), state)

    def arrived(self, client: int) -> None:
        """The client holds the mask, if there is one."""
        if self.version:
            self.holders.add(client)

    def lost(self, client: int) -> None:
        """It gets the mask again."""
        self.holders.discard(client)

    def nonzeros(self, state: State) -> int:
        """Ones of the masks and all that has none."""
        masks = self.masks or {}
        return sum(
            int(masks[name].sum()) if name in masks else tensor.numel()
            for name, tensor in state.items()
        )

    def bits(self, state: State) -> int:
        """32 a value, and the packed mask."""
        packed = 0 if self.masks is None else 8 * pack_mask(self.masks).numpy().nbytes
        return 32 * self.nonzeros(state) + packed

    def memory(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Version and holders; the mask itself is the method's."""
        kept = {} if self.masks is None else {"mask": pack_mask(self.masks)}
        return {"version": self.version, "holders": sorted(self.holders)}, kept

    def restore(self, value: Mapping[str, Any], kept: State, like: State) -> None:
        """Take up the masks and who holds them."""
        self.version, self.holders = value["version"], set(value["holders"])
        self.masks = unpack_mask(kept["mask"], like) if "mask" in kept else None
        self._record = one("mask", kept["mask"]) if "mask" in kept else ArrayRecord()


class Int8(Dense):
    """int8 in both directions: weights down, what training changed in them up.

    Down there is no feedback: a client gets the rounding error of one sending, where weights that
    make up for the sending before would have that of two. Up, each client adds to its update what
    the rounding of its earlier ones lost, so that nothing is lost for good. The server adds the
    updates to its own weights, unrounded: on those it sent, all that changes less than half a step
    would be rounded away again in every round.
    """

    name = "int8"

    def outgoing(self, state: State) -> Tensor:
        """The quantised state."""
        return pack_int8(quantise(state))

    def notes(self, client: int) -> Records:
        """A word that the array is quantised."""
        return {"int8": ConfigRecord({"symmetric": True})}

    def incoming(self, sent: Tensor, like: State) -> dict[str, Tensor]:
        """The server's weights with the client's update."""
        update = dequantise(unpack_int8(sent, shapes(like)))
        return {name: tensor + update[name] for name, tensor in like.items()}

    def deployed(self, state: State) -> dict[str, Tensor]:
        """What is left of the state after rounding."""
        return dequantise(quantise(state))

    def bits(self, state: State) -> int:
        """8 a weight of a kernel or matrix, 32 a scale and whatever else."""
        return 8 * len(self.outgoing(state))


class Packed(Dense):
    """Weights of a network with grids at each layer's bits, and updates at as many; as ``Int8``."""

    name = "packed"

    def __init__(self) -> None:
        self.layer_bits: list[int] = []  # of what was sent last; none for a network without grids

    def outgoing(self, state: State) -> Tensor:
        """The weights on their grids, and all else, the grids among it, as it is."""
        self.layer_bits = list(quantised.bits(state).values())
        return packed.pack_weights(state) if self.layer_bits else flat(state)

    def notes(self, client: int) -> Records:
        """The bits of each kernel and matrix."""
        return {"packed": ConfigRecord({"bits": self.layer_bits})} if self.layer_bits else {}

    def incoming(self, sent: Tensor, like: State) -> dict[str, Tensor]:
        """The server's weights with the client's update."""
        update = packed.unpack_update(sent, quantised.bits(like), shapes(like))
        return {name: tensor + update[name] for name, tensor in like.items()}

    def answer_length(self, sent: Tensor, like: State) -> int:
        """Bytes of an update, whose channels have a scale each."""
        return packed.length(quantised.bits(like), shapes(like), scaled=True)

    def grids(self, state: State) -> dict[str, tuple[int, float]]:
        """Those that the state brings."""
        return quantised.bits_and_steps(state)

    def bits(self, state: State) -> int:
        """Those of each kernel and matrix, 32 of whatever else."""
        return 8 * len(packed.pack_weights(state))


WIRES: dict[str, type[Dense]] = {wire.name: wire for wire in (Dense, Sparse, Int8, Packed)}
