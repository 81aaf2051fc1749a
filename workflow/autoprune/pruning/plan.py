"""The pruning plan: every shrink of a run as JSON, enough to repeat it from the base network."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch

from autoprune.core.errors import InputError
from autoprune.core.options import WrongValue, read
from autoprune.models import Architecture, build, cost, load_state, new_network
from autoprune.models.layers import Network
from autoprune.pruning.options import WEIGHTS
from autoprune.pruning.record import check_cuts
from autoprune.pruning.rule import Boundaries, boundaries
from autoprune.pruning.settings import Rule
from autoprune.pruning.shrink import Kept, cut
from autoprune.pruning.target import decided

SCHEMA_VERSION = 4


OPTIONS = ("weights", "seed", "k", "patience", "cap", "tails", "statistics", "norms")


@dataclass(frozen=True)
class Shrink:
    """One application of the rule, at the start of round ``round``.

    ``kept`` are the filters whose weights stay (``inherit``) or would (``reinit``), all of them
    where none went;
    ``parameters`` counts batch-norm statistics too, as the patience rule does. With a target ``k``
    is the one that was chosen, and ``cost`` what is left of what the target is of.
    """

    round: int
    layers: tuple[dict[str, Any], ...]
    widths: tuple[int, ...]
    parameters: int
    k: float | None = None
    cost: float | None = None

    @property
    def kept(self) -> Kept:
        """Indices kept in each prunable convolution, into the network before this shrink."""
        return tuple(tuple(layer["kept"]) for layer in self.layers)


def layer_record(name: str, decision: Boundaries, kept: tuple[int, ...]) -> dict[str, Any]:
    """One layer's entry in a shrink: the scores, their statistics, boundaries, the kept indices."""
    return {
        "layer": name,
        "mean": decision.mean,
        "std": decision.std,
        "lower": decision.lower,
        "upper": decision.upper,
        "kept": list(kept),
        "scores": list(decision.scores),
    }


@dataclass
class Plan:
    """The base network and every shrink from it on; ``stopped`` says when and why the search ended.

    ``seed`` is the run's: fresh weights are drawn from (seed, round). ``weights`` is one of

    - ``reinit``: fresh weights wherever the network shrinks, as the authors' code does; where it
      does not, the trained ones go on;
    - ``inherit``: the filters that stay keep their trained weights;
    - ``reinit-once``: as ``inherit`` while the search lasts, fresh weights when it stops;
    - ``rewind``: wherever the network shrinks, the filters that stay go back to their initial
      weights (Frankle & Carbin 2019);
    - ``rewind-once``: as ``inherit`` while the search lasts, initial weights when it stops.

    ``norms`` says whose norms the rule is fed, see ``search.judged_network``. Where ``k`` is None
    there is a ``target``: {"of", "value", "multiple"}, see ``target.Aim``.
    """

    base: Architecture
    weights: str
    seed: int
    k: float | None
    patience: int
    cap: int
    tails: str = "both"
    statistics: str = "layer"
    norms: str = "trained"
    target: dict[str, Any] | None = None
    shrinks: list[Shrink] = field(default_factory=list)
    stopped: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; ``from_json`` is the inverse."""
        return {
            "schema_version": SCHEMA_VERSION,
            "base": self.base.to_json(),
            **{name: getattr(self, name) for name in OPTIONS},
            **({"target": self.target} if self.target else {}),
            "stopped": self.stopped,
            "shrinks": [
                {name: value for name, value in asdict(shrink).items() if value is not None}
                for shrink in self.shrinks
            ],
        }

    @staticmethod
    def from_json(value: Any, where: str = "plan") -> "Plan":
        """From ``to_json``'s value; raises InputError on another schema or a missing key, and
        where the plan contradicts itself.
        """
        if check_cuts(value, where).get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{where}: schema_version is {value.get('schema_version')!r}, expected "
                f"{SCHEMA_VERSION}; make the plan again with this version"
            )
        try:
            shrinks = [
                Shrink(
                    *(s["round"], tuple(s["layers"]), tuple(s["widths"]), s["parameters"]),
                    *(s.get("k"), s.get("cost")),
                )
                for s in value["shrinks"]
            ]
            plan = Plan(
                Architecture.from_json(value["base"], where),
                **{name: value[name] for name in OPTIONS},
                target=value.get("target"),
                shrinks=shrinks,
                stopped=value["stopped"],
            )
            read(Rule, _rule_of(value))
        except KeyError as error:
            raise InputError(f"{where}: key {error} is missing; make the plan again") from None
        except WrongValue as error:
            raise InputError(f"{where}: {error}; make the plan again") from None
        for step in shrinks:
            if step.parameters != (right := cost(plan.base.with_widths(step.widths))):
                raise InputError(
                    f"{where}: round {step.round} says {step.parameters} parameters, its widths "
                    f"have {right}; the plan was edited, train the run again"
                )
        for fault in _contradictions(plan):
            raise InputError(f"{where}: {fault}; the plan was edited, train the run again")
        return plan


def _rule_of(value: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the rule that a plan's value tells; raises KeyError."""
    told = {name: value[name] for name in ("k", "patience", "cap", "tails", "statistics")}
    if target := value.get("target"):
        told |= {f"target_{target['of']}": target["value"], "width_multiple": target["multiple"]}
        told |= {"latency_table": "known"} if target["of"] == "latency_ms" else {}
    return told


