"""A null control: the paper's rule fed the norms of random filters, nothing learnt."""

from typing import Literal

from pydantic import Field

from autoprune.methods import autoprune


class Method(autoprune.Method):
    """As autoprune, but each decision is made on a random network of the current widths.

    It is ``kept`` until filters go, as in the authors' code without training, or ``fresh`` at
    every application, which prunes further.
    """

    labels = {
        "reinit": "random norms, fresh weights",
        "inherit": "random norms, kept weights",
    }

    class Settings(autoprune.Method.Settings):
        """The rule's, and which null it is."""

        null: Literal["kept", "fresh"] = Field(
            "kept", description="the random network: kept until filters go, or fresh"
        )

    def norms(self) -> str:
        """Those of a network that learnt nothing."""
        return f"null-{self.settings.null}"
