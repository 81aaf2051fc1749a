"""The Strategy: Flower's FedAvg with seeded cohorts and an average that has one order."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from autoprune.federation.average import Total, too_far
from autoprune.federation.batch_norm import Pool, possible
from autoprune.federation.cohort import cohort, in_order, partitions
from autoprune.federation.communication import Traffic
from autoprune.federation.importance import answer_shapes
from autoprune.federation.messages import (
    ASK,
    IMPORTANCE,
    REFRESH,
    STATISTICS,
    TEACHER,
    Measured,
    Unusable,
    Update,
    count,
    fault_of,
    instruction,
    moments_of,
    read_measured,
    read_update,
    reason_of,
    without_optimizer,
)
from autoprune.federation.replies import LATE, RAISED, REFUSED, Failure, Replies
from autoprune.federation.server_optimizer import ServerOptimizer
from autoprune.federation.wire import Dense, one, tensors
from autoprune.federation.wire import arrays as to_arrays
from autoprune.models import Architecture, build
from autoprune.models.state import Shapes, State, flat, shapes, unflat

AT_A_TIME = 64  # clients that are asked: Flower's grids hold all their answers in memory

R = TypeVar("R", Update, Measured)
Read = Callable[[RecordDict], R]
Take = Callable[[R], object]


class TooFewClients(RuntimeError):
    """A round has fewer usable replies than ``min_clients``; the message says what failed."""


class SeededFedAvg(FedAvg):
    """FedAvg whose cohorts and sums are reproducible, and which counts the bytes of each round.

    ``architecture`` is that of the weights in hand; the server sets it before each round. After a
    round, ``clients`` are the cohort, ``failures`` those that were left out, with reasons, and
    ``answers`` the mean of what the others were asked for (``ask``) besides their weights.
    ``teacher``: a state that goes to each of them beside the weights; none for none.
    ``wire`` encodes the weights; ``traffic`` counts the bytes since ``begin``, ``replies`` what
    became of its questions. ``sizes`` are the numbers of training images of all clients, against
    which replies are held; None where the server cannot know. ``max_update_ratio`` as in Settings.
    ``server`` makes the new weights; without one they are the mean.
    """

    def __init__(
        self,
        architecture: Architecture,
        clients_per_round: int,
        min_clients: int,
        seed: int,
        wire: Dense | None = None,
        sizes: Sequence[int] | None = None,
        max_update_ratio: float = 0,
        server: ServerOptimizer | None = None,
    ) -> None:
        super().__init__(fraction_evaluate=0.0, min_evaluate_nodes=0)
        self.architecture = architecture
        self.wire = wire or Dense()
        self.ask: dict[str, str | float] = {}
        self.teacher: State = {}
        self.answers: dict[str, torch.Tensor] = {}
        self.clients_per_round = clients_per_round
        self.min_clients = min_clients
        self.seed = seed
        self.sizes = sizes
        self.max_update_ratio = max_update_ratio
        self.server = server
        self.clients: list[int] = []
        self.carried: State = {}  # a fresh optimizer's, where each client's goes to the next
        self._nodes: dict[int, int] = {}
        self._like: State = {}
        self._sent = torch.empty(0)
        self._asked: Shapes = {}
        self.begin()

    def begin(self) -> None:
        """A round begins: nothing was sent in it and nobody has failed."""
        self.traffic, self.replies = Traffic(), Replies()
        self.failures: dict[int, str] = {}

    def ask_all(
        self, server_round: int, kind: str, state: State, grid: Grid, limit: float | None = None
    ) -> dict[str, torch.Tensor]:
        """Send all clients a state and have each answer the importance ``kind`` of its weights.

        Returns the mean of the answers, each client counting alike, in which nobody trains.
        ``limit``: seconds that every AT_A_TIME clients have; None for no limit.
        Raises TooFewClients when fewer than ``min_clients`` answer as they should.
        """
        self._nodes = self._nodes or partitions(grid)
        content = instruction(self.architecture, flat(state), server_round, {"importance": kind})
        asked = answer_shapes(kind, build(self.architecture))
        total = torch.zeros(count(asked), dtype=torch.float64)
        everybody = sorted(self._nodes)
        failed: dict[int, Failure] = {}
        for start in range(0, len(everybody), AT_A_TIME):
            clients = everybody[start : start + AT_A_TIME]
            messages = [self._message(client, content, ASK, server_round) for client in clients]
            failed |= self._usable(
                clients,
                grid.send_and_receive(messages, timeout=limit),
                lambda content: read_measured(content, IMPORTANCE, count(asked)),
                lambda answer: total.add_(answer.values),
            )
        self.replies.unanswered += len(failed)
        self._require(server_round, "answers", len(everybody), failed)
        return unflat((total / (len(everybody) - len(failed))).float(), asked)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        """One message for each client of the cohort, all with the same weights."""
        self._nodes = self._nodes or partitions(grid)
        self.clients = cohort(self.seed, server_round, len(self._nodes), self.clients_per_round)
        self._like = tensors(arrays)
        self._sent = self.wire.outgoing(self._like)
        kind = str(self.ask.get("importance", ""))
        self._asked = answer_shapes(kind, build(self.architecture)) if kind else {}
        content = instruction(self.architecture, self._sent, server_round, self.ask)
        if self.teacher:  # in the order of what is sent: a checkpoint has another
            of = {name: self.teacher[name] for name in self._like if name in self.teacher}
            content[TEACHER] = one(TEACHER, flat(of))
        return self._to_cohort(content, MessageType.TRAIN, server_round)

    def configure_refresh(self, server_round: int, state: State) -> list[Message]:
        """One message for each client of the round's cohort, with the aggregate to be measured.

        It travels as for training, and its bytes are the round's as well.
        """
        content = instruction(self.architecture, self.wire.outgoing(state), server_round)
        return self._to_cohort(content, REFRESH, server_round)

    def _to_cohort(self, content: RecordDict, kind: str, server_round: int) -> list[Message]:
        """The content, with what each client needs besides."""
        return [
            self._message(
                client, RecordDict({**content, **self.wire.notes(client)}), kind, server_round
            )
            for client in self.clients
        ]

    def _message(self, client: int, content: RecordDict, kind: str, server_round: int) -> Message:
        """A message whose bytes are counted."""
        self.traffic.down(content)
        return Message(content, self._nodes[client], kind, group_id=str(server_round))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord, MetricRecord]:
        """What is made of the usable replies, in the order of the clients: their weighted mean.

        A client that raised, did not answer, or sent arrays of another length or type or with
        non-finite numbers, be it as weights or as answers, is left out and recorded in
        ``failures``. Raises TooFewClients when fewer than ``min_clients`` remain. Each update is
        added to the sum as it comes; only a ``max_update_ratio``, which is of the median of all,
        and a server's strategy that chooses among clients need all of them in memory.
        """
        total, kept = Total(), list[Update]()
        each = self.server is not None and self.server.each
        take = kept.append if each or self.max_update_ratio else total.add
        failures = self._of_cohort(replies, self.read, take)
        if self.max_update_ratio:
            far = too_far(kept, self._like, self.max_update_ratio)
            failures |= {client: Failure(REFUSED, reason) for client, reason in far.items()}
            kept = [update for update in kept if update.client not in far]
        for update in kept:
            total.add(update)
        self.replies.count(total.clients, [failure.kind for failure in failures.values()])
        self._require(server_round, "replies", len(self.clients), failures)
        mean = total.mean()
        self.answers, new = mean.answers, mean.state
        if self.server:
            of = kept if each else [mean]
            new = self.server.aggregate(server_round, of, self._like, self.architecture)
            new = self.wire.within(new)
        metrics = MetricRecord({"num-examples": mean.examples, "train-loss": mean.train_loss})
        return to_arrays(new), metrics

    def read(self, content: RecordDict) -> Update:
        """The update in a reply; raises Unusable, KeyError, TypeError or ValueError."""
        if self.carried:
            moments_of(content, self.carried)
        return read_update(content, self._sent, self.wire, self._like, self._asked)

    def usable(self, content: RecordDict) -> bool:
        """Whether a reply is one that the next client may go on from."""
        try:
            self.read(content)
        except Exception:  # as in _usable, which says what is wrong with it
            return False
        return True

    def aggregate_refresh(self, replies: Iterable[Message], like: State) -> dict[str, torch.Tensor]:
        """The batch-norm statistics of the usable replies, pooled; ``like`` has their shapes.

        Failures join the round's, with "refresh: " before the reason. Empty when all failed.
        """
        of = shapes(like)

        def read(content: RecordDict) -> Measured:
            found = read_measured(content, STATISTICS, count(of))
            if not possible(unflat(found.values, of)):
                raise Unusable("statistics: a variance below 0, or numbers beyond all bounds")
            return found

        pool = Pool()
        failures = self._of_cohort(
            replies, read, lambda own: pool.add(unflat(own.values, of), own.examples)
        )
        self.replies.unanswered += len(failures)
        refreshed = {client: f"refresh: {why.reason}" for client, why in failures.items()}
        self.failures = dict(sorted((refreshed | self.failures).items()))
        return pool.value()

    def _require(self, server_round: int, what: str, of: int, failures: dict[int, Failure]) -> None:
        """Record the failures; raise TooFewClients unless ``min_clients`` are left."""
        self.failures |= {client: failure.reason for client, failure in sorted(failures.items())}
        usable = of - len(failures)
        if usable < self.min_clients:
            first = next(iter(self.failures.items()), None)
            why = f"; client {first[0]}: {first[1]}" if first else ""
            raise TooFewClients(
                f"round {server_round}: {usable} usable {what} of {of}, "
                f"min_clients is {self.min_clients}{why}"
            )

    def _of_cohort(
        self, replies: Iterable[Message], read: Read[R], take: Take[R]
    ) -> dict[int, Failure]:
        """``_usable`` of the cohort's replies; tells the wire who holds what was sent."""
        failures = self._usable(self.clients, replies, read, take)
        for client in self.clients:
            tell = self.wire.lost if client in failures else self.wire.arrived
            tell(client)
        return failures

    def _usable(
        self, clients: list[int], replies: Iterable[Message], read: Read[R], take: Take[R]
    ) -> dict[int, Failure]:
        """``take`` the replies that can be read, in the order of the clients; what others lack.

        Counts the bytes of all that came. Whatever a client sends costs nobody but that client its
        round; what a node sends that was not asked, or sends again, counts for nothing.
        """
        waiting = {self._nodes[client]: client for client in clients}
        failures = dict.fromkeys(clients, Failure(LATE, "no reply in time"))
        for message in in_order(replies, list(waiting)):
            client = waiting.pop(message.metadata.src_node_id, None)
            if client is None:
                node = message.metadata.src_node_id
                print(f"node {node}: a reply that was not asked for; left out", file=sys.stderr)
                continue
            if message.has_error():
                failures[client] = Failure(RAISED, reason_of(message))
                continue
            try:
                self.traffic.up(without_optimizer(message.content))
                found = read(message.content)
                self.judge(client, found)
            except Exception as error:  # of what somebody else has sent, anything may be raised
                failures[client] = Failure(REFUSED, fault_of(error))
            else:
                take(found)
                del failures[client]
        return failures

    def judge(self, client: int, found: Update | Measured) -> None:
        """Raise Unusable where a reply contradicts what is known of the client that it is from."""
        if found.client != client:
            raise Unusable(f"says that it is of client {found.client}")
        if self.sizes is not None and found.examples != self.sizes[client]:
            raise Unusable(
                f"says that it has {found.examples} examples, its partition has "
                f"{self.sizes[client]}"
            )
