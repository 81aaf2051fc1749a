"""Structured pruning and int8 together, after GETA (Qu et al. 2025) in idea, not in algorithm.

Filters go as in l1-uniform. Both directions of the wire carry int8 with a scale an output channel
and error feedback. The budget is in bits: the reference's parameters times ``bits``. At 32, what
they take themselves, int8 alone may meet it, and then nothing is pruned. At 8 about as many
parameters are left as the reference has, and they take a quarter of the bits.
"""

from argparse import ArgumentParser
from typing import Any

from autoprune.errors import InputError
from autoprune.methods import l1_uniform
from autoprune.methods._following import Following
from autoprune.models import Architecture
from autoprune.pruning.budget import cost_in_bits


class Method(l1_uniform.Method):
    """Filters go as in l1-uniform; int8 both ways, and what is evaluated and saved is rounded."""

    encoding = "int8"
    count = staticmethod(cost_in_bits)

    def __init__(
        self, base: Architecture, seed: int, variant: str, settings: dict[str, Any]
    ) -> None:
        super().__init__(base, seed, variant, settings)
        if not 1 <= settings["bits"] <= 32:
            raise InputError(f"bits: found {settings['bits']}, expected 1 to 32 a parameter")

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """The run that is followed, and what the budget grants each of its parameters."""
        Following.add_arguments(parser)
        parser.add_argument(
            "--bits", type=int, default=32, help="budget, for each parameter of the reference"
        )

    def goal(self) -> int:
        """``bits`` a parameter of the reference."""
        return int(self.settings["bits"]) * self.reference.budget
