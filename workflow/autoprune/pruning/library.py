"""Pruning outside any federation: a finished run's network, and any network of your own."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from autoprune.core.errors import InputError
from autoprune.core.files import check_noted
from autoprune.core.refusal import unknown
from autoprune.models.cuts import cut_module, misfit
from autoprune.models.factory import Traced, layers_of
from autoprune.models.places import Places
from autoprune.models.weights import load_network

NET = "net."  # what a traced network's layers have before their names


def load(folder: str | Path) -> nn.Module:
    """The network that a run has left in its folder, its weights loaded, in evaluation mode.

    Maps (batch, channel, height, width) to (batch, class) logits; images as the run's store gives
    them, scaled to the ``pixel_range`` of the store's header. Raises InputError for a file that is
    absent, damaged or of another run.
    """
    _, network = load_network(check_noted(Path(folder) / "weights.safetensors"))
    return network.net if isinstance(network, Traced) else network


def prunable(module: nn.Module, example: Tensor, *, linear: bool = False) -> dict[str, int]:
    """The layers of a network that can lose filters, and how many each has, in the module's order.

    ``example`` (batch, ...) is an input. Coupled layers, such as those of a residual block, stand
    under the name of the first. With ``linear`` linear layers count too. Raises InputError when the
    network cannot be followed.
    """
    names, _, places = _traced(module, example, linear=linear)
    return dict(zip(names, places.widths, strict=True))


def shrink(module: nn.Module, example: Tensor, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """A copy of a network without the filters that are not in ``kept``, its weights the others'.

    ``example`` (batch, ...) is an input; ``kept`` names layers, each with the indices of the
    filters that stay; layers that it does not name keep all. What is left computes what the whole
    does with these filters silenced. Raises InputError for a layer that cannot lose filters, with
    the reason, and for indices that it does not have.
    """
    layers = dict(module.named_modules())
    linear = any(isinstance(layers.get(name), nn.Linear) for name in kept)
    names, refused, places = _traced(module, example, linear=linear)
    for name, indices in kept.items():
        if name in refused:
            raise InputError(f"layer {name}: cannot lose filters: {refused[name]}")
        if name not in names:
            raise InputError(f"layer {unknown('layer', name, names)}")
        width = places.widths[names.index(name)]
        if sorted(set(indices)) != list(indices) or not indices or not indices[0] >= 0:
            raise InputError(f"layer {name}: found {list(indices)}, expected ascending indices")
        if indices[-1] >= width:
            raise InputError(f"layer {name}: found filter {indices[-1]}, it has {width}")
    left = [
        list(kept.get(name, range(width))) for name, width in zip(names, places.widths, strict=True)
    ]
    network = Traced(copy.deepcopy(module), tuple(example.shape[1:]))
    if why := misfit(network, places, left):
        raise InputError(f"network: cannot lose these filters: {why}")
    cut_module(network, places, left)
    return network.net


def _traced(
    module: nn.Module, example: Tensor, *, linear: bool
) -> tuple[list[str], dict[str, str], Places]:
    """The prunable layers by their own names, why others are not, and where the filters stand."""
    network = Traced(copy.deepcopy(module), tuple(example.shape[1:]))
    names, refused, places = layers_of(network, linear=linear)
    return (
        [name.removeprefix(NET) for name in names],
        {name.removeprefix(NET): why for name, why in refused.items()},
        places,
    )
