"""SSFL: one mask for all, from the sensitivity of the first weights on all clients' data.

Source: Ohib et al. 2024, "SSFL: Discovering Sparse Unified Subnetworks at Initialization for
Efficient Federated Learning", and its published code (riohib/SSFL, api/sparsity), which has the
score of Lee et al. 2019 (SNIP): |w·dL/dw|, a plain mean over the clients, the largest of all
layers stay. Nothing is trained before.
"""

from collections.abc import Mapping

from torch import Tensor

from autoprune.methods._masked import Masked


class Method(Masked):
    """One shot, before the first round: all clients are sent the network and answer a number a
    weight, which is charged to that round.
    """

    variants = ("one-shot",)
    labels = {"one-shot": "SSFL"}
    differs = (
        "a client's score is the mean over all its batches, where the original takes one batch, "
        "or as many as it is told"
    )

    def ask_all(self, server_round: int) -> str:
        """The sensitivity of the initial weights, once."""
        return "sensitivity" if server_round == 1 else ""

    def learn_of_all(self, server_round: int, answers: Mapping[str, Tensor]) -> None:
        """Keep the most sensitive weights, from this round on."""
        self.keep(server_round, answers, self.reference.budget)

    def searching(self, server_round: int) -> bool:
        """Only in the round in which the mask comes into force."""
        return server_round == 1
