"""A Flower Grid on this machine: the ClientApp in this process or in worker processes, no server.

The app cannot tell it from Flower's own runtimes: messages, and what a client keeps between rounds,
cross as the bytes that Flower would send.
"""

import importlib
import math
import multiprocessing
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from autoprune.federation.communication import decode, encode

RUN_ID = 1
FIRST_NODE = SUPERLINK_NODE_ID + 1  # node of partition 0; the server itself is a node to Flower
READY = b"ready"  # a worker's first word
TRIES = 2  # a client whose worker dies is tried on a new one, then given up


def load_app(reference: str) -> ClientApp:
    """The ClientApp at ``module:attribute``, as Flower's own configuration names it."""
    module, _, attribute = reference.partition(":")
    app: ClientApp = getattr(importlib.import_module(module), attribute)
    return app


def be_the_server() -> None:
    """What Flower asks of a process in which messages are made: whose they are."""
    TaskIdentity.task_id, TaskIdentity.run_id = 1, RUN_ID
    TaskIdentity.node_id = SUPERLINK_NODE_ID


@dataclass(frozen=True)
class Clients:
    """The ClientApp ``app`` of so many nodes, to be called with bytes."""

    app: str
    nodes: int
    run_config: UserConfig

    def call(self, message: bytes, state: bytes) -> tuple[bytes, bytes]:
        """Deliver a message to the node that it names, which kept ``state``; reply and new state.

        What the app raises becomes an error reply.
        """
        delivered = message_from_proto(ProtoMessage.FromString(message))
        node = delivered.metadata.dst_node_id
        own: UserConfig = {"partition-id": node - FIRST_NODE, "num-partitions": self.nodes}
        context = Context(RUN_ID, node, own, decode(state), dict(self.run_config))
        try:
            reply = load_app(self.app)(delivered, context)
        # any exception is the client's, sys.exit too, and the round's to judge
        except (Exception, SystemExit) as error:
            reason = f"{type(error).__name__}: {error}"
            reply = Message(
                Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=delivered
            )
        return message_to_proto(reply).SerializeToString(), encode(context.state)


def serve(connection: Connection, clients: Clients) -> None:
    """A worker's life: take a message, answer it, until the grid hangs up."""
    load_app(clients.app)
    with suppress(EOFError, OSError):  # of the connection: what the app raises, call() keeps
        connection.send_bytes(READY)
        while True:
            for part in clients.call(connection.recv_bytes(), connection.recv_bytes()):
                connection.send_bytes(part)


class Worker:
    """One worker process and the message it has in hand."""

    def __init__(self, clients: Clients) -> None:
        # forkserver: the children share the pages of torch and flwr, and no lock of ours
        start = multiprocessing.get_context("forkserver")
        start.set_forkserver_preload([__name__, clients.app.partition(":")[0]])
        self.connection, theirs = start.Pipe()
        self.process = start.Process(target=serve, args=(theirs, clients), daemon=True)
        self.process.start()
        theirs.close()
        self.message_id = ""
        self.deadline = math.inf  # by time.monotonic(), of the message in hand
        self._began = False

    def begin(self) -> None:
        """Wait until it has loaded the app: no client's time limit pays for that."""
        if not self._began:
            self._began = True
            with suppress(EOFError, OSError):  # it has died; the next to write to it finds out
                self.connection.recv_bytes()

    def send(self, message_id: str, message: bytes, state: bytes) -> None:
        """Hand the worker a message; raises OSError when it has died."""
        self.message_id = message_id
        self.connection.send_bytes(message)
        self.connection.send_bytes(state)

    def receive(self) -> tuple[bytes, bytes]:
        """Its reply and the client's state; raises EOFError or OSError when it has died."""
        return self.connection.recv_bytes(), self.connection.recv_bytes()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()  # SIGTERM may be caught, and there is nothing to tidy up
        self.process.join()


class GridOfClients(Grid):
    """A grid in which each of ``clients`` clients is a node, in the order of the partition."""

    def __init__(self, clients: int) -> None:
        self._nodes_in_order = range(FIRST_NODE, FIRST_NODE + clients)

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to one client."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes of the clients, in the order of the partition."""
        return self._nodes_in_order


