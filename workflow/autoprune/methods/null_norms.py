"""A null control: the paper's rule fed the norms of fresh random filters, nothing learnt."""

from autoprune.methods import autoprune


class Method(autoprune.Method):
    """As autoprune, but each decision is made on a new random network of the current widths."""

    norms = "null"
