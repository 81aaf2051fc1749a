"""Which prunable layer's filters stand where along a network's tensors, and how to cut there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

Kept = tuple[tuple[int, ...], ...]
"""For each prunable layer, the indices of the filters that stay, ascending."""

NOBODY = -1  # what owns a place along an axis that no filter has


@dataclass(frozen=True)
class Places:
    """For each tensor of a network's state the owner of every place along its axes.

    ``widths``: the filters of each prunable layer. ``owners``: tensor name -> axis -> numbers
    (place,) int64: filter i of layer n is number i plus the widths before n, NOBODY owns what
    stays. An axis along which nothing prunable stands is left out. After a flatten one filter owns
    many places; behind a concatenation the filters of several layers follow one another.
    ``counts``: an attribute of a module that says how many filters a layer has -> that layer. Such
    a filter is a head of attention or a group of a convolution, of several places everywhere.
    """

    widths: tuple[int, ...]
    owners: Mapping[str, Mapping[int, Tensor]]
    counts: Mapping[str, int] = field(default_factory=dict)

    def starts(self) -> list[int]:
        """The number of each layer's first filter."""
        return [0, *accumulate(self.widths)][:-1]

    def filters(self, layer: int) -> Tensor:
        """The numbers (filter,) of a layer's filters."""
        start = self.starts()[layer]
        return torch.arange(start, start + self.widths[layer])

    def _alive(self, kept: Sequence[Sequence[int]]) -> Tensor:
        """(number + 1,) bool: whether its filter stays; NOBODY's, the last, does."""
        alive = torch.zeros(sum(self.widths) + 1, dtype=torch.bool)
        alive[NOBODY] = True
        for start, indices in zip(self.starts(), kept, strict=True):
            alive[start + torch.tensor(indices, dtype=torch.int64)] = True
        return alive

    def indices(self, kept: Sequence[Sequence[int]]) -> dict[str, dict[int, Tensor]]:
        """Tensor name -> axis -> the places (place,) int64 that belong to ``kept`` or to nobody."""
        alive = self._alive(kept)
        return {
            name: {axis: alive[owner].nonzero()[:, 0] for axis, owner in axes.items()}
            for name, axes in self.owners.items()
        }

    def cut(self, state: Mapping[str, Tensor], kept: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """The slices of a network's state that belong to ``kept`` or to nobody."""
        sliced = dict(state)
        for name, axes in self.indices(kept).items():
            for axis, index in axes.items():
                sliced[name] = sliced[name].index_select(axis, index.to(sliced[name].device))
        return sliced

    def left(self, kept: Sequence[Sequence[int]]) -> "Places":
        """Those of the network that is left: its filters numbered anew, in their order."""
        alive = self._alive(kept)
        renumbered = alive.long().cumsum(0) - 1
        renumbered[NOBODY] = NOBODY
        owners = {
            name: {axis: renumbered[owner[alive[owner]]] for axis, owner in axes.items()}
            for name, axes in self.owners.items()
        }
        return Places(tuple(map(len, kept)), owners, self.counts)

    def by_filter(self, layer: int, name: str, values: Tensor, axis: int = 0) -> Tensor:
        """Values (place, ...) along an axis of a tensor by the filters of a layer: (filter, ...).

        The very values where each filter has one place, in order; else (filter, value).
        """
        owner, own = self.owners[name][axis], self.filters(layer)
        if torch.equal(owner, own):
            return values
        places = torch.isin(owner, own).nonzero()[:, 0]
        return values[places[owner[places].argsort(stable=True)]].reshape(len(own), -1)

    def shares(self, name: str, axis: int) -> tuple[int, dict[int, int]]:
        """Places along an axis that are nobody's, and those that each filter of a layer has."""
        owner = self.owners.get(name, {}).get(axis)
        if owner is None:
            return 0, {}
        of_filters = torch.bincount(owner[owner >= 0], minlength=sum(self.widths))
        firsts = {layer: int(of_filters[start]) for layer, start in enumerate(self.starts())}
        return int((owner < 0).sum()), {layer: n for layer, n in firsts.items() if n}
