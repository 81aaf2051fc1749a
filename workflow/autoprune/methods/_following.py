"""What the methods share that follow an autoprune run: its budget, its widths, its rounds."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.files import check_noted, read_json
from autoprune.methods import Base
from autoprune.models import Architecture, cost
from autoprune.pruning.plan import Plan
from autoprune.pruning.shrink import Kept

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Reference:
    """What an autoprune run came to.

    ``budget`` are its final parameters, batch-norm statistics included; ``stop`` is the round of
    its last shrink (at least 2, so that a follower has a round to prune in).
    """

    plan: Plan
    budget: int
    widths: tuple[int, ...]
    stop: int

    @staticmethod
    def read(path: str, base: Architecture) -> "Reference":
        """From a run's plan.json; raises InputError when it started from another network."""
        plan = Plan.from_json(read_json(check_noted(path)), path)
        if plan.base != base:
            raise InputError(
                f"{path}: starts from {plan.base.family} of widths {list(plan.base.widths)}, "
                f"this run from {base.family} of widths {list(base.widths)}; train it again"
            )
        if not plan.shrinks:
            return Reference(plan, cost(base), base.widths, 2)
        last = plan.shrinks[-1]
        return Reference(plan, last.parameters, last.widths, max(2, last.round))


class Following(Base):
    """A method that gets the plan of an autoprune run of the same data, network and seed.

    The workflow gives ``--plan`` to every method that imports this module. It keeps a record of
    the method's own cuts. When a method that prunes does so is a matter of ``_trained``.
    """

    class Settings(Block):
        """The run that is followed."""

        plan: str = Field(description="plan.json of the autoprune run to match")

    def __init__(self, base: Architecture, seed: int, variant: str, settings: Block) -> None:
        super().__init__(base, seed, variant, settings)
        self.reference = Reference.read(self.settings.plan, base)
        self.cuts: list[dict[str, Any]] = []

    def record(self, server_round: int, architecture: Architecture, kept: Kept) -> None:
        """Note a cut that led to ``architecture``; a plan's ``shrinks`` have the same keys."""
        layers = [{"layer": n, "kept": list(indices)} for n, indices in enumerate(kept)]
        self.cuts.append(
            {
                "round": server_round,
                "layers": layers,
                "widths": list(architecture.widths),
                "parameters": cost(architecture),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """The budget and the cuts."""
        return {
            "schema_version": SCHEMA_VERSION,
            "base": self.base.to_json(),
            "variant": self.variant,
            "budget": self.reference.budget,
            "stop": self.reference.stop,
            "shrinks": self.cuts,
        }

    def restore(self, value: dict[str, Any]) -> None:
        """Take up the cuts."""
        self.cuts = value["shrinks"]
