"""Pruning in anybody's Flower app: the strategy AutoPrune; clients begin with ``received``."""

import copy
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from torch import Tensor, nn

from autoprune.core.errors import InputError
from autoprune.core.options import read
from autoprune.core.refusal import unknown
from autoprune.federation.arrays import COUNTS, load_arrays, same_shapes
from autoprune.federation.momenta import carry
from autoprune.federation.wire import arrays as to_arrays
from autoprune.federation.wire import tensors
from autoprune.models import Architecture, initialise
from autoprune.models.cuts import cut_module
from autoprune.models.factory import Traced
from autoprune.models.places import Kept
from autoprune.models.state import State
from autoprune.pruning.library import NET, answered, kept, own_name, own_names, traced
from autoprune.pruning.options import WEIGHTS
from autoprune.pruning.plan import Plan, Shrink
from autoprune.pruning.search import applied, began_anew, ruled, searching
from autoprune.pruning.settings import Rule

RECORD = "autoprune"  # of a message: layer -> the filters left of it, of layers that lost some
log = logging.getLogger("flwr")  # where Flower itself says what a strategy does


@dataclass(frozen=True)
class Given(Architecture):
    """That of a module at hand: ``family`` says of which class; nothing here could build it."""

    def __post_init__(self) -> None:
        """Any will do."""


