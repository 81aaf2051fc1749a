"""The search: apply the rule each round until it stops paying, then leave the network alone."""

from autoprune.models import Architecture, count_parameters, new_network
from autoprune.models.layers import Network
from autoprune.pruning.plan import Plan, Shrink, layer_record, restarted, shrunk
from autoprune.pruning.shrink import decide, inherited_filters


def advance(
    plan: Plan, server_round: int, architecture: Architecture, network: Network
) -> tuple[Architecture, Network]:
    """What the server does to the network at the start of ``server_round`` (1, 2, ...).

    While the search is on and the round is not the first, shrink by the rule and append to
    ``plan``. The search stops after ``plan.patience`` consecutive rounds in which the total
    parameter count did not fall, or after ``plan.cap`` rounds. Source: method.md. Each
    application counts as a shrink even if it removes nothing, so ``reinit`` draws fresh weights
    then too, as the authors' code does. A plan of ``norms`` "null" decides on the norms of a
    fresh random network of the same widths: the rule without what was learnt. Each variant draws
    its own, so that two arms are two samples.
    """
    if not searching(plan, server_round):
        return architecture, network
    judged = network
    if plan.norms == "null":
        judged = new_network(architecture, plan.seed, f"null-{plan.weights}", server_round)
    decisions = decide(judged, plan.k, plan.tails, plan.statistics)
    kept = inherited_filters(judged, decisions)
    architecture, network = shrunk(plan, server_round, architecture, network.state_dict(), kept)
    layers = tuple(
        layer_record(name, decision, indices)
        for name, decision, indices in zip(network.prunable, decisions, kept, strict=True)
    )
    total = count_parameters(network)[1]
    plan.shrinks.append(Shrink(server_round, layers, architecture.widths, total))
    if stalled(plan) >= plan.patience:
        plan.stopped = {"round": server_round, "reason": "patience"}
    elif server_round >= plan.cap:
        plan.stopped = {"round": server_round, "reason": "cap"}
    return architecture, restarted(plan, architecture, network)


def searching(plan: Plan, server_round: int) -> bool:
    """Whether the server shrinks at the start of this round."""
    return plan.stopped is None and 1 < server_round <= plan.cap


def stalled(plan: Plan) -> int:
    """Number of shrinks at the plan's end that did not lower the parameter count."""
    widths = [plan.base.widths, *(shrink.widths for shrink in plan.shrinks)]
    count = 0
    for before, after in zip(widths[-2::-1], widths[:0:-1], strict=True):
        if after != before:
            break
        count += 1
    return count
