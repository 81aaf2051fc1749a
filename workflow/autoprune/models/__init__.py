"""Networks from (family, widths, input shape, classes), one module a family.

A family is a module of this package that defines ``build(widths, input_shape, classes)``.
To add one, add a file; nothing else names the families. Any other network is made by a function,
whose call is then the family's name: see ``models.factory``.
"""

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from autoprune.core.calls import is_call
from autoprune.core.errors import InputError
from autoprune.core.provenance import modules_with
from autoprune.core.seeds import torch_seed
from autoprune.models.kinds import BATCH_NORMS, CONVOLUTIONS
from autoprune.models.layers import Network

MOST = 2**31 - 1  # parameters: masks number them in 32 bits, and each copy takes 8.6 GB


def families() -> list[str]:
    """The names of the families, sorted."""
    return modules_with("models", "build")


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build a network without its weights.

    ``widths`` are the filters of the prunable convolutions in the family's order,
    ``input_shape`` is (channels, height, width) in pixels, ``classes`` the length of the output,
    which is 1 of a network that answers a number. ``attached``: the kind of trainable parts that
    the network has besides, see ``models.attached``.
    """

    family: str
    widths: tuple[int, ...]
    input_shape: tuple[int, int, int]
    classes: int
    attached: str = ""

    def __post_init__(self) -> None:
        if not is_call(self.family) and self.family not in families():
            raise InputError(f"family: unknown {self.family!r}; known are {', '.join(families())}")
        if any(not isinstance(w, int) or w < 1 for w in self.widths):
            raise InputError(
                f"widths: found {list(self.widths)}, expected whole numbers of at least 1 filter"
            )
        if min(self.input_shape) < 1:
            raise InputError(
                f"input shape: found {list(self.input_shape)}, "
                "expected channels, height and width of at least 1"
            )
        if self.classes < 1:
            raise InputError(f"classes: found {self.classes}, expected at least 1")
        if max(*self.widths, self.classes, math.prod(self.input_shape)) > MOST:
            raise too_large(self)
        if self.attached and self.attached not in (kinds := modules_with("models", "Part")):
            raise InputError(f"attached: unknown {self.attached!r}; known are {', '.join(kinds)}")

    def with_widths(self, widths: Sequence[int]) -> "Architecture":
        """The same family, input and classes at other widths."""
        return replace(self, widths=tuple(widths))

    @property
    def plain(self) -> "Architecture":
        """The same without what is attached."""
        return replace(self, attached="") if self.attached else self

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; ``from_json`` is the inverse."""
        return {
            "family": self.family,
            "widths": list(self.widths),
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            **({"attached": self.attached} if self.attached else {}),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any], where: str = "architecture") -> "Architecture":
        """From ``to_json``'s value; raises InputError naming the key that is missing or wrong."""
        try:
            family, classes = str(value["family"]), int(value["classes"])
            widths, shape = tuple(map(int, value["widths"])), tuple(map(int, value["input_shape"]))
        except KeyError as error:
            raise InputError(f"{where}: key {error} is missing") from None
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{where}: not an architecture ({error})") from None
        try:
            if len(shape) != 3:
                raise InputError(
                    f"input_shape: found {list(shape)}, expected channels, height and width"
                )
            architecture = Architecture(
                family, widths, shape, classes, str(value.get("attached", ""))
            )
            cost(architecture)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        return architecture


def too_large(architecture: Architecture) -> InputError:
    """What is said of a network that no machine here could hold."""
    return InputError(
        f"widths: a {architecture.family} of widths {list(architecture.widths)}, input "
        f"{list(architecture.input_shape)} and {architecture.classes} classes has more than "
        f"{MOST:,} parameters, 8.6 GB; make it narrower"
    )


@lru_cache(maxsize=4096)
def cost(architecture: Architecture) -> int:
    """Parameters, batch-norm statistics included; raises InputError as ``build`` does.

    What is attached does not count: it is gone from the network that is deployed.
    """
    architecture = architecture.plain
    try:
        with torch.device("meta"):  # shapes only
            if is_call(architecture.family):  # counted without making it
                parameters = int(_described(architecture).parameters(architecture.widths))
            else:
                parameters = count_parameters(_built(architecture))[1]
    except RuntimeError:  # of numbers that a tensor's size cannot be
        raise too_large(architecture) from None
    if parameters > MOST:
        raise too_large(architecture)
    return parameters


