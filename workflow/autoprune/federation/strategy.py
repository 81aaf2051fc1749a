"""The Strategy: Flower's FedAvg with seeded cohorts and an average that has one order."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from flwr.app import (
    ArrayRecord,
    ConfigRecord,
    Message,
    MessageType,
    MetricRecord,
    RecordDict,
)
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from autoprune.core.seeds import generator
from autoprune.federation.batch_norm import pooled
from autoprune.federation.communication import Traffic
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.messages import OPTIMIZER, REFRESH, Statistics, Update, instruction
from autoprune.federation.replies import fault_of, read_refreshed, read_update, reason_of
from autoprune.federation.training import answer_shapes
from autoprune.federation.wire import Dense, tensors
from autoprune.federation.wire import arrays as to_arrays
from autoprune.models import Architecture, build
from autoprune.models.state import Shapes, State, shapes, unflat

QUESTION_TIMEOUT = 120  # seconds; a runtime that has crashed never answers

R = TypeVar("R", Update, Statistics)


class TooFewClients(RuntimeError):
    """A round has fewer usable replies than ``min_clients``; the message says what failed."""


def cohort(seed: int, server_round: int, clients: int, size: int) -> list[int]:
    """The clients of a round, ascending: a function of (seed, round) and of how many there are.

    So methods that are compared at one seed see the same cohorts.
    """
    size = min(size, clients)
    chosen = generator(seed, "cohort", server_round).choice(clients, size, replace=False)
    return sorted(int(client) for client in chosen)


def weighted_mean(updates: list[Update]) -> dict[str, torch.Tensor]:
    """The clients' weights averaged by their number of examples (McMahan et al. 2017, FedAvg).

    Batch-norm statistics are averaged alike. Summed in float64 in the order given, then rounded
    once to the tensors' type: the mean of equal clients is those clients, bit for bit.
    """
    return mean_of([(update.state, update.examples) for update in updates])


def mean_of(weighted: list[tuple[dict[str, torch.Tensor], int]]) -> dict[str, torch.Tensor]:
    """The mean of named tensors, each set with its number of examples; see ``weighted_mean``."""
    total = sum(examples for _, examples in weighted)
    first = weighted[0][0]
    mean = {name: torch.zeros(tensor.shape, dtype=torch.float64) for name, tensor in first.items()}
    for state, examples in weighted:
        for name, tensor in state.items():
            mean[name].add_(tensor, alpha=examples / total)
    return {name: mean[name].to(tensor.dtype) for name, tensor in first.items()}


def partitions(grid: Grid) -> dict[int, int]:
    """The node of each partition, in the order of the partitions.

    LocalGrid knows it; on Flower's runtimes, whose node ids are drawn at random, each node is
    asked. Raises TooFewClients naming a node that does not say.
    """
    if isinstance(grid, LocalGrid):
        return dict(enumerate(grid.get_node_ids()))
    nodes = list(grid.get_node_ids())
    questions = [Message(RecordDict(), node, MessageType.QUERY) for node in nodes]
    found = {}
    for reply in grid.send_and_receive(questions, timeout=QUESTION_TIMEOUT):
        if reply.has_error():
            raise TooFewClients(f"node {reply.metadata.src_node_id}: {reason_of(reply)}")
        client = int(reply.content.config_records["client"]["partition-id"])  # type: ignore[arg-type]
        found[client] = reply.metadata.src_node_id
    if len(found) < len(nodes):
        raise TooFewClients(
            f"only {len(found)} of {len(nodes)} nodes said which partition is theirs"
        )
    return dict(sorted(found.items()))


class SeededFedAvg(FedAvg):
    """FedAvg whose cohorts and sums are reproducible, and which counts the bytes of each round.

    ``architecture`` is that of the weights in hand; the server sets it before each round. After a
    round, ``clients`` are the cohort, ``failures`` those of it that were left out, with reasons,
    and ``answers`` the mean of what the others were asked for (``ask``) besides their weights.
    ``wire`` encodes the weights, ``traffic`` counts the round's bytes.
    """

    def __init__(
        self,
        architecture: Architecture,
        clients_per_round: int,
        min_clients: int,
        seed: int,
        wire: Dense | None = None,
    ) -> None:
        super().__init__(fraction_evaluate=0.0, min_evaluate_nodes=0)
        self.architecture = architecture
        self.wire = wire or Dense()
        self.ask: dict[str, str | float] = {}
        self.answers: dict[str, torch.Tensor] = {}
        self.clients_per_round = clients_per_round
        self.min_clients = min_clients
        self.seed = seed
        self.traffic = Traffic()
        self.clients: list[int] = []
        self.failures: dict[int, str] = {}
        self._nodes: dict[int, int] = {}
        self._like: State = {}
        self._sent = torch.empty(0)
        self._asked: Shapes = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each client of the cohort, all with the same weights."""
        self._nodes = self._nodes or partitions(grid)
        self.clients = cohort(self.seed, server_round, len(self._nodes), self.clients_per_round)
        self.traffic = Traffic()
        self._like = tensors(arrays)
        self._sent = self.wire.outgoing(self._like)
        kind = str(self.ask.get("importance", ""))
        self._asked = answer_shapes(kind, build(self.architecture)) if kind else {}
        content = instruction(self.architecture, self._sent, server_round, self.ask)
        return self._messages(content, MessageType.TRAIN, server_round)

    def configure_refresh(self, server_round: int, arrays: ArrayRecord) -> list[Message]:
        """One message for each client of the round's cohort, with the aggregate to be measured.

        It travels as for training, and its bytes are the round's as well.
        """
        sent = self.wire.outgoing(tensors(arrays))
        content = instruction(self.architecture, sent, server_round)
        return self._messages(content, REFRESH, server_round)

    def _messages(self, content: RecordDict, kind: str, server_round: int) -> list[Message]:
        """The content, with what each client needs besides, to the cohort; counts the bytes."""
        contents: dict[
            tuple[str, ...], RecordDict
        ] = {}  # few: clients that need the same share one
        messages = []
        for client in self.clients:
            notes = self.wire.notes(client)
            key = tuple(notes)
            if key not in contents:
                contents[key] = RecordDict({**content, **notes})
            self.traffic.down(contents[key])
            node, group = self._nodes[client], str(server_round)
            messages.append(Message(contents[key], node, kind, group_id=group))
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The weighted mean of the usable replies, in the order of the clients' numbers.

        A client that raised, did not answer, or sent arrays of another length or type or with
        non-finite numbers, be it as weights or as answers, is left out and recorded in
        ``failures``. Raises TooFewClients when fewer than ``min_clients`` remain.
        """
        updates, self.failures = self._usable(replies, self.read)
        if len(updates) < self.min_clients:
            first = next(iter(self.failures.items()), None)
            why = f"; client {first[0]}: {first[1]}" if first else ""
            raise TooFewClients(
                f"round {server_round}: {len(updates)} usable replies of {len(self.clients)}, "
                f"min_clients is {self.min_clients}{why}"
            )
        examples = sum(update.examples for update in updates)
        loss = sum(update.train_loss * update.examples for update in updates) / examples
        self.answers = mean_of([(update.answers, update.examples) for update in updates])
        metrics = MetricRecord({"num-examples": examples, "train-loss": loss})
        return to_arrays(weighted_mean(updates)), metrics

    def read(self, content: RecordDict) -> Update:
        """The update in a reply; raises Unusable, KeyError, TypeError or ValueError."""
        return read_update(content, self._sent, self.wire, self._like, self._asked)

    def aggregate_refresh(self, replies: Iterable[Message], like: State) -> dict[str, torch.Tensor]:
        """The batch-norm statistics of the usable replies, pooled; ``like`` has their shapes.

        Failures join the round's, with "refresh: " before the reason. Empty when all failed.
        """
        numbers = sum(tensor.numel() for tensor in like.values())
        usable, failures = self._usable(replies, lambda content: read_refreshed(content, numbers))
        for client, reason in failures.items():
            self.failures.setdefault(client, f"refresh: {reason}")
        self.failures = dict(sorted(self.failures.items()))
        found = [(unflat(own.values, shapes(like)), own.examples) for own in usable]
        return pooled(found) if found else {}

    def _usable(
        self, replies: Iterable[Message], read: Callable[[RecordDict], R]
    ) -> tuple[list[R], dict[int, str]]:
        """Replies that can be read, in the order of the clients, and what is wrong with others.

        Counts the bytes of all that came, and tells the wire who holds what was sent.
        """
        client_of = {node: client for client, node in self._nodes.items()}
        failures = dict.fromkeys(self.clients, "no reply in time")
        usable = []
        for message in replies:
            client = client_of[message.metadata.src_node_id]
            if message.has_error():
                failures[client] = reason_of(message)
                continue
            self.traffic.up(without_optimizer(message.content))
            try:
                usable.append(read(message.content))
            except (KeyError, TypeError, ValueError) as error:
                failures[client] = fault_of(error)
            else:
                del failures[client]
                self.wire.arrived(client)
        for client in failures:
            self.wire.lost(client)
        return sorted(usable, key=lambda found: found.client), dict(sorted(failures.items()))


def without_optimizer(content: RecordDict) -> RecordDict:
    """A message without the optimizer's state: an accident of simulations, nothing that is sent."""
    return RecordDict({name: record for name, record in content.items() if name != OPTIMIZER})
