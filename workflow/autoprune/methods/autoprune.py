"""The paper's method: shrink by the rule each round until the search stops, then train on."""

from typing import Any

from pydantic import Field

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.methods import Base
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.pruning.options import WEIGHTS
from autoprune.pruning.plan import Plan
from autoprune.pruning.search import advance, began_anew, searching
from autoprune.pruning.settings import Rule
from autoprune.pruning.target import aim_of


class Method(Base):
    """The variant says what becomes of the weights: `reinit` draws fresh ones wherever the network
    shrinks, as the authors' code does; `inherit` keeps those of the filters that stay; `rewind`
    goes back to the initial weights wherever it shrinks; `reinit-once` and `rewind-once` inherit
    and do so once, when the search stops.

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

    class Settings(Rule):
        """Those of the rule."""

        rounds: int = Field(0, description="of the run, 0 where they are not known")

    def __init__(self, base: Architecture, seed: int, variant: str, settings: Block) -> None:
        super().__init__(base, seed, variant, settings)
        given = self.settings
        self.aim = aim_of(given, base)
        if self.aim and given.rounds and given.cap >= given.rounds:
            raise InputError(
                f"cap: found {given.cap}, expected at most {given.rounds - 1} in {given.rounds} "
                f"rounds: the last application lands on the target"
            )
        rule = (given.k, given.patience, given.cap, given.tails, given.statistics)
        if self.aim:
            rule = (None, *rule[1:])
        target = self.aim.to_json() if self.aim else None
        self.plan = Plan(base, variant, seed, *rule, self.norms(), target)

    def norms(self) -> str:
        """Whose norms the rule is fed; see ``autoprune.pruning.search.judged_network``."""
        return "trained"

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """One step of the search; see ``autoprune.pruning.search.advance``."""
        return advance(self.plan, server_round, architecture, network, self.aim)

    def searching(self, server_round: int) -> bool:
        """Whether the rule is applied at the start of this round."""
        return searching(self.plan, server_round)

    def restarted(self, server_round: int) -> bool:
        """Whether this round began with weights that were set anew."""
        return began_anew(self.plan, server_round)

    def figures(self) -> dict[str, float]:
        """What came of a target, and what the network that it started from costs."""
        if self.aim is None:
            return {}
        widths = self.plan.shrinks[-1].widths if self.plan.shrinks else self.base.widths
        reached, dense = (float(self.aim.cost(w)) for w in (widths, self.base.widths))
        return {"target_reached": reached, "target_dense": dense}

    def to_json(self) -> dict[str, Any]:
        """The pruning plan."""
        return self.plan.to_json()

    def restore(self, value: dict[str, Any]) -> None:
        """Take up a pruning plan."""
        self.plan = Plan.from_json(value)
