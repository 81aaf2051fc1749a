"""A null control: autoprune's widths round by round, but filters chosen at random."""

from autoprune.core.seeds import generator
from autoprune.methods._following import Following
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.pruning.shrink import cut


class Method(Following):
    """The variant names the autoprune variant that is followed; weights are inherited."""

    labels = {
        "inherit": "random filters, kept weights",
        "inherit-low": "random filters, low tail's widths",
    }

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """In a round in which the reference shrank: as many filters, any of them."""
        for shrink in self.reference.plan.shrinks:
            if shrink.round != server_round or shrink.widths == architecture.widths:
                continue
            kept = tuple(
                tuple(sorted(int(n) for n in self._draw(server_round, layer, before, after)))
                for layer, (before, after) in enumerate(
                    zip(architecture.widths, shrink.widths, strict=True)
                )
            )
            architecture, network = cut(architecture, network.state_dict(), kept)
            self.record(server_round, architecture, kept)
        return architecture, network

    def _draw(self, server_round: int, layer: int, before: int, after: int) -> list[int]:
        stream = generator(self.seed, "random-filters", server_round, layer)
        return list(stream.choice(before, after, replace=False))

    def searching(self, server_round: int) -> bool:
        """While the reference searched."""
        return 1 < server_round <= self.reference.stop
