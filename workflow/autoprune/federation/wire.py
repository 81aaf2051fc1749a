"""How a network's state travels: dense, sparse under a mask, or int8 with error feedback.

A wire is the server's end. What it makes of a state are named tensors, sent as Flower arrays; the
client's end (``received`` and ``answered``) undoes and repeats it with what the message says.
"""

from collections.abc import Mapping
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, RecordDict
from torch import Tensor

from autoprune.errors import InputError
from autoprune.federation.encoding import (
    State,
    compress,
    corrected,
    dequantise,
    expand,
    maskable,
    pack_mask,
    quantise,
    unpack_mask,
)


def arrays(state: State) -> ArrayRecord:
    """Named tensors as Flower's arrays, in their order."""
    return ArrayRecord({name: Array(t.detach().cpu().numpy()) for name, t in state.items()})


def tensors(record: ArrayRecord) -> dict[str, Tensor]:
    """The inverse of ``arrays``."""
    return {name: torch.from_numpy(array.numpy()) for name, array in record.items()}


class Dense:
    """Every number as float32."""

    name = "dense"

    def use(self, masks: State | None, server_round: int) -> None:
        """Travel under these masks from this round on, where the wire has any."""

    def outgoing(self, state: State) -> dict[str, Tensor]:
        """The tensors to send for a state, the same for all clients of the round."""
        return dict(state)

    def notes(self, client: int) -> dict[str, RecordDict | ArrayRecord | ConfigRecord]:
        """Records that go to this client beside the tensors; none when it needs none."""
        return {}

    def incoming(self, sent: State) -> dict[str, Tensor]:
        """A client's upload as a state; raises ValueError when it is none."""
        return dict(sent)

    def arrived(self, client: int) -> None:
        """The client has answered, so it holds what was sent to it."""

    def lost(self, client: int) -> None:
        """The client has not answered, so it may hold nothing."""

    def deployed(self, state: State) -> dict[str, Tensor]:
        """The state that a device would hold: what is evaluated and saved."""
        return dict(state)

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
        self.holders: dict[int, int] = {}

    def use(self, masks: State | None, server_round: int) -> None:
        """Travel under these masks from this round on; equal ones keep their version."""
        before = self.masks
        if masks is None or (
            before is not None and all(torch.equal(masks[n], before[n]) for n in masks)
        ):
            return
        self.masks, self.version = dict(masks), server_round

    def outgoing(self, state: State) -> dict[str, Tensor]:
        """The values at the mask's ones."""
        return dict(state) if self.masks is None else compress(state, self.masks)

    def notes(self, client: int) -> dict[str, RecordDict | ArrayRecord | ConfigRecord]:
        """The mask's version, and the mask unless the client holds it."""
        if self.masks is None:
            return {}
        version: dict[str, Any] = {"mask": ConfigRecord({"version": self.version})}
        if self.holders.get(client) != self.version:
            version["mask-bits"] = arrays({"mask": pack_mask(self.masks)})
        return version

    def incoming(self, sent: State) -> dict[str, Tensor]:
        """Zeros where the mask is zero."""
        return dict(sent) if self.masks is None else expand(sent, self.masks)

    def arrived(self, client: int) -> None:
        """The client holds the mask of this version."""
        if self.version:
            self.holders[client] = self.version

    def lost(self, client: int) -> None:
        """It gets the mask again."""
        self.holders.pop(client, None)

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
        holders = [[client, version] for client, version in sorted(self.holders.items())]
        return {"version": self.version, "holders": holders}, kept

    def restore(self, value: Mapping[str, Any], kept: State, like: State) -> None:
        """Take up the masks and who holds them."""
        self.version, self.holders = value["version"], dict(value["holders"])
        self.masks = unpack_mask(kept["mask"], like) if "mask" in kept else None


class Int8(Dense):
    """int8 in both directions; each end adds what its last rounding lost (error feedback)."""

    name = "int8"

    def __init__(self) -> None:
        self.residual: dict[str, Tensor] = {}

    def outgoing(self, state: State) -> dict[str, Tensor]:
        """The quantised state; keeps the error of this rounding for the next."""
        wanted = corrected(state, self.residual)
        sent = quantise(wanted)
        got = dequantise(sent)
        self.residual = {n: wanted[n] - got[n] for n in maskable(wanted)}
        return sent

    def notes(self, client: int) -> dict[str, RecordDict | ArrayRecord | ConfigRecord]:
        """A word that the tensors are quantised."""
        return {"int8": ConfigRecord({"symmetric": True})}

    def incoming(self, sent: State) -> dict[str, Tensor]:
        """As float32."""
        return dequantise(sent)

    def deployed(self, state: State) -> dict[str, Tensor]:
        """What is left of the state after rounding."""
        return dequantise(quantise(state))

    def bits(self, state: State) -> int:
        """8 a weight of a kernel or matrix, 32 a scale and whatever else."""
        return sum(
            tensor.numel() * (8 if tensor.dtype == torch.int8 else 32)
            for tensor in quantise(state).values()
        )

    def memory(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The error of the last rounding."""
        return {}, self.residual

    def restore(self, value: Mapping[str, Any], kept: State, like: State) -> None:
        """Take up the error of the last rounding."""
        self.residual = dict(kept)


WIRES: dict[str, type[Dense]] = {wire.name: wire for wire in (Dense, Sparse, Int8)}


def received(
    content: RecordDict, context: Context, like: State
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The client's end: (state, masks) of a message; ``like`` has the network's shapes.

    A mask that came along is kept in the client's context. Raises InputError when the message
    speaks of a mask that this client was never sent.
    """
    sent = tensors(content.array_records["arrays"])
    if "int8" in content.config_records:
        return dequantise(sent), {}
    if "mask" not in content.config_records:
        return sent, {}
    version = content.config_records["mask"]["version"]
    if "mask-bits" in content.array_records:
        context.state["mask"] = content.config_records["mask"]
        context.state["mask-bits"] = content.array_records["mask-bits"]
    held = context.state.config_records.get("mask")
    if held is None or held["version"] != version:
        raise InputError(f"the mask of round {version} is not here; it must be sent again")
    masks = unpack_mask(tensors(context.state.array_records["mask-bits"])["mask"], like)
    return expand(sent, masks), masks


def answered(
    content: RecordDict, context: Context, state: State, masks: State
) -> dict[str, Tensor]:
    """The client's end: the tensors to send back, encoded as ``content`` was."""
    if "int8" in content.config_records:
        before = context.state.array_records.get("residual")
        wanted = corrected(state, tensors(before) if before is not None else {})
        sent = quantise(wanted)
        got = dequantise(sent)
        context.state["residual"] = arrays({n: wanted[n] - got[n] for n in maskable(wanted)})
        return sent
    return compress(state, masks) if masks else dict(state)
