"""Networks of others: torchvision's, or a function of your own, made prunable by running them."""

import importlib
import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.calls import Call
from autoprune.core.errors import InputError
from autoprune.core.refusal import unknown
from autoprune.models.cuts import cut_module, one_line
from autoprune.models.kinds import BATCH_NORMS
from autoprune.models.layers import Network
from autoprune.models.places import Places
from autoprune.models.prunable import layers_of


def make(call: Call, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """A fresh network, its weights as its function draws them from torch's random numbers.

    The function is called with ``input_shape``, ``classes`` and the call's arguments. The network
    maps (batch, channel, height, width) to (batch, class). Raises InputError when there is no such
    function, or when what it gives is no network.
    """
    if call.module == "torchvision":
        return _of_torchvision(call.function, call.arguments, input_shape, classes)
    where = f"network {call.module}:{call.function}"
    module = _imported(call.module, where)
    function = getattr(module, call.function, None)
    if not callable(function):
        raise InputError(f"{where}: the module has no function of this name")
    given = {"input_shape": input_shape, "classes": classes, **call.arguments}
    try:
        inspect.signature(function).bind(**given)
    except TypeError as error:
        raise InputError(f"{where}: cannot be called with {', '.join(given)} ({error})") from None
    network = function(**given)
    if not isinstance(network, nn.Module):
        raise InputError(f"{where}: gave {type(network).__name__}, expected a torch.nn.Module")
    return network


class ThreeChannels(nn.Module):
    """Grey images as the three equal channels that a network of colour images wants."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 1, height, width) -> (batch, 3, height, width)."""
        return x.expand(-1, 3, -1, -1)


def _imported(name: str, where: str) -> ModuleType:
    """A user's module; InputError for one that cannot be imported, for whatever reason."""
    try:
        try:
            return importlib.import_module(name)
        except RuntimeError as error:
            if "torchvision::" not in str(error):
                raise
            # it imports torchvision itself, which beside a CPU-only torch must come from there
            importlib.import_module("autoprune.core.vision")
            return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{where}: the module cannot be imported ({error}); install it, or start where it lies"
        ) from None
    except Exception as error:  # it is somebody's code, and may raise anything
        raise InputError(
            f"{where}: the module cannot be imported ({type(error).__name__}: {error}); mend it"
        ) from None


def _of_torchvision(
    name: str, arguments: Mapping[str, Any], input_shape: tuple[int, int, int], classes: int
) -> nn.Module:
    from autoprune.core.vision import torchvision  # takes half a second to load

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(f"network torchvision:{name}: {unknown('network', name, known)}")
    given = {"num_classes": classes, "weights": None, **arguments}
    if name in ("googlenet", "inception_v3"):  # their further outputs are for training alone
        given = {"aux_logits": False, "init_weights": False} | given
    try:
        network: nn.Module = torchvision.models.get_model(name, **given)
    except (TypeError, ValueError) as error:
        raise InputError(f"network torchvision:{name}: {error}") from None
    if input_shape[0] == 3:
        return network
    if input_shape[0] == 1:
        return nn.Sequential(ThreeChannels(), network)
    raise InputError(
        f"network torchvision:{name}: images have {input_shape[0]} channels, expected 1 or 3"
    )


