"""Pruning outside any federation: a finished run's network, and any network of your own."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.errors import InputError
from autoprune.core.files import check_noted
from autoprune.core.refusal import unknown
from autoprune.models.cuts import cut_module, misfit, one_line
from autoprune.models.factory import Traced
from autoprune.models.heads import heads_of
from autoprune.models.prunable import layers_of
from autoprune.models.weights import load_network
from autoprune.pruning.record import check_cuts

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
    under the name of the first. With ``linear`` linear layers count too, and the heads of modules
    with attention (``models.heads``). Raises InputError when the network cannot be followed.
    Source: torch-pruning's dependency graph, and a trial cut.
    """
    network, _ = traced(module, example, linear=linear)
    return dict(zip(own_names(network), network.places.widths, strict=True))


def shrink(module: nn.Module, example: Tensor, kept: Mapping[str, Sequence[int]]) -> nn.Module:
    """A copy of a network without the filters that are not in ``kept``, its weights the others'.

    ``example`` (batch, ...) is an input; ``kept`` names layers, each with the indices of the
    filters that stay; layers that it does not name keep all. What is left computes what the whole
    does with these filters silenced. Raises InputError for a layer that cannot lose filters, with
    the reason, and for indices that it does not have.
    """
    layers = dict(module.named_modules())
    asked = [layers[name] for name in kept if name in layers]
    linear = any(isinstance(layer, nn.Linear) or heads_of(layer) for layer in asked)
    network, refused = traced(module, example, linear=linear)
    names, places = own_names(network), network.places
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
    if why := misfit(network, places, left):
        raise InputError(f"network: cannot lose these filters: {why}")
    cut_module(network, places, left)
    return network.net


def kept(plan: Mapping[str, Any]) -> dict[str, list[int]]:
    """The filters that a plan's shrinks leave, counted in the network that it began with.

    ``plan`` is what plan.json holds, or ``AutoPrune.plan``: layer -> ascending indices, as
    ``shrink`` takes them; layers of which nothing ever went too. Empty for a plan without shrinks.
    Raises InputError where the plan contradicts itself.
    """
    left: dict[str, list[int]] = {}
    for cut in check_cuts(plan)["shrinks"]:
        for layer in cut["layers"]:
            name, indices = own_name(layer["layer"]), layer["kept"]
            left[name] = [left[name][n] for n in indices] if name in left else list(indices)
    return left


def traced(module: nn.Module, example: Tensor, *, linear: bool) -> tuple[Traced, dict[str, str]]:
    """A copy of a network that knows its prunable layers and where their filters stand.

    Beside it, by their own names, the layers that cannot lose filters, each with the reason.
    Raises InputError for a network that does not run on such an input, gives more than one tensor,
    or cannot be followed.
    """
    shape = tuple(example.shape[1:])
    network = Traced(copy.deepcopy(module), shape)
    answer = answered(network)
    if not isinstance(answer, Tensor):
        raise InputError(f"network: gives {type(answer).__name__}, expected one tensor")
    names, refused, places = layers_of(network, linear=linear)
    for part, before in zip(network.net.modules(), module.modules(), strict=True):
        part.training = before.training  # which tracing has set alike for all
    reasons = {own_name(name): why.removeprefix(NET) for name, why in refused.items()}
    return Traced(network.net, shape, names, places), reasons


def answered(network: Traced) -> Any:
    """What a network in evaluation gives for two inputs of zeros; raises InputError."""
    zeros = torch.zeros(2, *network.input_shape)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            return copy.deepcopy(network).eval()(zeros)
    except Exception as error:  # of somebody's network anything may be raised
        raise InputError(
            f"network: does not run on inputs of shape {tuple(zeros.shape)} "
            f"({type(error).__name__}: {one_line(error)})"
        ) from None


def own_names(network: Traced) -> list[str]:
    """The prunable layers as the module itself names them."""
    return [own_name(name) for name in network.prunable]


def own_name(name: str) -> str:
    """A layer's name in a network that was traced as ``net``: its own is ""."""
    return "" if name == NET[:-1] else name.removeprefix(NET)
