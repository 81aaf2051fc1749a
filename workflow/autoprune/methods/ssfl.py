"""SSFL-like: one mask for all, from the sensitivity of the first weights on the clients' data.

After Ohib et al. 2023, "Sparse federated learning with salient subnetworks", and Lee et al. 2019
(SNIP). Ours differs, declared: the first round also trains, dense; the mask holds from round 2, and
comes from that round's clients, not from all.
"""

from collections.abc import Mapping

from torch import Tensor

from autoprune.methods._masked import Masked
from autoprune.models import Architecture
from autoprune.models.layers import Network


class Method(Masked):
    """One shot; the clients' upload of a number a weight is charged."""

    variants = ("one-shot",)

    def ask(self, server_round: int) -> dict[str, str | float]:
        """The sensitivity of the initial weights, once."""
        return {"importance": "sensitivity", "when": "before"} if server_round == 1 else {}

    def learn(
        self,
        server_round: int,
        architecture: Architecture,
        network: Network,
        answers: Mapping[str, Tensor],
    ) -> None:
        """Keep the most sensitive weights."""
        if server_round == 1:
            self.keep(2, answers, self.reference.budget)

    def searching(self, server_round: int) -> bool:
        """Only in the round in which the mask comes into force."""
        return server_round == 2
