"""Pruning by L1 norm and int8 on top: the reference's parameters in a quarter of the bits.

After GETA (Qu et al. 2025), which prunes and quantises together, in idea only.
"""

from autoprune.methods import l1_uniform


class Method(l1_uniform.Method):
    """Filters go as in l1-uniform; int8 both ways, and what is evaluated and saved is rounded."""

    labels = {"iterative": "L1 norm and int8"}

    differs = (
        "not GETA's algorithm, which learns bit widths and what goes in one optimisation: filters "
        "go by L1 norm, every kernel and matrix is int8 from the first round"
    )
    encoding = "int8"
