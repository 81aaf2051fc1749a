"""PruneFL-like: a mask by magnitude, then again and again by the clients' squared gradients.

Source: Jiang et al. 2022, "Model Pruning Enables Efficient Federated Learning on Edge Devices":
the loss falls by about the sum of squared gradients of what is trained, so the weights with the
largest stay, and one that is gone may come back. Ours differs, declared: all weights compete by the
squared gradients of one round, where theirs lets a layer's larger weights stay and gathers the
squares of several rounds, so that ours loses more at its first adaptation; every weight costs the
same time, and the mask is adapted every ``interval`` rounds up to the reference's last shrink.
"""

from argparse import ArgumentParser
from collections.abc import Mapping

from torch import Tensor

from autoprune.methods._following import Following
from autoprune.methods._masked import Masked
from autoprune.models import Architecture
from autoprune.models.layers import Network


class Method(Masked):
    """The upload of a number a weight is charged in the rounds before an adaptation."""

    variants = ("adaptive",)

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """The run that is followed, and how often the mask is adapted."""
        Following.add_arguments(parser)
        parser.add_argument("--interval", type=int, default=2, help="rounds between adaptations")

    def _adapts(self, server_round: int) -> bool:
        after = server_round - 2
        return self.searching(server_round) and after > 0 and after % self._interval() == 0

    def _interval(self) -> int:
        return max(1, int(self.settings["interval"]))

    def ask(self, server_round: int) -> dict[str, str | float]:
        """Squared gradients, when the next round adapts."""
        return {"importance": "squared-gradients"} if self._adapts(server_round + 1) else {}

    def learn(
        self,
        server_round: int,
        architecture: Architecture,
        network: Network,
        answers: Mapping[str, Tensor],
    ) -> None:
        """The first mask by magnitude, the others by importance."""
        if server_round == 1:
            magnitudes = {name: tensor.abs() for name, tensor in network.state_dict().items()}
            self.keep(2, magnitudes, self.reference.budget)
        elif self._adapts(server_round + 1):
            self.keep(server_round + 1, answers, self.reference.budget)
