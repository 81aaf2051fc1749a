"""Whose filters stand where in any network: by torch-pruning's dependency graph."""

from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
import torch_pruning
from torch import Tensor, nn
from torch_pruning import ops
from torch_pruning.dependency import Group

from autoprune.core.errors import InputError
from autoprune.models.heads import Attention, Part, readings
from autoprune.models.kinds import BATCH_NORMS, CONVOLUTIONS, TRANSPOSED, is_depthwise
from autoprune.models.places import NOBODY, Places

# layers whose vectors have a number a channel, batch norm's statistics among them
VECTORS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm, nn.PReLU)


def trace(
    network: nn.Module, layers: Sequence[Sequence[str]], input_shape: Sequence[int]
) -> Places:
    """Where the filters of prunable layers stand in a network, by running it once.

    Each entry of ``layers`` names a layer, and further ones that lose the same filters.
    ``input_shape`` is that of one example. The network's weights, statistics and mode stay, and so
    do torch's random numbers. Raises InputError when a tensor's place would belong to two filters.
    """
    graph = graph_of(network, input_shape)
    with torch.device("cpu"):
        owners = Owners(network)
        for names in layers:
            if heads := next(readings(names[0], network.get_submodule(names[0])), None):
                owners.claim_heads(heads)
            else:
                owners.claim([group_of(graph, network.get_submodule(name)) for name in names])
        return owners.places()


def graph_of(network: nn.Module, input_shape: Sequence[int]) -> torch_pruning.DependencyGraph:
    """torch-pruning's graph of a network; it follows autograd's, so gradients are switched on."""
    training = network.training
    # of one image batch norm in training would refuse, and a flatten could not be told from a view
    like = next(network.parameters())  # on the meta device shapes are followed without numbers
    example = torch.zeros(2, *input_shape, dtype=like.dtype, device=like.device)
    try:
        with torch.enable_grad(), torch.random.fork_rng(devices=[]):
            graph = torch_pruning.DependencyGraph()
            return graph.build_dependency(network.eval(), example_inputs=example, verbose=False)
    except Exception as error:  # the library knows no errors of its own, and raises all kinds
        raise InputError(
            f"its graph cannot be followed ({type(error).__name__}: {error})"
        ) from None
    finally:
        network.train(training)


def group_of(graph: torch_pruning.DependencyGraph, layer: nn.Module) -> Group:
    """All that loses something when filters of a layer go, each entry with the filters' numbers."""
    pruner = graph.get_pruner_of_module(layer)
    every = list(range(pruner.get_out_channels(layer)))
    return graph.get_pruning_group(layer, pruner.prune_out_channels, every)


def is_output(group: Group) -> bool:
    """Whether what a network answers would lose something: no further layer listens."""
    names = [item.dep.handler.__name__ for item in group]
    answered = any(isinstance(item.dep.target.module, ops._OutputOp) for item in group)
    return answered or "prune_in_channels" not in names


Ends = dict[nn.Conv2d, list[tuple[Group, int]]]
"""Convolutions in groups; of either end what loses something, and the channels of a group there."""


