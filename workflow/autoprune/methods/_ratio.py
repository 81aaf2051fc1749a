"""What the methods share that prune filters down to a budget: when, and how many at a time."""

from torch import Tensor

from autoprune.methods._following import Following
from autoprune.models import Architecture
from autoprune.models.layers import Network
from autoprune.pruning.budget import Cost, cost, cubic, uniform_widths
from autoprune.pruning.shrink import Kept, cut, group_scores, largest


class Ratio(Following):
    """Filters go, weights stay. ``one-shot`` prunes in the round of the reference's last shrink,
    ``iterative`` in every round up to it, by the cubic schedule.
    """

    variants: tuple[str, ...] = ("one-shot", "iterative")
    count: Cost = staticmethod(cost)

    def budget_of(self, server_round: int) -> int | None:
        """The budget of this round; None when nothing is pruned in it."""
        stop, goal = self.reference.stop, self.goal()
        if self.variant == "one-shot":
            return goal if server_round == stop else None
        if not 1 < server_round <= stop:
            return None
        return cubic(self.count(self.base), goal, (server_round - 1) / (stop - 1))

    def goal(self) -> int:
        """The final budget, in the unit of ``count``."""
        return self.reference.budget

    def searching(self, server_round: int) -> bool:
        """Up to the reference's last shrink."""
        return 1 < server_round <= self.reference.stop

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Cut to this round's budget."""
        budget = self.budget_of(server_round)
        if budget is None or self.count(architecture) <= budget:
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
        final = uniform_widths(self.base, self.base.widths, self.goal(), self.count)
        widths = uniform_widths(self.base, architecture.widths, budget, self.count)
        return tuple(
            largest(group_scores(network, layer, self.score), max(width, least))
            for layer, (width, least) in enumerate(zip(widths, final, strict=True))
        )

    @staticmethod
    def score(kernel: Tensor) -> list[float]:
        """The score of each filter of a kernel (filter, channel, height, width)."""
        raise NotImplementedError
