"""PruneFL-like: a mask by magnitude, then again and again by the clients' squared gradients.

Source: Jiang et al. 2022, "Model Pruning Enables Efficient Federated Learning on Edge Devices", and
its published code (jiangyuang/PruneFL, bases/fl/simulation/adaptive.py and control/algorithm.py):
the loss falls by about the sum of squared gradients of what is trained. A client adds up the
gradients of all its steps of a round, of weights that are gone too, and squares the sum; the server
adds up these squares times the clients' examples. In each layer the larger of the weights in use
stay; the smaller ones, a share that halves in 10,000 rounds, compete by the squares with those that
are gone.
"""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor

from autoprune.methods._masked import Masked, largest
from autoprune.methods._trained import Trained
from autoprune.models import Architecture
from autoprune.models.layers import Network

HALF_LIFE = 10_000  # rounds in which the share that competes halves, as in the published code


class Method(Masked, Trained):
    """The upload of a number a weight is charged in the rounds before an adaptation.

    The first mask comes in the round ``start``; it is adapted in half of the rounds that are left,
    and stands in the others.
    """

    variants = ("adaptive",)
    labels = {"adaptive": "PruneFL-like"}
    differs = (
        "the number of weights is the budget, where the original finds the one that lowers the "
        "loss most for the time a round takes; the first mask is of the network trained so far, "
        "where the original prunes at one client first; squares are those of the round before an "
        "adaptation, where the original's clients stay and gather several rounds; the mask stands "
        "in the second half of the rounds that are left, where the original adapts to the end"
    )

    class Settings(Trained.Settings):
        """The runs that are followed, and how often the mask is adapted."""

        interval: int = Field(2, ge=1, description="rounds between adaptations")
        exchange: float = Field(
            0.3,
            ge=0,
            le=1,
            description="share of a layer's weights in use, the smallest, that others may replace",
        )

    def span_of(self, left: int) -> int:
        """Half of the rounds that are left."""
        return max(1, left // 2)

    def _adapts(self, server_round: int) -> bool:
        after = server_round - self.start
        return self.searching(server_round) and after > 0 and after % self.settings.interval == 0

    def ask(self, server_round: int) -> dict[str, str | float]:
        """The squares of the summed gradients, when the next round adapts."""
        return {"importance": "squared-gradients"} if self._adapts(server_round + 1) else {}

    def learn(
        self,
        server_round: int,
        architecture: Architecture,
        network: Network,
        answers: Mapping[str, Tensor],
    ) -> None:
        """The first mask by magnitude, the others by magnitude and importance."""
        magnitudes = {name: tensor.abs() for name, tensor in network.state_dict().items()}
        coming = server_round + 1
        if coming == self.start:
            self.keep(coming, magnitudes, self.reference.budget)
        elif self._adapts(coming):
            share = self.settings.exchange * 0.5 ** (server_round / HALF_LIFE)
            scores = {
                name: answers[name].masked_fill(stays(magnitudes[name], mask, share), torch.inf)
                for name, mask in (self.masks() or {}).items()
            }
            self.keep(coming, scores, self.reference.budget)


def stays(magnitudes: Tensor, mask: Tensor, share: float) -> Tensor:
    """Which weights in use do not compete: all but the smallest ``share`` of them."""
    in_use = int(mask.sum())
    used = magnitudes.masked_fill(~mask, -1).flatten()
    return largest(used, in_use - int(share * in_use)).view(mask.shape)
