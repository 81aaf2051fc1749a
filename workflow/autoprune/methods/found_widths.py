"""The decisive control: the widths that autoprune ended with, trained dense from scratch."""

from typing import Any

from autoprune.methods._following import Following
from autoprune.models import Architecture


class Method(Following):
    """The variant names the autoprune variant whose widths it takes."""

    labels = {
        "reinit": "found widths, from scratch",
        "inherit": "kept weights' widths from scratch",
    }

    def begin(self) -> Architecture:
        """The reference's final widths."""
        return self.base.with_widths(self.reference.widths)

    def to_json(self) -> dict[str, Any]:
        """The widths, besides."""
        return {**super().to_json(), "widths": list(self.reference.widths)}