class Traced(Network):
    """A network of another's making, ``net``, of which the layers ``prunable`` can lose filters."""

    def __init__(
        self,
        net: nn.Module,
        input_shape: tuple[int, ...],
        prunable: tuple[str, ...] = (),
        places: Places | None = None,
    ) -> None:
        super().__init__()
        self.net = net
        self.input_shape = input_shape
        self.prunable = prunable
        if places:
            self.__dict__["places"] = places  # known, so that nothing is traced again

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, height, width) -> (batch, class) logits."""
        logits: Tensor = self.net(x)
        return logits


@dataclass(frozen=True)
class Description:
    """A whole network: which layers can lose filters, and why the others cannot.

    ``refused``: layer -> reason. ``shapes``: those of its tensors by their names.
    """

    family: str
    prunable: tuple[str, ...]
    refused: Mapping[str, str]
    places: Places
    shapes: Mapping[str, tuple[int, ...]]

    def first(self, widths: Sequence[int]) -> list[list[int]]:
        """The first filters of each layer, as many as ``widths`` says; raises InputError."""
        most = self.places.widths
        if len(widths) != len(most) or any(w > m for w, m in zip(widths, most, strict=True)):
            raise InputError(
                f"widths: found {' '.join(map(str, widths))}, {self.family} has at most "
                f"{' '.join(map(str, most))}"
            )
        return [list(range(width)) for width in widths]

    def parameters(self, widths: Sequence[int]) -> int:
        """Parameters at these widths, batch-norm statistics included; raises InputError."""
        self.first(widths)
        total = 0
        for name, shape in self.shapes.items():
            sides = list(shape)
            for axis in self.places.owners.get(name, {}):
                fixed, of_layers = self.places.shares(name, axis)
                sides[axis] = fixed + sum(widths[layer] * n for layer, n in of_layers.items())
            total += math.prod(sides)
        return total


def build_traced(
    family: str, widths: Sequence[int], input_shape: tuple[int, int, int], classes: int, seed: int
) -> Traced:
    """A network by a factory, of each layer the first filters, as many as ``widths`` says.

    Its numbers are as the function draws them from ``seed``. Raises InputError as ``describe``.
    """
    whole = describe(family, input_shape, classes)
    first = whole.first(widths)
    network = _made(Call.parse(family), input_shape, classes, seed)
    if tuple(widths) == whole.places.widths:
        return Traced(network.net, input_shape, whole.prunable, whole.places)
    cut_module(network, whole.places, first)
    return Traced(network.net, input_shape, whole.prunable, whole.places.left(first))


def _made(call: Call, input_shape: tuple[int, int, int], classes: int, seed: int) -> Traced:
    """A network all of whose numbers can be averaged: its batch norm counts no batches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = make(call, input_shape, classes)
    for module in net.modules():
        if isinstance(module, BATCH_NORMS) and module.momentum is not None:
            module.num_batches_tracked = None
    return Traced(net, input_shape)


@lru_cache(maxsize=8)
def describe(family: str, input_shape: tuple[int, int, int], classes: int) -> Description:
    """What can be pruned of a factory's network, found by running it and by cutting it.

    A layer can lose filters when what is left computes what the whole does with these filters
    silenced (``cuts.misfit``). Raises InputError for a network that no federation can average or
    that does not fit the data, and for one of which no layer can lose any.
    """
    call = Call.parse(family)
    with torch.device("cpu"):
        network = _made(call, input_shape, classes, 0)
        _check(family, network, classes)
        try:
            prunable, refused, places = layers_of(network, linear=call.linear)
        except InputError as error:
            raise InputError(f"network {family}: {error}") from None
    if not prunable:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise InputError(f"network {family}: no layer can lose filters ({reasons or 'none found'})")
    return Description(
        family,
        prunable,
        refused,
        places,
        {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()},
    )


def _check(family: str, network: Traced, classes: int) -> None:
    """Refuse what a federation cannot average, and what does not fit the data."""
    where, state = f"network {family}", network.state_dict()
    for name, tensor in state.items():
        if tensor.dtype != torch.float32:
            raise InputError(
                f"{where}: {name}: found {tensor.dtype}, expected torch.float32, which can be "
                "averaged; give the buffer persistent=False"
            )
    named = network.named_parameters(remove_duplicate=False)
    if len(list(named)) != len(list(network.parameters())):
        raise InputError(f"{where}: a parameter stands in it under two names; share its layer")
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network.eval()(torch.zeros(2, *network.input_shape))
            network.train()(torch.zeros(1, *network.input_shape))  # a client's last batch
    except (RuntimeError, ValueError, IndexError, AssertionError, TypeError) as error:
        shape = " x ".join(map(str, network.input_shape))
        raise InputError(
            f"{where}: does not run on images of {shape} ({one_line(error)})"
        ) from None
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != (2, classes):
        raise InputError(f"{where}: gives {found} for two images, expected (2, {classes}) logits")
