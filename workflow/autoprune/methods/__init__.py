"""Methods: what the server does to the network between rounds, one module a method.

A method is a module of this package with a class ``Method``. To add one, add a file and name it
in the config; nothing else lists the methods. Modules that begin with "_" hold what several share.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.options import read
from autoprune.models import Architecture
from autoprune.models.layers import Network


class Base:
    """One run's method, with whatever it must remember between rounds.

    The defaults are those of plain FedAvg; a method overrides what it does otherwise. ``variants``
    are the names it knows, none for any; ``encoding``: how weights travel, see ``federation.wire``;
    ``differs``: in what it is not as its source has it; ``labels``: variant -> how results name it.
    Both are written out in the class, where ``core.labels`` reads them. ``settings`` are of the
    class ``Settings`` beside them, each a field with its range, default and meaning; one that the
    run has too, such as ``rounds``, is the run's.
    """

    variants: tuple[str, ...] = ()
    encoding = "dense"
    differs = ""
    labels: Mapping[str, str] = {}

    class Settings(Block):
        """None of its own."""

    def __init__(self, base: Architecture, seed: int, variant: str, settings: Block) -> None:
        self.base, self.seed, self.variant = base, seed, variant
        self.settings: Any = settings
        if self.variants and variant not in self.variants:
            name = type(self).__module__.rpartition(".")[2].replace("_", "-")
            raise InputError(
                f"variant: method {name} has no {variant!r}; known are {', '.join(self.variants)}"
            )

    def begin(self) -> Architecture:
        """The network that the run starts from."""
        return self.base

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """The network to send out in round ``server_round`` (1, 2, ...), given the aggregate."""
        return architecture, network

    def masks(self) -> Mapping[str, Tensor] | None:
        """Boolean masks of the kernels and matrices in force; only for the encoding "sparse"."""
        return None

    def ask_all(self, server_round: int) -> str:
        """What all clients are asked before this round begins, an ``importance``; "" for nothing.

        Unlike ``ask`` it reaches those that are not in the round's cohort, and nobody trains.
        """
        return ""

    def learn_of_all(self, server_round: int, answers: Mapping[str, Tensor]) -> None:
        """Take the mean of what all clients answered, each counting alike."""

    def ask(self, server_round: int) -> dict[str, str | float]:
        """What clients of the round do besides: ``importance``, ``norm-l1``; see client_app."""
        return {}

    def learn(
        self,
        server_round: int,
        architecture: Architecture,
        network: Network,
        answers: Mapping[str, Tensor],
    ) -> None:
        """Take the round's aggregate and the mean of what the clients answered."""

    def searching(self, server_round: int) -> bool:
        """Whether the architecture or mask may still change at the start of this round."""
        return False

    def restarted(self, server_round: int) -> bool:
        """Whether this round's weights did not come from the aggregate but were set anew."""
        return False

    def figures(self) -> dict[str, float]:
        """What the method itself measures of the final network, for evaluation.json."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """All that the method remembers, as ``restore`` takes it; written as plan.json.

        Empty only for the baseline, of whose runs the workflow expects no plan.json.
        """
        return {}

    def restore(self, value: dict[str, Any]) -> None:
        """Go on from ``to_json``'s value."""


def known() -> list[str]:
    """Names of the methods, as in the config."""
    names = (m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))
    return sorted(name.replace("_", "-") for name in names)


def load(name: str) -> type[Base]:
    """The class of a method; raises InputError when there is none of that name."""
    if name not in known():
        raise InputError(f"method: unknown {name!r}; known are {', '.join(known())}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    method: type[Base] = module.Method
    return method


def read_settings(name: str, given: Mapping[str, Any]) -> Block:
    """A method's settings, of all that a run is told; raises InputError for what they cannot be."""
    model = load(name).Settings
    return read(model, {key: given[key] for key in model.model_fields if key in given})
