"""The search: apply the rule each round until it stops paying, then leave the network alone."""

from autoprune.models import Architecture, count_parameters, new_network
from autoprune.models.layers import Network
from autoprune.pruning.options import ANEW, ONCE
from autoprune.pruning.plan import Plan, Shrink, layer_record, restarted, shrunk
from autoprune.pruning.rule import Boundaries
from autoprune.pruning.shrink import decide, inherited_filters, layer_norms
from autoprune.pruning.target import Aim, decided, step


def advance(
    plan: Plan,
    server_round: int,
    architecture: Architecture,
    network: Network,
    aim: Aim | None = None,
) -> tuple[Architecture, Network]:
    """What the server does to the network at the start of ``server_round`` (1, 2, ...).

    While the search is on and the round is not the first, apply the rule and append to ``plan``.
    The search stops after ``plan.patience`` applications in a row in which the total parameter
    count did not fall, or after ``plan.cap`` applications. Where it did not fall, the trained
    network goes on, whatever the variant, as in the authors' code. Source: method.md. With an
    ``aim`` each application chooses its k so that the cap's last lands on the target, where the
    search ends; patience then says nothing.
    """
    if not searching(plan, server_round):
        return architecture, network
    judged = judged_network(plan, server_round, architecture, network)
    k, decisions = choice(plan, judged, aim)
    kept = inherited_filters(judged, decisions)
    architecture, network = shrunk(plan, server_round, architecture, network, kept)
    layers = tuple(
        layer_record(name, decision, indices)
        for name, decision, indices in zip(network.prunable, decisions, kept, strict=True)
    )
    total = count_parameters(network)[1]
    reached = None if aim is None else float(aim.cost(architecture.widths))
    plan.shrinks.append(Shrink(server_round, layers, architecture.widths, total, k, reached))
    if aim is not None:
        if len(plan.shrinks) >= plan.cap or aim.off(architecture.widths) <= 0:
            plan.stopped = {"round": server_round, "reason": "target"}
    elif stalled(plan) >= plan.patience:
        plan.stopped = {"round": server_round, "reason": "patience"}
    elif len(plan.shrinks) >= plan.cap:
        plan.stopped = {"round": server_round, "reason": "cap"}
    return architecture, restarted(plan, architecture, network)


def choice(plan: Plan, judged: Network, aim: Aim | None) -> tuple[float | None, list[Boundaries]]:
    """The decisions of this application, and its k where that is chosen on the way."""
    if aim is None:
        assert plan.k is not None  # a plan has a k or a target
        return None, decide(judged, plan.k, plan.tails, plan.statistics)
    norms = layer_norms(judged, plan.statistics)
    widths = step(aim, norms, plan.statistics, len(plan.shrinks) + 1, plan.cap)
    return decided(norms, widths, plan.statistics)


def judged_network(
    plan: Plan, server_round: int, architecture: Architecture, network: Network
) -> Network:
    """The network whose norms decide: the trained one, or one that learnt nothing.

    ``plan.norms`` "null-fresh" draws a random network of the current widths for every
    application, "null-kept" one that stays until filters go. Each variant draws its own, so that
    two arms are two samples.
    """
    if plan.norms == "trained":
        return network
    drawn = server_round if plan.norms == "null-fresh" else last_fall(plan)
    return new_network(architecture, plan.seed, f"{plan.norms}-{plan.weights}", drawn)


def searching(plan: Plan, server_round: int) -> bool:
    """Whether the server applies the rule at the start of this round: rounds 2 to cap + 1."""
    return plan.stopped is None and 1 < server_round <= plan.cap + 1


def stalled(plan: Plan) -> int:
    """Number of applications at the plan's end that did not lower the parameter count."""
    return sum(1 for shrink in plan.shrinks if shrink.round > last_fall(plan))


def last_fall(plan: Plan) -> int:
    """The last round at whose start the parameter count fell; 0 if it never did."""
    return max(falls(plan), default=0)


def falls(plan: Plan) -> list[int]:
    """The rounds at whose start the parameter count fell."""
    widths = [plan.base.widths, *(shrink.widths for shrink in plan.shrinks)]
    return [
        shrink.round
        for before, shrink in zip(widths[:-1], plan.shrinks, strict=True)
        if shrink.widths != before
    ]


def began_anew(plan: Plan, server_round: int) -> bool:
    """Whether the weights of this round did not come from the aggregate but were set anew."""
    if plan.weights in ONCE:
        return plan.stopped is not None and plan.stopped["round"] == server_round
    return plan.weights in ANEW and server_round in falls(plan)
