"""PruneFL-like: a mask by magnitude, then again and again by the clients' squared gradients.

Source: Jiang et al. 2022, "Model Pruning Enables Efficient Federated Learning on Edge Devices":
the loss falls by about the sum of squared gradients of what is trained. In each layer the larger of
the weights in use stay; the smaller ones compete by squared gradients with those that are gone.
Ours differs, declared: the number of weights is the budget instead of what their model of training
time finds best; squared gradients are those of the round before an adaptation, as a cohort lasts
one round, where their clients stay and gather several; the share that competes is constant, where
theirs halves in 10,000 rounds; the mask is adapted up to the reference's last shrink only.
"""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.methods._following import Following
from autoprune.methods._masked import Masked
from autoprune.models import Architecture
from autoprune.models.layers import Network


class Method(Masked):
    """The upload of a number a weight is charged in the rounds before an adaptation."""

    variants = ("adaptive",)

    def __init__(
        self, base: Architecture, seed: int, variant: str, settings: dict[str, Any]
    ) -> None:
        super().__init__(base, seed, variant, settings)
        if not 0 <= settings["exchange"] <= 1:
            raise InputError(
                f"exchange: found {settings['exchange']}, expected a share of 0 to 1 of the weights"
            )

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """The run that is followed, and how often the mask is adapted."""
        Following.add_arguments(parser)
        parser.add_argument("--interval", type=int, default=2, help="rounds between adaptations")
        parser.add_argument(
            "--exchange",
            type=float,
            default=0.3,
            help="share of a layer's weights in use, the smallest, that others may replace",
        )

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
        """The first mask by magnitude, the others by magnitude and importance."""
        magnitudes = {name: tensor.abs() for name, tensor in network.state_dict().items()}
        if server_round == 1:
            self.keep(2, magnitudes, self.reference.budget)
        elif self._adapts(server_round + 1):
            scores = {
                name: answers[name].masked_fill(self._stays(magnitudes[name], mask), torch.inf)
                for name, mask in (self.masks() or {}).items()
            }
            self.keep(server_round + 1, scores, self.reference.budget)

    def _stays(self, magnitudes: Tensor, mask: Tensor) -> Tensor:
        """The weights in use that do not compete: all but the smallest share ``exchange``."""
        in_use = int(mask.sum())
        larger = magnitudes.masked_fill(~mask, -1).flatten().sort(descending=True, stable=True)
        stays = torch.zeros(mask.numel(), dtype=torch.bool)
        stays[larger.indices[: in_use - int(self.settings["exchange"] * in_use)]] = True
        return stays.view(mask.shape)
