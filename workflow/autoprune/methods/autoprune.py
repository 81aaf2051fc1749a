"""The paper's method: shrink by the rule each round until the search stops, then train on."""

from argparse import ArgumentParser
from typing import Any

from autoprune.core.errors import InputError
from autoprune.methods import Base
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.pruning.options import STATISTICS, TAILS, WEIGHTS
from autoprune.pruning.plan import Plan
from autoprune.pruning.search import advance, began_anew, searching


class Method(Base):
    """The variant says what becomes of the weights.

    Holds the pruning plan, which is all that the search remembers.
    """

    variants = WEIGHTS
    labels = {
        "reinit": "autoprune, fresh weights",
        "inherit": "autoprune, kept weights",
        "reinit-once": "autoprune, fresh at the end",
        "rewind": "autoprune, initial weights",
        "rewind-once": "autoprune, initial at the end",
        "inherit-low": "autoprune, kept weights, low tail",
    }

    def __init__(
        self, base: Architecture, seed: int, variant: str, settings: dict[str, Any]
    ) -> None:
        super().__init__(base, seed, variant, settings)
        k, patience, cap = settings["k"], settings["patience"], settings["cap"]
        if not k > 0:
            raise InputError(f"k: found {k}, expected a number above 0 (standard deviations)")
        for name, value in (("patience", patience), ("cap", cap)):
            if value < 1:
                raise InputError(f"{name}: found {value}, expected at least 1 application")
        tails, statistics = settings.get("tails", "both"), settings.get("statistics", "layer")
        for name, found, choices in (
            ("tails", tails, TAILS),
            ("statistics", statistics, STATISTICS),
        ):
            if found not in choices:
                raise InputError(f"{name}: unknown {found!r}; known are {', '.join(choices)}")
        norms = self.norms()
        self.plan = Plan(base, variant, seed, k, patience, cap, tails, statistics, norms)

    def norms(self) -> str:
        """Whose norms the rule is fed; see ``autoprune.pruning.search.judged_network``."""
        return "trained"

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """The rule's boundaries, when the search stops, and what becomes of the weights."""
        parser.add_argument("--k", type=float, required=True, help="boundary, standard deviations")
        parser.add_argument(
            "--patience",
            type=int,
            required=True,
            help="applications of the rule without a smaller network, after which the search stops",
        )
        parser.add_argument(
            "--cap", type=int, required=True, help="applications of the rule at most"
        )
        parser.add_argument("--tails", default="both", help="filters that go: both tails, or low")
        parser.add_argument(
            "--statistics", default="layer", help="mean and std of each layer, or pooled"
        )

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """One step of the search; see ``autoprune.pruning.search.advance``."""
        return advance(self.plan, server_round, architecture, network)

    def searching(self, server_round: int) -> bool:
        """Whether the rule is applied at the start of this round."""
        return searching(self.plan, server_round)

    def restarted(self, server_round: int) -> bool:
        """Whether this round began with weights that were set anew."""
        return began_anew(self.plan, server_round)

    def to_json(self) -> dict[str, Any]:
        """The pruning plan."""
        return self.plan.to_json()

    def restore(self, value: dict[str, Any]) -> None:
        """Take up a pruning plan."""
        self.plan = Plan.from_json(value)
