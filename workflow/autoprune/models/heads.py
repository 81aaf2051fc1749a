"""Attention's heads: which projections make them, which one reads them, and which rows are whose.

A module with attention says how many heads it has in an attribute, ``num_heads`` or ``heads``, and
asks for it whenever it runs; the size of a head stays, so it is not to be computed from the size of
the input. Its projections lie in it, and no two heads share any of their rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import torch
from torch import Tensor, nn

COUNTS = ("num_heads", "heads")
TRIED = 16  # readings of one module at most: four projections of one size have four
Part = tuple[str, int, Tensor, Tensor]
"""Of a tensor its name, an axis, places along it and the filters that own them."""


@dataclass(frozen=True)
class Attention:
    """One reading of a module: ``makes`` give queries, keys and values, ``reads`` has the outcome.

    ``by_head``: whether the rows of one head stand together in a layer that gives several of the
    three, and not those of all queries, all keys and all values.
    """

    name: str
    count: str
    heads: int
    makes: tuple[str, ...]
    reads: str
    by_head: bool

    def parts(self, network: nn.Module) -> Iterator[Part]:
        """The places of all heads along the tensors of the module."""
        inner = network.get_parameter(f"{self.reads}.weight").shape[1]
        of_inner = torch.arange(inner) * self.heads // inner
        yield f"{self.reads}.weight", 1, torch.arange(inner), of_inner
        for name in self.makes:
            layer = network.get_submodule(name)
            for leaf, tensor in layer.named_parameters():
                rows = len(tensor)
                together = torch.arange(rows) * self.heads // rows
                yield (
                    f"{name}.{leaf}",
                    0,
                    torch.arange(rows),
                    together if self.by_head else of_inner.repeat(rows // inner),
                )
        for leaf, tensor in network.get_submodule(self.name).state_dict().items():
            if "." not in leaf and self.heads in tensor.shape:  # a bias or a factor of each head
                own = torch.arange(self.heads)
                yield f"{self.name}.{leaf}".lstrip("."), tensor.shape.index(self.heads), own, own


def heads_of(module: nn.Module) -> tuple[str, int] | None:
    """The attribute by which a module says how many heads it has, and how many; None without."""
    for name in COUNTS:
        count = getattr(module, name, None)
        if isinstance(count, int) and not isinstance(count, bool):
            return name, count
    return None


def readings(name: str, module: nn.Module) -> Iterator[Attention]:
    """What a module of this name may be as attention, the likeliest first; at most TRIED.

    The last layer that can read is tried first; with it all that can give it queries, keys and
    values: one layer of three times its inputs, one of twice and one of once, or three.
    """
    found = heads_of(module)
    return islice(_readings(name, module, *found), TRIED) if found else iter(())


def _readings(name: str, module: nn.Module, count: str, heads: int) -> Iterator[Attention]:
    layers = {
        f"{name}.{path}".lstrip("."): layer.weight.shape[:2]
        for path, layer in module.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and getattr(layer, "groups", 1) == 1
    }
    for reads, (_, inner) in reversed(layers.items()):
        if inner % heads:
            continue
        times = {
            path: rows // inner
            for path, (rows, _) in layers.items()
            if path != reads and rows in (inner, 2 * inner, 3 * inner)
        }
        for number in (1, 2, 3):
            for makes in combinations(times, number):
                if sum(times[path] for path in makes) == 3:
                    yield Attention(name, count, heads, makes, reads, False)
                    if number < 3:
                        yield Attention(name, count, heads, makes, reads, True)