def _ruled(plan: Plan, step: Shrink, norms: list[list[float]]) -> tuple[Any, list[Boundaries]]:
    """The k of a shrink and the rule's decisions by its scores; k None where it is the plan's."""
    if plan.k is None:
        return decided(norms, step.widths, plan.statistics)
    pooled = None if plan.statistics == "layer" else [s for of in norms for s in of]
    return None, [boundaries(of_layer, plan.k, plan.tails, pooled) for of_layer in norms]


def _contradictions(plan: Plan) -> Iterator[str]:
    """Where a shrink kept other filters than the rule keeps by the scores that it gives.

    Where k was chosen on the way, it must be that which leaves the widths. Of coupled
    convolutions, whose summed norms a plan does not have, the number is known alone.
    """
    with torch.device("meta"):
        network = build(plan.base)
    alone = [len(network.group(layer)) == 1 for layer in range(len(plan.base.widths))]
    for step in plan.shrinks:
        try:
            norms = [list(map(float, layer["scores"])) for layer in step.layers]
            k, ruled = _ruled(plan, step, norms)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            yield f"round {step.round}: no scores of all filters ({error!r})"
            return
        if k != step.k:
            yield f"round {step.round}: says k {step.k}, its scores and widths give {k}"
        for number, (layer, decision) in enumerate(zip(step.layers, ruled, strict=True)):
            at, kept = f"round {step.round}, layer {number + 1}", tuple(layer["kept"])
            if kept != decision.kept if alone[number] else len(kept) != len(decision.kept):
                which = list(decision.kept) if alone[number] else f"{len(decision.kept)} of them"
                yield f"{at}: kept {list(kept)}, its scores keep {which}"
            told = layer_record("", decision, kept)
            for name in ("mean", "std", "lower", "upper"):
                if layer.get(name) != told[name]:
                    yield f"{at}: says {name} {layer.get(name)}, its scores give {told[name]}"


def shrunk(
    plan: Plan, server_round: int, architecture: Architecture, network: Network, kept: Kept
) -> tuple[Architecture, Network]:
    """The network after a further shrink of ``plan`` that keeps ``kept``; see ``Plan.weights``.

    Where no filter goes it is the very network that was given. Raises InputError for unknown
    ``weights``.
    """
    if plan.weights not in WEIGHTS:
        raise InputError(f"weights: unknown {plan.weights!r}; known are {', '.join(WEIGHTS)}")
    smaller = architecture.with_widths([len(indices) for indices in kept])
    if smaller == architecture:
        return architecture, network
    if plan.weights == "reinit":
        return smaller, new_network(smaller, plan.seed, "reinit", server_round)
    if plan.weights == "rewind":
        return smaller, rewound(plan, kept)
    return cut(architecture, network.state_dict(), kept)


def rewound(plan: Plan, *further: Kept) -> Network:
    """The initial weights of the filters that all shrinks of ``plan``, and then ``further``, leave.

    The base network is drawn again from the plan's seed.
    """
    architecture, network = plan.base, new_network(plan.base, plan.seed)
    for indices in (*(shrink.kept for shrink in plan.shrinks), *further):
        architecture, network = cut(architecture, network.state_dict(), indices)
    return network


def restarted(plan: Plan, architecture: Architecture, network: Network) -> Network:
    """What training goes on with when the search has stopped: set anew in the variants ONCE."""
    if plan.stopped and plan.weights == "reinit-once":
        return new_network(architecture, plan.seed, "reinit", plan.stopped["round"])
    if plan.stopped and plan.weights == "rewind-once":
        return rewound(plan)
    return network


def replay(plan: Plan, state: Mapping[str, torch.Tensor]) -> tuple[Architecture, Network]:
    """Apply a plan's shrinks to the base network's ``state``, without training between them.

    Bit-exact: it makes the same cuts (``inherit``) or draws the same fresh weights (``reinit``)
    as the run did.
    """
    architecture = plan.base
    network = new_network(architecture, plan.seed)
    load_state(network, state)
    done = replace(plan, shrinks=[])
    for step in plan.shrinks:
        architecture, network = shrunk(done, step.round, architecture, network, step.kept)
        done.shrinks.append(step)
    return architecture, restarted(plan, architecture, network)