def build(architecture: Architecture) -> Network:
    """The network of an architecture, its weights not yet set (see ``initialise``).

    Maps (batch, channel, height, width) in [0, 1] to (batch, class) logits. Raises InputError
    when the number of widths is not the family's, the input is too small for it, or the network
    has more than MOST parameters.
    """
    cost(architecture)
    return _built(architecture)


def _built(architecture: Architecture, seed: int = 0) -> Network:
    if is_call(architecture.family):
        network = _traced(architecture, seed)
    else:
        family = importlib.import_module(f"{__name__}.{architecture.family}")
        network = family.build(architecture.widths, architecture.input_shape, architecture.classes)
    if architecture.attached:
        from autoprune.models.attached import put_on

        put_on(network, architecture.attached)
    return network


def _factory() -> Any:
    """``models.factory``, by name: no number of the families comes from it."""
    return importlib.import_module(f"{__name__}.factory")


def _described(architecture: Architecture) -> Any:
    shape, classes = architecture.input_shape, architecture.classes
    return _factory().describe(architecture.family, shape, classes)


def _traced(architecture: Architecture, seed: int) -> Network:
    shape, classes = architecture.input_shape, architecture.classes
    made: Network = _factory().build_traced(
        architecture.family, architecture.widths, shape, classes, seed
    )
    return made


def base_of(
    family: str, widths: Sequence[int], input_shape: tuple[int, int, int], classes: int
) -> Architecture:
    """The architecture that pruning starts from: without ``widths`` that of a function's network.

    Raises InputError when the network cannot be pruned, or does not fit the data.
    """
    if not widths and is_call(family):
        widths = _factory().describe(family, input_shape, classes).places.widths
    return Architecture(family, tuple(widths), input_shape, classes)


def refused(architecture: Architecture) -> Mapping[str, str]:
    """The layers of a function's network that cannot lose filters, each with the reason."""
    if not is_call(architecture.family):
        return {}
    reasons: Mapping[str, str] = _described(architecture).refused
    return reasons


@torch.no_grad()
def initialise(network: Network, seed: int, purpose: str = "initial", *numbers: int) -> None:
    """Set fresh weights as Keras does: Glorot-uniform kernels, zero biases, unit batch norm.

    Each kernel has a stream of its own, so it does not depend on the kernels before it.
    """
    for position, module in enumerate(network.modules()):
        if isinstance(module, (*CONVOLUTIONS, torch.nn.Linear)):
            stream = torch.Generator().manual_seed(torch_seed(seed, purpose, *numbers, position))
            torch.nn.init.xavier_uniform_(module.weight, generator=stream)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, BATCH_NORMS):
            for name, value in {
                "weight": 1,
                "bias": 0,
                "running_mean": 0,
                "running_var": 1,
            }.items():
                if (tensor := getattr(module, name)) is not None:
                    tensor.fill_(value)


def new_network(
    architecture: Architecture, seed: int, purpose: str = "initial", *numbers: int
) -> Network:
    """``build`` and ``initialise`` in one step."""
    if is_call(architecture.family):  # what has no rule here is as its function draws it
        network = _built(architecture, torch_seed(seed, purpose, *numbers))
    else:
        network = build(architecture)
    initialise(network, seed, purpose, *numbers)
    return network


def count_parameters(network: torch.nn.Module) -> tuple[int, int]:
    """Trainable parameters, and the same with batch-norm statistics (Keras' total)."""
    trainable = sum(p.numel() for p in network.parameters())
    return trainable, trainable + sum(b.numel() for b in network.buffers())


@torch.no_grad()
def load_state(network: Network, state: Mapping[str, torch.Tensor]) -> None:
    """Copy ``state`` into the network; raises ValueError on another key or shape.

    Used instead of ``load_state_dict``, which demands the ``num_batches_tracked`` that our
    batch norm does not carry.
    """
    own = network.state_dict()
    if own.keys() != state.keys():
        raise ValueError(f"state: keys differ in {sorted(own.keys() ^ state.keys())}")
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"state: {name} has shape {tuple(state[name].shape)}, "
                f"the network expects {tuple(tensor.shape)}"
            )
        tensor.copy_(state[name])