class AutoPrune(Strategy):
    """A Flower strategy that shrinks the network while it trains, by the paper's rule.

    At the start of every round from the second on, filters whose L1 norm lies outside mean ± k·std
    of their layer leave the aggregate, until it has not shrunk for ``patience`` rounds or the rule
    was applied ``cap`` times. Clients are sent the smaller arrays and, in a ConfigRecord
    "autoprune", the filters that are left of each layer that lost some; ``received`` is their end.
    A reply with other arrays than were sent, or numbers that are not finite, is left out by name;
    a round that brings nothing keeps the network that was sent, and the rule waits.

    ``model`` maps floats (batch, ...) to one tensor; it is copied. ``example`` (batch, ...) is an
    input, of which the shape alone counts. ``k``: standard deviations. ``keep``: what becomes of
    the weights, see ``autoprune.pruning.plan.Plan``: "inherit" keeps those of the filters that stay
    (the paper's text), "reinit" draws fresh ones from ``seed`` at every shrink (the authors' code),
    "reinit-once", "rewind", "rewind-once". ``tails`` "low" removes small norms alone,
    ``statistics`` "pooled" takes one mean and std over all layers. With ``linear`` linear layers
    lose units. ``strategy`` aggregates and chooses clients, FedAdam say, and its momenta are cut
    too; without one it is FedAvg with the ``fedavg`` arguments. Raises InputError for settings out
    of range and for a network of which nothing can go, with the reasons. Sources: arXiv 2411.01759,
    and torch-pruning's dependency graph.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        k: float,
        patience: int = 3,
        cap: int = 50,
        keep: str = "inherit",
        tails: str = "both",
        statistics: str = "layer",
        linear: bool = False,
        seed: int = 0,
        strategy: Strategy | None = None,
        **fedavg: Any,
    ) -> None:
        given = {"k": k, "patience": patience, "cap": cap, "tails": tails, "statistics": statistics}
        rule = read(Rule, given)
        if keep not in WEIGHTS:
            raise InputError(f"keep: {unknown('variant', keep, WEIGHTS)}")
        if strategy and fedavg:
            raise InputError(f"{', '.join(fedavg)}: given beside a strategy; give it to that one")
        named = model.named_parameters(remove_duplicate=False)
        if len(list(named)) != len(list(model.parameters())):
            raise InputError("model: a parameter stands in it under two names; share its layer")
        network, self.refused = traced(copy.deepcopy(model).cpu(), example, linear=linear)
        if not network.prunable:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.refused.items())
            raise InputError(f"model: no layer can lose filters ({reasons or 'none found'})")
        self.strategy = strategy or FedAvg(**fedavg)
        self._network = network
        base = Given(
            f"{type(model).__module__}:{type(model).__qualname__}",
            network.places.widths,
            cast(tuple[int, int, int], network.input_shape),
            answered(network)[0].numel(),
        )
        options = (rule.k, rule.patience, rule.cap, rule.tails, rule.statistics)
        self._plan = Plan(base, keep, seed, *options)
        self._first: Traced | None = None  # the network of the first round, where weights rewind to
        self._sent = ArrayRecord()
        self._trained = False  # whether the weights in hand came from clients

    @property
    def plan(self) -> dict[str, Any]:
        """The pruning plan so far, as plan.json holds it: plain JSON values."""
        return self._plan.to_json()

    @property
    def kept(self) -> dict[str, list[int]]:
        """The filters of the model that are left, ascending, of each prunable layer."""
        widths = zip(own_names(self._network), self._plan.base.widths, strict=True)
        return {name: list(range(width)) for name, width in widths} | kept(self.plan)

    def network(self, arrays: ArrayRecord | None = None) -> nn.Module:
        """A copy of the network as it is now, in evaluation mode, with its weights or ``arrays``.

        Raises InputError naming the array that has another shape.
        """
        network = copy.deepcopy(self._network.net).eval()
        if arrays is not None:
            load_arrays(network, arrays)
        return network

    def summary(self) -> None:
        """Log the settings, and what stays whole."""
        plan = self._plan
        log.info(
            "\t├──> AutoPrune: k %g, patience %d, cap %d, %s",
            plan.k,
            plan.patience,
            plan.cap,
            plan.weights,
        )
        for name, why in self.refused.items():
            log.info("\t│\tlayer %s stays whole: %s", name, why)
        self.strategy.summary()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Apply the rule to the aggregate, then what the strategy does with what is left."""
        load_arrays(self._network.net, arrays)
        self._first = self._first or copy.deepcopy(self._network)
        if self._trained and searching(self._plan, server_round):
            self._apply(server_round)
        self._trained = False
        self._sent = to_arrays(self._network.net.state_dict())
        return self._told(self.strategy.configure_train(server_round, self._sent, config, grid))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """What the strategy does; clients are told what is left."""
        return self._told(self.strategy.configure_evaluate(server_round, arrays, config, grid))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """What the strategy makes of the replies that have the arrays which were sent.

        Raises InputError when replies came and each of them has others.
        """
        usable, faults = list[Message](), list[str]()
        for reply in replies:
            if not reply.has_error() and (why := self._fault(reply.content)):
                faults.append(f"node {reply.metadata.src_node_id}: {why}")
                log.warning("round %d, %s; left out", server_round, faults[-1])
            else:
                usable.append(reply)
        if faults and not usable:
            raise InputError(
                f"round {server_round}: no reply can be averaged; {faults[0]}; "
                "clients must begin with autoprune.received(message, module)"
            )
        arrays, metrics = self.strategy.aggregate_train(server_round, usable)
        if arrays is None:
            return self._sent, metrics
        load_arrays(self._network.net, arrays)
        self._trained = True
        return arrays, metrics

    def aggregate_evaluate(
        self, server_round: int, replies: Iterable[Message]
    ) -> MetricRecord | None:
        """What the strategy does."""
        return self.strategy.aggregate_evaluate(server_round, replies)

    def _apply(self, server_round: int) -> None:
        """Apply the rule once; see ``autoprune.pruning.search.advance``."""
        plan, network = self._plan, self._network
        left, layers = ruled(plan, network)
        widths, names = tuple(map(len, left)), own_names(network)
        self._network = _cut(network, left)
        layers = tuple({**layer, "layer": name} for layer, name in zip(layers, names, strict=True))
        applied(plan, Shrink(server_round, layers, widths, _parameters(self._network.net)))
        if anew := began_anew(plan, server_round):
            assert self._first is not None
            self._network = _cut(self._first, tuple(map(tuple, self.kept.values())))
            if plan.weights.startswith("reinit"):
                initialise(self._network, plan.seed, "reinit", server_round)

        def cut(kept_for_each: State) -> State:
            inside = {f"{NET}{name}": tensor for name, tensor in kept_for_each.items()}
            parts = network.places.cut(inside, left)
            if anew:  # weights that were set anew have no past
                parts = {name: torch.zeros_like(part) for name, part in parts.items()}
            return {name: parts[f"{NET}{name}"] for name in kept_for_each}

        if anew or widths != network.places.widths:
            carry(self.strategy, list(network.net.state_dict()), cut)

    def _told(self, messages: Iterable[Message]) -> list[Message]:
        """The messages, with what is left of each layer that lost filters."""
        whole = dict(zip(own_names(self._network), self._plan.base.widths, strict=True))
        lost = {name: left for name, left in self.kept.items() if len(left) < whole[name]}
        places = self._network.places
        counts = {own_name(n): places.widths[layer] for n, layer in places.counts.items()}
        told = list(messages)
        for message in told:
            message.content[RECORD] = ConfigRecord({**lost})
            if counts:
                message.content[COUNTS] = ConfigRecord({**counts})
        return told

    def _fault(self, content: RecordDict) -> str:
        """Why a reply's arrays cannot be averaged with those of others; "" if they can."""
        if len(content.array_records) != 1:
            return f"found {len(content.array_records)} array records, expected one"
        (record,) = content.array_records.values()
        try:
            brought = tensors(record)
            same_shapes(brought, tensors(self._sent))
        except InputError as error:
            return str(error)
        except (ValueError, TypeError) as error:  # of numpy, for what is no array
            return f"an array cannot be read ({error})"
        names = (name for name, tensor in brought.items() if not tensor.isfinite().all())
        wrong = next(names, "")
        return f"array {wrong}: not finite, its training diverged" if wrong else ""


def _cut(network: Traced, left: Kept) -> Traced:
    """A copy of a network with these filters of each prunable layer."""
    places, copied = network.places, copy.deepcopy(network)
    cut_module(copied, places, left)
    return Traced(copied.net, network.input_shape, network.prunable, places.left(left))


def _parameters(module: nn.Module) -> int:
    """Parameters and batch-norm statistics; what counts batches is none."""
    return sum(t.numel() for t in module.state_dict().values() if t.is_floating_point())
