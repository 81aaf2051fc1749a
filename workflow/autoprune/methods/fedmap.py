"""FedMap-like: nested masks by magnitude, the same on all clients, made on the server.

Source: Herzog et al. 2024, "FedMap: Iterative Magnitude-Based Pruning for Communication-Efficient
Federated Learning".
"""

from autoprune.methods._masked import Masked
from autoprune.methods._trained import Trained
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.pruning.budget import cubic


class Method(Masked, Trained):
    """A weight that is gone stays gone."""

    variants = ("global",)
    labels = {"global": "FedMap-like"}
    differs = (
        "goes by the cubic schedule from the round on in which the network is trained, where the "
        "original has steps of its own from an untrained network on"
    )

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Mask the smallest of the weights that are left."""
        if self.searching(server_round):
            goal = cubic(self.total(), self.reference.budget, self.progress(server_round))
            state = network.state_dict()
            held = self._masks or {}
            scores = {
                # below every magnitude, so that no weight comes back
                name: tensor.abs().masked_fill(~held[name], -1) if name in held else tensor.abs()
                for name, tensor in state.items()
            }
            self.keep(server_round, scores, goal)
        return super().before_round(server_round, architecture, network)