def ends_of(graph: torch_pruning.DependencyGraph, group: Group) -> Ends:
    """The convolutions in groups that a group of layers takes part in, and whatever they couple.

    A group of such a convolution is one filter: all channels that it reads and all that it gives.
    Raises InputError where convolutions in another number of groups hang on them.
    """
    found: Ends = {}
    waiting = _in_groups(group)
    while waiting:
        layer = waiting.pop()
        if layer in found:
            continue
        if layer.groups == layer.out_channels:
            raise InputError(
                f"it is or feeds a convolution in {layer.groups} groups of several channels and "
                "one filter each"
            )
        pruner, found[layer] = graph.get_pruner_of_module(layer), []
        for prune, places in (
            (pruner.prune_in_channels, layer.in_channels),
            (pruner.prune_out_channels, layer.out_channels),
        ):
            end = graph.get_pruning_group(layer, prune, list(range(places)))
            found[layer].append((end, places // layer.groups))
            waiting += _in_groups(end)
    if len(numbers := sorted({layer.groups for layer in found})) > 1:
        raise InputError(
            f"it is or feeds convolutions in {' and in '.join(map(str, numbers))} groups"
        )
    return found


def _in_groups(group: Group) -> list[nn.Conv2d]:
    """The convolutions in groups among these layers, of whatever dimension."""
    parts = [item.dep.target.module for item in group]
    return [
        cast(nn.Conv2d, part)
        for part in parts
        if isinstance(part, CONVOLUTIONS) and part.groups > 1 and not is_depthwise(part)
    ]


class Owners:
    """Who owns which place along a network's tensors, as one layer after another claims its own."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._names: dict[object, str] = {part: name for name, part in network.named_modules()}
        self._names |= {part: name for name, part in network.named_parameters()}
        self._state = network.state_dict()
        self._owners: dict[str, dict[int, Tensor]] = {}
        self._widths: list[int] = []
        self._counts: dict[str, int] = {}

    def claim(self, groups: Sequence[Group]) -> None:
        """Number the filters of the next layer, given all that loses something when they go.

        Raises InputError, and claims nothing, where a place would belong to two filters, or one
        filter would have more places than another: shapes would hang on which of them go.
        """
        parts = (part for group in groups for part in self._parts(group))
        self._claim(parts, len(groups[0][0].idxs))

    def claim_heads(self, attention: Attention) -> None:
        """Number the heads of the next layer; raises InputError as ``claim``."""
        self._claim(attention.parts(self._network), attention.heads)
        self._counts[f"{attention.name}.{attention.count}"] = len(self._widths) - 1

    def claim_groups(self, layer: str, ends: Ends) -> None:
        """Number the groups of the convolutions that ``layer`` is coupled to, of ``ends_of``.

        Raises InputError as ``claim``, and where filters of ``layer`` are in none of the groups.
        """
        parts = [
            (name, axis, index, numbers // size)
            for both in ends.values()
            for end, size in both
            for name, axis, index, numbers in self._parts(end)
        ]
        number = next(iter(ends)).groups
        own = [index for name, axis, index, _ in parts if (name, axis) == (f"{layer}.weight", 0)]
        if not own or len(torch.cat(own).unique()) < len(self._state[f"{layer}.weight"]):
            raise InputError(f"a convolution in {number} groups reads some of its filters only")
        self._claim(parts, number)
        self._counts |= {f"{self._names[part]}.groups": len(self._widths) - 1 for part in ends}

    def _claim(self, parts: Iterable[Part], width: int) -> None:
        start, taken = sum(self._widths), []
        for name, axis, index, numbers in parts:
            owner = self.owner(name, axis)
            if len(index) and index.max() >= len(owner):
                raise InputError(
                    f"{name}: its {len(owner)} places along axis {axis} are not of the filters; "
                    "it reads another axis"
                )
            before = owner[index]
            if ((before != NOBODY) & (before != start + numbers)).any():
                raise InputError(
                    f"{name}: a place along axis {axis} would belong to two filters; the network "
                    "cannot be cut there"
                )
            counts = torch.bincount(numbers)
            if (counts != counts[0]).any():
                raise InputError(
                    f"{name}: filters would have unequal numbers of places along axis {axis}, as "
                    "where a split is written in"
                )
            taken.append((name, axis, index, start + numbers))
        for name, axis, index, numbers in taken:
            owner = self._owners.setdefault(name, {}).setdefault(axis, self.owner(name, axis))
            owner[index] = numbers
        self._widths.append(width)

    def owner(self, name: str, axis: int) -> Tensor:
        """The owners (place,) along an axis of a tensor, NOBODY where there is none yet."""
        owner = self._owners.get(name, {}).get(axis)
        return torch.full((self._state[name].shape[axis],), NOBODY) if owner is None else owner

    def all_owned(self, name: str, axis: int) -> bool:
        """Whether every place along an axis of a tensor has an owner."""
        return bool((self.owner(name, axis) != NOBODY).all())

    def places(self) -> Places:
        """What was claimed, the tensors in the state's order."""
        owners = {name: self._owners[name] for name in self._state if name in self._owners}
        return Places(tuple(self._widths), owners, dict(self._counts))

    def _parts(self, group: Group) -> Iterator[Part]:
        """Of each tensor that loses something its name, the axis, the places, whose they are."""
        for item in group:
            module = item.dep.target.module
            if module not in self._names:  # an operator without weights
                continue
            outputs = item.dep.handler.__name__ == "prune_out_channels"
            for leaf, axis in _axes(module, outputs=outputs):
                name = f"{self._names[module]}{leaf}"
                if name in self._state:  # a layer may have no bias
                    yield name, axis, torch.tensor(item.idxs), torch.tensor(item.root_idxs)


def _axes(module: nn.Module | Tensor, *, outputs: bool) -> Iterator[tuple[str, int]]:
    """The tensors of a layer that lose a slice, and along which axis."""
    if isinstance(module, VECTORS):
        yield from ((leaf, 0) for leaf in (".weight", ".bias", ".running_mean", ".running_var"))
    elif isinstance(module, nn.Module) and is_depthwise(module):
        yield from ((leaf, 0) for leaf in (".weight", ".bias"))  # a kernel a channel
    elif isinstance(module, (*CONVOLUTIONS, nn.Linear, *TRANSPOSED)):
        if not outputs and isinstance(module, CONVOLUTIONS) and module.groups > 1:
            return  # each of its filters reads its own group alone, which goes with it
        first = outputs is not isinstance(module, TRANSPOSED)
        yield ".weight", 0 if first else 1
        if outputs:
            yield ".bias", 0
    elif isinstance(module, Tensor):
        # torch-pruning's own choice: the last axis of more than one place
        yield "", max(axis for axis, places in enumerate(module.shape) if places > 1)