class LocalGrid(GridOfClients):
    """``nodes`` clients that run ``app`` ("module:attribute"), ``workers`` of them at a time.

    With one worker the app runs in this process, unless clients have a ``client_timeout`` in
    seconds: one that hangs can then be ended, and counts as one that never answered. Every node has
    the given run configuration and ``partition-id`` and ``num-partitions`` in its node
    configuration, as in Flower's simulation.
    Use as a context manager: leaving it ends the workers.
    """

    def __init__(
        self,
        app: str,
        nodes: int,
        run_config: UserConfig,
        *,
        workers: int = 1,
        client_timeout: float | None = None,
    ) -> None:
        super().__init__(nodes)
        be_the_server()
        self._clients = Clients(app, nodes, run_config)
        self._run = Run.create_empty(RUN_ID)
        self._client_timeout = client_timeout or math.inf
        processes = workers if workers > 1 or client_timeout else 0
        self._workers = [Worker(self._clients) for _ in range(processes)]
        self._states: dict[int, bytes] = {}
        self._queue: dict[str, Message] = {}
        self._sent = 0

    def __enter__(self) -> "LocalGrid":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def kept(self) -> dict[int, bytes]:
        """What each node's client keeps between rounds, serialised; nothing for most methods."""
        return {node: state for node, state in sorted(self._states.items()) if state}

    def restore(self, kept: Mapping[int, bytes]) -> None:
        """Go on with what the clients of an earlier grid kept."""
        self._states = dict(kept)

    def set_run(self, run: Run) -> None:
        """Take over a run's identity."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run this grid works for."""
        return self._run

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Queue messages; the ids returned are what ``pull_messages`` takes."""
        ids = []
        for message in messages:
            self._sent += 1
            # Flower has no setter: on its runtimes the SuperLink gives the id
            message.metadata.__dict__["_message_id"] = f"message-{self._sent}"
            self._queue[message.metadata.message_id] = message
            ids.append(message.metadata.message_id)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Run the queued messages of these ids and return their replies, in this order."""
        return self._deliver(list(message_ids), None)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Replies in the order of the messages; after ``timeout`` seconds, those there are."""
        return self._deliver(list(self.push_messages(messages)), timeout)

    def _deliver(self, message_ids: list[str], timeout: float | None) -> list[Message]:
        for worker in self._workers:
            worker.begin()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        waiting = {message_id: self._queue.pop(message_id) for message_id in message_ids}
        run = self._in_workers if self._workers else self._in_process
        replies = run(waiting, deadline)
        return [replies[message_id] for message_id in message_ids if message_id in replies]

    def _in_process(self, waiting: dict[str, Message], deadline: float) -> dict[str, Message]:
        replies = {}
        for message_id, message in waiting.items():
            if time.monotonic() > deadline:
                break
            answer = self._clients.call(*self._parts(message))
            replies[message_id] = self._reply(message, *answer)
        return replies

    def _in_workers(self, waiting: dict[str, Message], deadline: float) -> dict[str, Message]:
        replies: dict[str, Message] = {}
        tries = dict.fromkeys(waiting, 0)
        todo = list(waiting)[::-1]
        idle, busy = list(self._workers), list[Worker]()
        while todo or busy:
            while todo and idle:
                worker, message_id = idle.pop(), todo.pop()
                tries[message_id] += 1
                busy.append(worker)
                with suppress(OSError):  # it has died; the end of its pipe says so below
                    worker.begin()  # one that took a dead one's place
                    worker.send(message_id, *self._parts(waiting[message_id]))
                worker.deadline = min(deadline, time.monotonic() + self._client_timeout)
            left = min(worker.deadline for worker in busy) - time.monotonic()
            connections = [worker.connection for worker in busy]
            ready = wait(connections, None if left == math.inf else max(0.0, left))
            if not ready:  # late: their answers must not meet the next round
                late = [worker for worker in busy if worker.deadline <= time.monotonic()]
                busy = [worker for worker in busy if worker not in late]
                idle += [self._replace(worker) for worker in late]
                if time.monotonic() >= deadline:
                    todo.clear()
            for worker in [worker for worker in busy if worker.connection in ready]:
                busy.remove(worker)
                message_id = worker.message_id
                message = waiting[message_id]
                try:
                    replies[message_id] = self._reply(message, *worker.receive())
                except (EOFError, OSError):
                    worker = self._replace(worker)
                    if tries[message_id] < TRIES:
                        todo.append(message_id)
                    else:
                        error = Error(ErrorCode.CLIENT_APP_CRASHED, "its worker process died twice")
                        replies[message_id] = Message(error, reply_to=message)
                idle.append(worker)
        return replies

    def _replace(self, worker: Worker) -> Worker:
        worker.stop()
        fresh = Worker(self._clients)
        self._workers[self._workers.index(worker)] = fresh
        return fresh

    def _parts(self, message: Message) -> tuple[bytes, bytes]:
        state = self._states.get(message.metadata.dst_node_id, b"")
        return message_to_proto(message).SerializeToString(), state

    def _reply(self, message: Message, answer: bytes, state: bytes) -> Message:
        self._states[message.metadata.dst_node_id] = state
        reply = message_from_proto(ProtoMessage.FromString(answer))
        reply.metadata.__dict__["_message_id"] = f"reply-to-{message.metadata.message_id}"
        return reply
