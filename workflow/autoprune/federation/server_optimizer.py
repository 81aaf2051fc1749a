"""How the server makes new weights of its clients' where not by FedAvg: Flower's strategies."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from flwr.app import ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import strategy as strategies
from flwr.serverapp.strategy import FedAvg
from torch import Tensor

from autoprune.core.errors import InputError
from autoprune.federation.average import mean_of
from autoprune.federation.chosen import fit, make, parts, pick, subclasses
from autoprune.federation.messages import Update
from autoprune.federation.momenta import carry
from autoprune.federation.wire import arrays, tensors
from autoprune.methods import Base
from autoprune.models import Architecture, build
from autoprune.models.layers import Network
from autoprune.models.places import Kept
from autoprune.models.state import State

TREES = "is of gradient-boosted trees, and these are networks"
PRIVACY = "wraps another strategy in noise or clipping that clients would have to take part in"
REFUSED = {
    "FedProx": "is FedAvg at the server and a term at the clients; set training.proximal_mu",
    "FedXgbBagging": TREES,
    "FedXgbCyclic": TREES,
    **{name: PRIVACY for name in strategies.__all__ if name.startswith("DifferentialPrivacy")},
}
# these choose among clients' states or their numbers, batch-norm statistics included; all others
# take a step along the mean update, which is no gradient of a statistic
ROBUST = ("FedMedian", "FedTrimmedAvg", "Krum", "MultiKrum", "Bulyan")
# these step along the mean update alone; of any other, QFedAvg among them, Flower's code is given
# every update
OF_THE_MEAN = ("FedAdagrad", "FedAdam", "FedAvgM", "FedYogi")
# usable replies that f malicious ones among them take (Blanchard et al. 2017; El Mhamdi et al.
# 2018, which Flower's Bulyan asks for): factor of f, and what is added
QUORUM = {"Krum": (2, 3), "MultiKrum": (2, 3), "Bulyan": (4, 3)}
TAKEN = {
    **dict.fromkeys(inspect.signature(FedAvg).parameters, "cohorts and messages are not its own"),
    "eta_l": "Flower's server does not use it; the clients' rate is training.learning_rate",
    "selection_rule": "a configuration holds no functions",
    "train_loss_key": "messages are not its own",
}
# (at least, below), of numbers that Flower does not look at itself
RANGES = {
    **dict.fromkeys(("beta_1", "beta_2", "server_momentum"), (0.0, 1.0)),
    **dict.fromkeys(("num_malicious_nodes", "q"), (0.0, np.inf)),
    "num_nodes_to_select": (1.0, np.inf),
}
POSITIVE = ("eta", "tau", "server_learning_rate", "client_learning_rate")
LOSS = "train_loss"  # QFedAvg's name for it
BEGAN = "began"


def check(choice: Mapping[str, Any]) -> dict[str, Any]:
    """A strategy that is chosen, as it is kept: nothing for FedAvg, the default.

    Raises InputError for one that Flower does not have or that cannot work here, and for arguments
    that it does not take.
    """
    name, given = parts(choice, "strategy")
    kind = _kind(name)
    fit(kind, given, TAKEN)
    for key, value in given.items():
        least, below = RANGES.get(key, (-np.inf, np.inf))
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise InputError(f"{name}: {key}: found {value!r}, expected a number")
        if key.startswith("num_") and not isinstance(value, int):
            raise InputError(f"{name}: {key}: found {value}, expected a whole number")
        if key in POSITIVE and value <= 0:
            raise InputError(f"{name}: {key}: found {value:g}, expected a number above 0")
        if not least <= value < below:
            bounds = f"at least {least:g}" + (f" and below {below:g}" if below < np.inf else "")
            raise InputError(f"{name}: {key}: found {value:g}, expected {bounds}")
    make(kind, **given)
    return {} if name == "FedAvg" else dict(choice)


def _kind(name: str) -> type:
    known = subclasses(strategies, FedAvg, but=tuple(REFUSED))
    return pick("strategy", name, known, REFUSED)


class ServerOptimizer:
    """Flower's strategy of a run, of whose code the aggregation is used and nothing else.

    Who is asked, what counts as a reply and what travels is as with FedAvg. ``each``: whether it
    needs every update, and not only their mean. What the strategy
    remembers (``m_t``, ``v_t``, ``momentum_vector``) follows the network: see ``follow``.
    """

    def __init__(self, choice: Mapping[str, Any]) -> None:
        self.name, self._given = parts(choice, "strategy")
        self.each = self.name not in OF_THE_MEAN
        self.begin(1)

    def begin(self, server_round: int) -> None:
        """Remember nothing before this round, which is the strategy's first."""
        self._strategy: Any = make(_kind(self.name), **self._given)
        self._strategy.fraction_train = 0.0  # it notes the weights that are sent, and asks nobody
        self._began = server_round

    def require(self, min_clients: int) -> None:
        """Raise InputError unless so many replies are enough for it."""
        if self.name in QUORUM:
            factor, more = QUORUM[self.name]
            wanted = factor * self._strategy.num_malicious_nodes + more
            wanted = max(wanted, getattr(self._strategy, "num_nodes_to_select", 0))
            if min_clients < wanted:
                raise InputError(
                    f"server: {self.name} with num_malicious_nodes "
                    f"{self._strategy.num_malicious_nodes} needs {wanted} replies in each round; "
                    f"found min_clients {min_clients}, set it to {wanted} or more"
                )

    def aggregate(
        self, server_round: int, updates: Sequence[Update], sent: State, architecture: Architecture
    ) -> dict[str, Tensor]:
        """The new weights, of usable replies in the order of the clients and the weights sent.

        Unless it needs ``each``, their mean may stand for all of them.
        What is no parameter, such as batch norm's statistics, is averaged as by FedAvg, unless the
        strategy is ROBUST and has the whole state.
        """
        of = list(sent) if self.name in ROBUST else parameters(architecture)
        new = {} if self.name in ROBUST else mean_of([(u.state, u.examples) for u in updates])
        # FedAvgM goes on from its own last weights otherwise, whatever was done to them since
        self._strategy.current_arrays = None
        before = arrays({name: sent[name] for name in of})
        self._strategy.configure_train(1, before, ConfigRecord(), None)
        replies = [self._as_reply(update, of) for update in updates]
        found, _ = self._strategy.aggregate_train(server_round - self._began + 1, replies)
        # in float64 where NumPy made them so
        return new | {name: t.to(sent[name].dtype) for name, t in tensors(found).items()}

    @staticmethod
    def _as_reply(update: Update, names: Sequence[str]) -> Message:
        """A client's reply as Flower's strategies expect one."""
        metrics = MetricRecord({"num-examples": update.examples, LOSS: update.train_loss})
        of = arrays({name: update.state[name] for name in names})
        content = RecordDict({"arrays": of, "metrics": metrics})
        return Message(content, update.client + 1, MessageType.TRAIN)

    def _memory(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """What the strategy remembers by field and parameter."""
        found: dict[str, np.ndarray] = {}
        for field in ("m_t", "v_t", "momentum_vector"):
            values = getattr(self._strategy, field, None) or {}
            by_name = values if isinstance(values, dict) else dict(zip(names, values, strict=True))
            found |= {f"{field}/{name}": value for name, value in by_name.items()}
        return found

    def _set(self, memory: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
        """The inverse of ``_memory``."""
        for field in ("m_t", "v_t", "momentum_vector"):
            if f"{field}/{names[0]}" in memory:
                values = {name: memory[f"{field}/{name}"] for name in names}
                by_order = field == "momentum_vector"
                setattr(self._strategy, field, list(values.values()) if by_order else values)

    def memory(self, architecture: Architecture) -> dict[str, Tensor]:
        """What a resumed run needs; nothing where the strategy remembers nothing."""
        found = self._memory(parameters(architecture))
        values = {name: torch.from_numpy(value) for name, value in found.items()}
        return values and {**values, BEGAN: torch.tensor(self._began)}

    def restore(self, memory: State, architecture: Architecture) -> None:
        """Go on from ``memory``'s value."""
        if memory:
            self.begin(int(memory[BEGAN]))
            found = {name: value.numpy() for name, value in memory.items() if name != BEGAN}
            self._set(found, parameters(architecture))

    def follow(
        self,
        server_round: int,
        before: tuple[Architecture, State],
        after: tuple[Architecture, State],
        kept: Kept | None,
    ) -> None:
        """Do to the memory what was done to the network at the start of this round.

        ``kept`` are the filters that were kept, if it was cut. Where the weights are those of
        before, cut or with some set to 0, the memory is cut alike and goes on; where they are any
        others, such as ones drawn anew, or something is attached or gone, it begins anew with this
        round.
        """
        names = parameters(before[0])
        memory, expected = self._memory(names), before[1]
        if after[0] != before[0] and kept is not None:
            expected = build(before[0]).places.cut(before[1], kept)
        same = before[0].attached == after[0].attached
        if not memory or not same or not _went_on(expected, after[1], parameters(after[0])):
            self.begin(server_round)
        elif after[0] != before[0] and kept is not None:
            places = build(before[0]).places

            def cut(of_parameters: State) -> State:
                sliced = places.cut({**before[1], **of_parameters}, kept)
                return {name: sliced[name] for name in of_parameters}

            carry(self._strategy, names, cut)


def before_round(
    method: Base,
    server: ServerOptimizer | None,
    server_round: int,
    architecture: Architecture,
    network: Network,
) -> tuple[Architecture, Network]:
    """What the method makes of the network for this round; the server's memory follows it."""
    if server is None:
        return method.before_round(server_round, architecture, network)
    before = architecture, {name: tensor.clone() for name, tensor in network.state_dict().items()}
    architecture, network = method.before_round(server_round, architecture, network)
    kept = kept_in(method.to_json(), server_round)
    server.follow(server_round, before, (architecture, network.state_dict()), kept)
    return architecture, network


def parameters(architecture: Architecture) -> list[str]:
    """The names of a network's parameters, in its state's order: no batch-norm statistics."""
    network = build(architecture)
    trained = {name for name, _ in network.named_parameters()}
    return [name for name in network.state_dict() if name in trained]


def _went_on(expected: State, found: State, names: Sequence[str]) -> bool:
    """Whether weights are those that were expected, some of them perhaps set to 0."""
    return all(
        found[name].shape == expected[name].shape
        and bool(((found[name] == expected[name]) | (found[name] == 0)).all())
        for name in names
    )


def kept_in(memory: Mapping[str, Any], server_round: int) -> Kept | None:
    """The filters that a method kept at the start of a round, by what it remembers; None if none.

    Methods that cut note it in ``shrinks``, as the pruning plan does.
    """
    for shrink in reversed(memory.get("shrinks", ())):
        if shrink["round"] == server_round:
            return tuple(tuple(layer["kept"]) for layer in shrink["layers"])
    return None
