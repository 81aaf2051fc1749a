"""A Flower Grid on this machine: the ClientApp in this process or in worker processes, no server.

The app cannot tell it from Flower's own runtimes: messages, and what a client keeps between rounds,
cross as the bytes that Flower would send.
"""

import importlib
import math
import multiprocessing
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from flwr.app import Context, Error, Message, UserConfig
from flwr.clientapp import ClientApp
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from autoprune.federation import device
from autoprune.federation.cohort import FIRST_NODE, GridOfClients, InOrder
from autoprune.federation.communication import decode, encode
from autoprune.federation.window import AHEAD, Window

RUN_ID = 1
READY = b"ready"  # a worker's first word
BUFFER = 2**21  # bytes that can be on their way to a process that is busy; a system may allow less
TRIES = 2  # a client whose worker dies is tried on a new one, then given up
DIED = Error(ErrorCode.CLIENT_APP_CRASHED, "its worker process died twice"), b""


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


def serve(connection: Connection, clients: Clients, number: int) -> None:
    """The life of worker ``number``: take a message, answer it, until the grid hangs up."""
    device.take(number)
    load_app(clients.app)
    with suppress(EOFError, OSError):  # of the connection: what the app raises, call() keeps
        connection.send_bytes(READY)
        while True:
            for part in clients.call(connection.recv_bytes(), connection.recv_bytes()):
                connection.send_bytes(part)


class Worker:
    """One worker process and the message it has in hand."""

    def __init__(self, clients: Clients, number: int) -> None:
        # forkserver: the children share the pages of torch and flwr, and no lock of ours
        start = multiprocessing.get_context("forkserver")
        start.set_forkserver_preload([__name__, clients.app.partition(":")[0]])
        self.connection, theirs = start.Pipe()
        for end in (self.connection, theirs):  # a message's sender need not wait for its reader
            with socket.socket(fileno=os.dup(end.fileno())) as one:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        self.process = start.Process(target=serve, args=(theirs, clients, number), daemon=True)
        self.process.start()
        theirs.close()
        self.message_id, self.number = "", number
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
        answer = self.connection.recv_bytes(), self.connection.recv_bytes()
        self.message_id = ""
        return answer

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.connection.close()
        self.process.kill()  # SIGTERM may be caught, and there is nothing to tidy up
        self.process.join()


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
        self._workers = [Worker(self._clients, number) for number in range(processes)]
        self._states: dict[int, bytes] = {}
        self._queue: dict[str, Message] = {}
        self._sent = 0
        self._reading = False  # whether replies of workers are being read

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
        return list(self._deliver(list(message_ids), None))

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> InOrder:
        """Replies in the order of the messages; after ``timeout`` seconds, those there are.

        Clients are called, and the seconds count, while the replies are read: few are in memory at
        a time. With workers, those to one call must be read, or given up, before the next call.
        """
        return InOrder(self._deliver(list(self.push_messages(messages)), timeout))

    def _deliver(self, message_ids: list[str], timeout: float | None) -> Iterator[Message]:
        waiting = {message_id: self._queue.pop(message_id) for message_id in message_ids}
        run = self._in_workers if self._workers else self._in_process
        return run(waiting, math.inf if timeout is None else timeout)

    def _in_process(self, waiting: dict[str, Message], seconds: float) -> Iterator[Message]:
        deadline = time.monotonic() + seconds
        for message in waiting.values():
            if time.monotonic() > deadline:
                break
            yield self._reply(message, *self._clients.call(*self._parts(message)))

    def _in_workers(self, waiting: dict[str, Message], seconds: float) -> Iterator[Message]:
        if self._reading:
            raise RuntimeError("the replies to the messages before these are not all read yet")
        self._reading = True
        try:
            for worker in [worker for worker in self._workers if worker.message_id]:
                self._replace(worker)  # what it still answers was given up
            for worker in self._workers:
                worker.begin()
            yield from self._through(waiting, time.monotonic() + seconds)
        finally:
            self._reading = False

    def _through(self, waiting: dict[str, Message], deadline: float) -> Iterator[Message]:
        window = Window[tuple[bytes | Error, bytes]](list(waiting), AHEAD * len(self._workers))
        tries = dict.fromkeys(waiting, 0)
        idle, busy, came = list(self._workers), list[Worker](), 0
        turn: tuple[str, bytes, bytes] | None = None
        while not window.over:
            while idle and (turn := turn or self._turn(window, waiting)):
                worker, (message_id, *parts), turn = idle.pop(), turn, None
                tries[message_id] += 1
                busy.append(worker)
                with suppress(OSError):  # it has died; the end of its pipe says so below
                    worker.begin()  # one that took a dead one's place
                    worker.send(message_id, *parts)
                worker.deadline = min(deadline, time.monotonic() + self._client_timeout)
            # as many as have come, so that they do not pile up before a server that is slower; and
            # now that the workers have something to do: to read them takes it a while
            for _ in range(max(1, came)):
                if window.ready and (oldest := window.pop()):
                    yield self._reply(waiting.pop(oldest[0]), *oldest[1])
            if not busy:
                continue
            # encoded now, the next finds its worker without a wait
            turn = turn or self._turn(window, waiting)
            left = min(worker.deadline for worker in busy) - time.monotonic()
            left = 0 if window.ready else max(0.0, left)
            ready = wait([w.connection for w in busy], None if left == math.inf else left)
            came = len(ready)
            late = [w for w in busy if not ready and w.deadline <= time.monotonic()]
            for worker in late:  # their answers must not meet the next round
                window.finish(worker.message_id, None)
                busy.remove(worker)
                idle.append(self._replace(worker))
            if late and time.monotonic() >= deadline:
                window.stop()
                turn = None
            for worker in [worker for worker in busy if worker.connection in ready]:
                busy.remove(worker)
                message_id = worker.message_id
                try:
                    window.finish(message_id, worker.receive())
                except (EOFError, OSError):
                    worker = self._replace(worker)
                    if tries[message_id] < TRIES:
                        window.again(message_id)
                    else:
                        window.finish(message_id, DIED)
                idle.append(worker)

    def _turn(
        self, window: Window[Any], waiting: Mapping[str, Message]
    ) -> tuple[str, bytes, bytes] | None:
        message_id = window.hand_out()
        return (message_id, *self._parts(waiting[message_id])) if message_id else None

    def _replace(self, worker: Worker) -> Worker:
        worker.stop()
        fresh = Worker(self._clients, worker.number)
        self._workers[self._workers.index(worker)] = fresh
        return fresh

    def _parts(self, message: Message) -> tuple[bytes, bytes]:
        state = self._states.get(message.metadata.dst_node_id, b"")
        return message_to_proto(message).SerializeToString(), state

    def _reply(self, message: Message, answer: bytes | Error, state: bytes) -> Message:
        if isinstance(answer, Error):
            return Message(answer, reply_to=message)
        self._states[message.metadata.dst_node_id] = state
        reply = message_from_proto(ProtoMessage.FromString(answer))
        reply.metadata.__dict__["_message_id"] = f"reply-to-{message.metadata.message_id}"
        return reply
