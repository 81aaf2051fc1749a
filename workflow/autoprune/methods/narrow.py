"""A control: a dense network that was narrow from the start, every layer by the same share."""

from typing import Any

from autoprune.methods._following import Following
from autoprune.models import Architecture
from autoprune.pruning.budget import uniform_widths


class Method(Following):
    """The variant names the autoprune variant whose budget it meets."""

    labels = {
        "reinit": "narrow, from scratch",
        "inherit": "narrow, kept weights' size",
    }

    def begin(self) -> Architecture:
        """Uniform widths within the budget."""
        return self.base.with_widths(
            uniform_widths(self.base, self.base.widths, self.reference.budget)
        )

    def to_json(self) -> dict[str, Any]:
        """The widths, besides."""
        return {**super().to_json(), "widths": list(self.begin().widths)}
