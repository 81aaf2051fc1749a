"""The Strategy: Flower's FedAvg with seeded cohorts and an average that has one order."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

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

from autoprune import communication
from autoprune.federation.encoding import State
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.messages import OPTIMIZER, Update, instruction, read_reply
from autoprune.federation.training import answer_shapes
from autoprune.federation.wire import Dense, tensors
from autoprune.federation.wire import arrays as to_arrays
from autoprune.models import Architecture, build
from autoprune.seeds import generator

QUESTION_TIMEOUT = 120  # seconds; a runtime that has crashed never answers

Shapes = Mapping[str, tuple[int, ...]]


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


def reason_of(reply: Message) -> str:
    """The last line of an error reply, where Python puts what was raised."""
    lines = str(reply.error.reason).strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"


def fault(update: Update, sent: Shapes, asked: Shapes) -> str:
    """What makes a reply unusable, in a few words; "" when nothing does.

    ``sent`` are the shapes of the arrays that went out, ``asked`` those of the answers wanted.
    """
    if found := misfit(update.state, sent):
        return found
    if not finite(update.state):
        return "weights are not finite: its training diverged"
    if update.examples < 1:
        return f"trained on {update.examples} examples"
    if asked and not update.answers:
        return "the importance that was asked for is missing"
    if found := misfit(update.answers, asked):
        return f"importance: {found}"
    return "" if finite(update.answers) else "importance is not finite"


def misfit(found: State, expected: Shapes) -> str:
    """Which names or shapes of the tensors are not those expected; "" when all are."""
    if found.keys() != expected.keys():
        return f"arrays {sorted(found.keys() ^ expected.keys())} are missing or were not asked for"
    for name, tensor in found.items():
        if tuple(tensor.shape) != expected[name]:
            return f"{name} has shape {tuple(tensor.shape)}, expected {expected[name]}"
    return ""


def finite(state: State) -> bool:
    """Whether all numbers are neither infinite nor NaN."""
    return all(bool(tensor.isfinite().all()) for tensor in state.values())


class SeededFedAvg(FedAvg):
    """FedAvg whose cohorts and sums are reproducible, and which counts the bytes of each round.

    ``architecture`` is that of the weights in hand; the server sets it before each round. After a
    round, ``clients`` are the cohort, ``failures`` those of it that were left out, with reasons,
    and ``answers`` the mean of what the others were asked for (``ask``) besides their weights.
    ``wire`` encodes the weights.
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
        self.bytes_down = 0
        self.bytes_up = 0
        self.clients: list[int] = []
        self.failures: dict[int, str] = {}
        self._nodes: dict[int, int] = {}
        self._sent: Shapes = {}
        self._asked: Shapes = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each client of the cohort, all with the same weights."""
        self._nodes = self._nodes or partitions(grid)
        self.clients = cohort(self.seed, server_round, len(self._nodes), self.clients_per_round)
        sent = self.wire.outgoing(tensors(arrays))
        self._sent = {name: tuple(tensor.shape) for name, tensor in sent.items()}
        kind = str(self.ask.get("importance", ""))
        self._asked = answer_shapes(kind, build(self.architecture)) if kind else {}
        content = instruction(self.architecture, to_arrays(sent), server_round, self.ask)
        contents: dict[
            tuple[str, ...], RecordDict
        ] = {}  # few: clients that need the same share one
        messages = []
        self.bytes_down = 0
        for client in self.clients:
            notes = self.wire.notes(client)
            key = tuple(notes)
            if key not in contents:
                contents[key] = RecordDict({**content, **notes})
            self.bytes_down += communication.size(contents[key])
            messages.append(
                Message(
                    contents[key],
                    self._nodes[client],
                    MessageType.TRAIN,
                    group_id=str(server_round),
                )
            )
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The weighted mean of the usable replies, in the order of the clients' numbers.

        A client that raised, did not answer, or sent other names, shapes or non-finite numbers,
        be it as weights or as answers, is left out and recorded in ``failures``. Raises
        TooFewClients when fewer than ``min_clients`` remain.
        """
        client_of = {node: client for client, node in self._nodes.items()}
        self.failures = dict.fromkeys(self.clients, "no reply in time")
        self.bytes_up = 0
        updates = []
        for message in replies:
            client = client_of[message.metadata.src_node_id]
            if message.has_error():
                self.failures[client] = reason_of(message)
                continue
            self.bytes_up += communication.size(without_optimizer(message.content))
            update, unusable = self._read(message)
            if update is None:
                self.failures[client] = unusable
            else:
                del self.failures[client]
                self.wire.arrived(client)
                updates.append(update)
        self.failures = dict(sorted(self.failures.items()))
        for client in self.failures:
            self.wire.lost(client)
        if len(updates) < self.min_clients:
            first = next(iter(self.failures.items()), None)
            why = f"; client {first[0]}: {first[1]}" if first else ""
            raise TooFewClients(
                f"round {server_round}: {len(updates)} usable replies of {len(self.clients)}, "
                f"min_clients is {self.min_clients}{why}"
            )
        updates.sort(key=lambda update: update.client)
        examples = sum(update.examples for update in updates)
        loss = sum(update.train_loss * update.examples for update in updates) / examples
        self.answers = mean_of([(update.answers, update.examples) for update in updates])
        metrics = MetricRecord({"num-examples": examples, "train-loss": loss})
        return to_arrays(weighted_mean(updates)), metrics

    def _read(self, message: Message) -> tuple[Update | None, str]:
        """A reply's update, or None and what is wrong with it."""
        try:
            update = read_reply(message.content)
            if unusable := fault(update, self._sent, self._asked):
                return None, unusable  # and not decoded: its arrays may be anything
            return replace(update, state=self.wire.incoming(update.state)), ""
        except (KeyError, TypeError, ValueError) as error:
            return None, f"reply cannot be read: {type(error).__name__}: {error}"


def without_optimizer(content: RecordDict) -> RecordDict:
    """A message without the optimizer's state: an accident of simulations, nothing that is sent."""
    return RecordDict({name: record for name, record in content.items() if name != OPTIMIZER})
