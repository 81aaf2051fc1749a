"""FedMap-like: nested masks by magnitude, the same on all clients, made on the server.

Source: Herzog et al. 2024, "FedMap". Their schedule is tuned by hand; ours is declared: the cubic
one, in every round up to the reference's last shrink.
"""

from autoprune.methods._masked import Masked
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.pruning.budget import cubic


class Method(Masked):
    """A weight that is gone stays gone."""

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Mask the smallest of the weights that are left."""
        if self.searching(server_round):
            progress = (server_round - 1) / (self.reference.stop - 1)
            goal = cubic(self.total(), self.reference.budget, progress)
            state = network.state_dict()
            held = self._masks or {}
            scores = {
                # below every magnitude, so that no weight comes back
                name: tensor.abs().masked_fill(~held[name], -1) if name in held else tensor.abs()
                for name, tensor in state.items()
            }
            self.keep(server_round, scores, goal)
        return super().before_round(server_round, architecture, network)
