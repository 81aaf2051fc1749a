"""Fixed ratio by L1 norm: in each layer the same share of filters, those of least norm, goes.

Source: Li et al. 2017, "Pruning Filters for Efficient ConvNets".
"""

from autoprune.methods._ratio import Uniform
from autoprune.pruning.rule import scores


class Method(Uniform):
    """Scores are the rule's own, without its upper boundary."""

    labels = {
        "one-shot": "L1 norm, one shot",
        "classical": "L1 norm, trained then pruned",
        "iterative": "L1 norm, iterative",
    }

    differs = (
        "prunes every layer, where the original spares those that it finds sensitive; filters that "
        "a skip path couples go by the sum of their norms, where the original lets the shortcut "
        "decide; iterative is not the original's, classical is its form"
    )
    score = staticmethod(scores)
