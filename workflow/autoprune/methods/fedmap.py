"""FedMap-like: nested masks by magnitude, the same on all clients, made on the server.

Source: Herzog et al. 2024, "FedMap: Iterative Magnitude-Based Pruning for Communication-Efficient
Federated Learning".
"""

from pydantic import Field

from autoprune.core.block import Block
from autoprune.methods._masked import Masked
from autoprune.methods._trained import Trained
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.pruning.budget import cubic

RECOVERY = 0.2  # of the rounds are left when the last step is made, to train what it leaves


class Method(Masked, Trained):
    """A weight that is gone stays gone.

    ``global`` goes down to the reference's budget as the other methods do. The others go as the
    original does: from an untrained network on, in steps of ``step_width`` rounds over the whole
    training, each of which takes the same share of what is left, until 50, 80 or 90 % of all
    numbers are gone.
    """

    variants = ("global", "steps-50", "steps-80", "steps-90")
    labels = {
        "global": "FedMap-like",
        "steps-50": "FedMap, 50 % gone",
        "steps-80": "FedMap, 80 % gone",
        "steps-90": "FedMap, 90 % gone",
    }
    differs = (
        "global goes by the cubic schedule from the round on in which the network is trained, "
        "where the original has steps of its own from an untrained network on, as the other "
        "variants have; their equal shares are those of iterative magnitude pruning (Frankle & "
        "Carbin 2019), and their step width is tuned here, not taken from the paper"
    )

    class Settings(Trained.Settings):
        """The runs that are followed, and the steps of the variants that have their own."""

        # at 80 % on UNIPEN, 40 rounds, one seed: validation accuracy was 43.3, 42.4 and 43.7 % with
        # 2, 5 and 10
        step_width: int = Field(
            10, ge=1, description="rounds between two steps of the variants steps-50, -80 and -90"
        )

    def __init__(self, base: Architecture, seed: int, variant: str, settings: Block) -> None:
        super().__init__(base, seed, variant, settings)
        # the share of all numbers that a variant with steps of its own takes away
        self.sparsity = 0 if variant == "global" else int(variant.removeprefix("steps-")) / 100
        if self.sparsity:
            most = max(1, int((1 - RECOVERY) * self.settings.rounds))
            self.width = min(self.settings.step_width, most)
            self.steps = most // self.width
            self.start, self.start_from = 1 + self.width, "variant"
            self.span = (self.steps - 1) * self.width + 1

    def done(self, server_round: int) -> int:
        """Steps that are made at the start of this round, of a variant that has its own."""
        return max(0, min(self.steps, (server_round - 1) // self.width))

    def searching(self, server_round: int) -> bool:
        """In the rounds that begin with a step; of ``global`` those of ``Trained``."""
        if not self.sparsity:
            return super().searching(server_round)
        return self.done(server_round) > self.done(server_round - 1)

    def goal(self, server_round: int) -> int:
        """How many numbers are left once this round's weights are masked."""
        if not self.sparsity:
            return cubic(self.total(), self.reference.budget, self.progress(server_round))
        share = self.done(server_round) / self.steps
        return int(self.total() * (1 - self.sparsity) ** share)

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Mask the smallest of the weights that are left."""
        if self.searching(server_round):
            state = network.state_dict()
            held = self._masks or {}
            scores = {
                # below every magnitude, so that no weight comes back
                name: tensor.abs().masked_fill(~held[name], -1) if name in held else tensor.abs()
                for name, tensor in state.items()
            }
            self.keep(server_round, scores, self.goal(server_round))
        return super().before_round(server_round, architecture, network)
