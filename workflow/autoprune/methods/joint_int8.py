"""Structured pruning and int8 together, after GETA (Qu et al. 2025) in idea, not in algorithm.

Filters go as in l1-uniform. Both directions of the wire carry int8 with a scale an output channel
and error feedback. The budget is the reference's in bits, so more parameters fit.
"""

from autoprune.methods import l1_uniform
from autoprune.pruning.budget import cost_in_bits


class Method(l1_uniform.Method):
    """Filters go as in l1-uniform; int8 both ways, and what is evaluated and saved is rounded."""

    encoding = "int8"
    count = staticmethod(cost_in_bits)

    def goal(self) -> int:
        """32 bits a parameter of the reference."""
        return 32 * self.reference.budget
