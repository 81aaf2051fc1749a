"""What the unstructured methods share: masks of a given number of nonzeros, and their memory."""

import base64
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autoprune.core.block import Block
from autoprune.methods._following import Following
from autoprune.models import Architecture, build
from autoprune.models.layers import Network
from autoprune.models.state import maskable, pack_mask, shapes, unflat, unpack_mask


def largest(scores: Tensor, number: int) -> Tensor:
    """True at so many of the largest scores (number,), of equal ones at the first."""
    chosen = torch.zeros(len(scores), dtype=torch.bool)
    chosen[scores.sort(descending=True, stable=True).indices[:number]] = True
    return chosen


class Masked(Following):
    """Single weights go; the network keeps its widths, and a device its dense latency.

    Kernels and matrices are masked. Nonzeros count everything: the budget is that of the whole
    network, biases and batch norm included.
    """

    encoding = "sparse"

    def __init__(self, base: Architecture, seed: int, variant: str, settings: Block) -> None:
        super().__init__(base, seed, variant, settings)
        self._like = build(base).state_dict()
        self._masks: dict[str, Tensor] | None = None
        self.changes: list[dict[str, int]] = []

    def masks(self) -> Mapping[str, Tensor] | None:
        """The masks in force."""
        return self._masks

    def total(self) -> int:
        """All numbers of the network."""
        return sum(tensor.numel() for tensor in self._like.values())

    def keep(self, server_round: int, scores: Mapping[str, Tensor], nonzeros: int) -> None:
        """Mask all but the weights with the largest scores, so that ``nonzeros`` are left."""
        names = maskable(self._like)
        whole = self.total() - sum(self._like[name].numel() for name in names)
        flat = torch.cat([scores[name].flatten() for name in names])
        number = min(max(1, nonzeros - whole), len(flat))
        self._masks = unflat(largest(flat, number), shapes({n: self._like[n] for n in names}))
        self.changes.append({"round": server_round, "nonzeros": whole + number})

    @torch.no_grad()
    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Zero what the masks take away; a weight that comes back comes back as zero."""
        for name, mask in (self._masks or {}).items():
            network.get_parameter(name).mul_(mask)
        return architecture, network

    def to_json(self) -> dict[str, Any]:
        """The changes of the mask, and the mask itself, packed as it travels."""
        value = {**super().to_json(), "changes": self.changes, "mask": None}
        if self._masks is not None:
            packed = pack_mask(self._masks)
            text = base64.b64encode(packed.numpy().tobytes()).decode()
            value["mask"] = {"as": str(packed.dtype).removeprefix("torch."), "base64": text}
        return value

    def restore(self, value: dict[str, Any]) -> None:
        """Take up the mask."""
        super().restore(value)
        self.changes = value["changes"]
        if value["mask"] is None:
            self._masks = None
            return
        content = bytearray(base64.b64decode(value["mask"]["base64"]))
        packed = torch.frombuffer(content, dtype=getattr(torch, value["mask"]["as"]))
        self._masks = unpack_mask(packed, self._like)
