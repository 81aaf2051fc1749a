"""The paper's method: shrink by the rule each round until the search stops, then train on."""

from argparse import ArgumentParser
from typing import Any

from autoprune.errors import InputError
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.pruning.plan import VARIANTS, Plan
from autoprune.pruning.search import advance, searching


class Method:
    """Holds the pruning plan, which is all that the search remembers."""

    variants = VARIANTS

    def __init__(
        self, base: Architecture, seed: int, variant: str, settings: dict[str, Any]
    ) -> None:
        k, patience, cap = settings["k"], settings["patience"], settings["cap"]
        if not k > 0:
            raise InputError(f"k: found {k}, expected a number above 0 (standard deviations)")
        for name, value in (("patience", patience), ("cap", cap)):
            if value < 1:
                raise InputError(f"{name}: found {value}, expected at least 1 round")
        self.plan = Plan(base, variant, seed, k, patience, cap)

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """The rule's k and when the search stops."""
        parser.add_argument("--k", type=float, required=True, help="boundary, standard deviations")
        parser.add_argument(
            "--patience",
            type=int,
            required=True,
            help="rounds without a smaller network after which the search stops",
        )
        parser.add_argument(
            "--cap", type=int, required=True, help="rounds the search lasts at most"
        )

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """One step of the search; see ``autoprune.pruning.search.advance``."""
        return advance(self.plan, server_round, architecture, network)

    def searching(self, server_round: int) -> bool:
        """Whether the search shrinks at the start of this round."""
        return searching(self.plan, server_round)

    def to_json(self) -> dict[str, Any]:
        """The pruning plan."""
        return self.plan.to_json()

    def restore(self, value: dict[str, Any]) -> None:
        """Take up a pruning plan."""
        self.plan = Plan.from_json(value)
