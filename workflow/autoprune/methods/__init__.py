"""Methods: what the server does to the network between rounds, one module a method.

A method is a module of this package with a class ``Method``. To add one, add a file and name it
in the config; nothing else lists the methods.
"""

import importlib
import pkgutil
from argparse import ArgumentParser
from typing import Any, Protocol

from autoprune.errors import InputError
from autoprune.models import Architecture
from autoprune.models.layers import Network


class Method(Protocol):
    """One run's method, with whatever it must remember between rounds.

    ``variants`` lists the values that ``variant`` can take. The instance is made from the base
    architecture, the run's seed, the variant and the method's own settings.
    """

    variants: tuple[str, ...]

    def __init__(
        self, base: Architecture, seed: int, variant: str, settings: dict[str, Any]
    ) -> None: ...

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """Declare the method's own flags."""

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """The network to send out in round ``server_round`` (1, 2, ...), given the aggregate."""

    def searching(self, server_round: int) -> bool:
        """Whether the architecture may still change at the start of this round."""

    def to_json(self) -> dict[str, Any]:
        """All that the method remembers, as ``restore`` takes it; written as plan.json.

        Empty only for the baseline, of whose runs the workflow expects no plan.json.
        """

    def restore(self, value: dict[str, Any]) -> None:
        """Go on from ``to_json``'s value."""


def known() -> list[str]:
    """Names of the methods, as in the config."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__))


def load(name: str) -> type[Method]:
    """The class of a method; raises InputError when there is none of that name."""
    if name not in known():
        raise InputError(f"method: unknown {name!r}; known are {', '.join(known())}")
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    method: type[Method] = module.Method
    return method


def check_variant(name: str, method: type[Method], variant: str) -> None:
    """Raise InputError unless the method has this variant."""
    if variant not in method.variants:
        raise InputError(
            f"variant: method {name} has no {variant!r}; known are {', '.join(method.variants)}"
        )
