"""A null control: the paper's rule fed the norms of random filters, nothing learnt."""

from argparse import ArgumentParser

from autoprune.core.errors import InputError
from autoprune.methods import autoprune

NULLS = ("kept", "fresh")


class Method(autoprune.Method):
    """As autoprune, but each decision is made on a random network of the current widths.

    It is ``kept`` until filters go, as in the authors' code without training, or ``fresh`` at
    every application, which prunes further.
    """

    labels = {
        "reinit": "random norms, fresh weights",
        "inherit": "random norms, kept weights",
    }

    def norms(self) -> str:
        """Those of a network that learnt nothing; raises InputError for an unknown null."""
        null = self.settings.get("null", "kept")
        if null not in NULLS:
            raise InputError(f"null: unknown {null!r}; known are {', '.join(NULLS)}")
        return f"null-{null}"

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """The rule's, and which null it is."""
        autoprune.Method.add_arguments(parser)
        parser.add_argument(
            "--null", default="kept", help="the random network: kept until filters go, or fresh"
        )
