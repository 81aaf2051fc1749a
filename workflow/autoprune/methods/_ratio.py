"""What the methods share that prune filters down to a budget: how many at a time."""

from torch import Tensor

from autoprune.methods._trained import Trained
from autoprune.models import Architecture, cost
from autoprune.models.layers import Network
from autoprune.pruning.budget import cubic, uniform_widths
from autoprune.pruning.shrink import Kept, cut, group_scores, largest


class Ratio(Trained):
    """Filters go, weights stay. ``one-shot`` and ``classical`` prune once, ``iterative`` in several
    rounds, by the cubic schedule.
    """

    variants: tuple[str, ...] = ("one-shot", "iterative", "classical")

    def budget_of(self, server_round: int) -> int | None:
        """The parameters of this round; None when nothing is pruned in it."""
        if not self.searching(server_round):
            return None
        return cubic(cost(self.base), self.reference.budget, self.progress(server_round))

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Cut to this round's budget."""
        budget = self.budget_of(server_round)
        if budget is None or cost(architecture) <= budget:
            return architecture, network
        kept = self.choose(architecture, network, budget)
        architecture, network = cut(architecture, network.state_dict(), kept)
        self.record(server_round, architecture, kept)
        return architecture, network

    def choose(self, architecture: Architecture, network: Network, budget: int) -> Kept:
        """The filters that stay."""
        raise NotImplementedError


class Uniform(Ratio):
    """The same share of each layer; within a layer the filters with the largest scores stay."""

    def choose(self, architecture: Architecture, network: Network, budget: int) -> Kept:
        """The largest scores of each layer; no layer falls below its final width on the way."""
        final = uniform_widths(self.base, self.base.widths, self.reference.budget)
        widths = uniform_widths(self.base, architecture.widths, budget)
        return tuple(
            largest(group_scores(network, layer, self.score), max(width, least))
            for layer, (width, least) in enumerate(zip(widths, final, strict=True))
        )

    @staticmethod
    def score(kernel: Tensor) -> list[float]:
        """The score of each filter of a kernel (filter, channel, height, width)."""
        raise NotImplementedError
