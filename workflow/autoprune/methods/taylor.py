"""Taylor pruning: the filters whose removal changes the loss least, as the clients see it, go.

Source: Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", first order, with
a gate a filter: behind batch norm where there is one, else behind the convolution and its bias, as
in their LeNet. Coupled places share one gate.
"""

from collections.abc import Mapping

from torch import Tensor

from autoprune.methods._ratio import Ratio
from autoprune.models import Architecture, cost
from autoprune.models.layers import Network
from autoprune.pruning.budget import globally_largest
from autoprune.pruning.shrink import Kept, cut


class Method(Ratio):
    """The upload of a number a filter is charged in the rounds before a cut.

    Decides when the answers come in, and cuts at the start of the next round.
    """

    labels = {
        "one-shot": "Taylor, one shot",
        "classical": "Taylor, trained then pruned",
        "iterative": "Taylor, iterative",
    }

    differs = (
        "scores are one round's mean over its clients' batches, where the original smooths them "
        "over mini-batches and prunes every 30 of them; scores on a skip path are not divided by "
        "its number of blocks, as the original's code does; classical is not the original's form"
    )

    def ask(self, server_round: int) -> dict[str, str | float]:
        """The importance of each filter after local training, when the next round prunes."""
        return {} if self.budget_of(server_round + 1) is None else {"importance": "taylor"}

    def learn(
        self,
        server_round: int,
        architecture: Architecture,
        network: Network,
        answers: Mapping[str, Tensor],
    ) -> None:
        """Choose the filters of the next cut."""
        budget = self.budget_of(server_round + 1)
        if budget is None or cost(architecture) <= budget:
            return
        scores = [answers[name].tolist() for name in network.prunable]
        kept = globally_largest(architecture, scores, budget)
        smaller = architecture.with_widths([len(indices) for indices in kept])
        self.record(server_round + 1, smaller, kept)

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Make the cut that was decided on."""
        if not self.cuts or self.cuts[-1]["round"] != server_round:
            return architecture, network
        kept: Kept = tuple(tuple(layer["kept"]) for layer in self.cuts[-1]["layers"])
        return cut(architecture, network.state_dict(), kept)
