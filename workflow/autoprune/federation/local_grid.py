"""A Flower Grid on this machine: the ClientApp in this process or in worker processes, no server.

The app cannot tell it from Flower's own runtimes: messages and contexts cross as the bytes that
Flower would send, and a node's context persists between rounds.
"""

import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, cast

from flwr.app import Context, Error, Message, RecordDict, UserConfig
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import context_from_proto, context_to_proto
from flwr.proto.message_pb2 import Context as ProtoContext
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from autoprune.federation import communication
from autoprune.federation.worker import Frames, Worker, call, envelope_of, load_app, message_of

RUN_ID = 1
FIRST_NODE = SUPERLINK_NODE_ID + 1  # node of partition 0; the server itself is a node to Flower
TRIES = 2  # a client whose worker dies is tried on a new one, then given up


class LocalGrid(Grid):
    """``nodes`` clients that run ``app`` ("module:attribute"), ``workers`` of them at a time.

    With one worker the app runs in this process. Every node has the given run configuration and
    ``partition-id`` and ``num-partitions`` in its node configuration, as in Flower's simulation.
    Use as a context manager: leaving it ends the workers.
    """

    def __init__(
        self,
        app: str,
        nodes: int,
        run_config: UserConfig,
        *,
        workers: int = 1,
    ) -> None:
        TaskIdentity.task_id, TaskIdentity.run_id = 1, RUN_ID
        TaskIdentity.node_id = SUPERLINK_NODE_ID
        self._app = app
        self._nodes = nodes
        self._run_config = run_config
        self._run = Run.create_empty(RUN_ID)
        self._workers = [Worker(app) for _ in range(workers if workers > 1 else 0)]
        self._contexts: dict[int, bytes] = {}
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
        kept = {}
        for node, context in sorted(self._contexts.items()):
            state = context_from_proto(ProtoContext.FromString(context)).state
            if len(state):
                kept[node] = communication.encode(state)
        return kept

    def restore(self, kept: Mapping[int, bytes]) -> None:
        """Go on with what the clients of an earlier grid kept."""
        for node, state in kept.items():
            self._contexts[node] = self._context(node, communication.decode(state))

    def set_run(self, run: Run) -> None:
        """Take over a run's identity."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run this grid works for."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to one node."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes, in the order of their partitions."""
        return range(FIRST_NODE, FIRST_NODE + self._nodes)

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
        deadline = None if timeout is None else time.monotonic() + timeout
        contents: dict[int, bytes] = {}  # serialised once: FedAvg sends all clients one object
        waiting = {}
        for message_id in message_ids:
            message = self._queue.pop(message_id)
            key = id(message.content)
            if key not in contents:
                contents[key] = communication.encode(message.content)
            waiting[message_id] = (message, contents[key])
        run = self._in_workers if self._workers else self._in_process
        replies = run(waiting, deadline)
        return [replies[message_id] for message_id in message_ids if message_id in replies]

    def _in_process(
        self, waiting: dict[str, tuple[Message, bytes]], deadline: float | None
    ) -> dict[str, Message]:
        app = load_app(self._app)
        replies = {}
        for message_id, (message, content) in waiting.items():
            if deadline is not None and time.monotonic() > deadline:
                break
            replies[message_id] = self._reply(message, call(app, self._frames(message, content)))
        return replies

    def _in_workers(
        self, waiting: dict[str, tuple[Message, bytes]], deadline: float | None
    ) -> dict[str, Message]:
        replies: dict[str, Message] = {}
        tries = dict.fromkeys(waiting, 0)
        todo = list(waiting)[::-1]
        idle, busy = list(self._workers), {}
        while todo or busy:
            while todo and idle:
                worker, message_id = idle.pop(), todo.pop()
                tries[message_id] += 1
                busy[worker.connection] = worker
                with suppress(OSError):  # it has died; the end of its pipe says so below
                    worker.send(message_id, self._frames(*waiting[message_id]))
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = wait(list(busy), left)
            if not ready:
                for worker in busy.values():  # late: their answers must not meet the next round
                    self._replace(worker)
                break
            for connection in ready:
                worker = busy.pop(cast(Connection, connection))
                message_id = worker.message_id
                try:
                    replies[message_id] = self._reply(waiting[message_id][0], worker.receive())
                    idle.append(worker)
                except (EOFError, OSError):
                    worker = self._replace(worker)
                    idle.append(worker)
                    if tries[message_id] < TRIES:
                        todo.append(message_id)
                    else:
                        error = Error(ErrorCode.CLIENT_APP_CRASHED, "its worker process died twice")
                        replies[message_id] = Message(error, reply_to=waiting[message_id][0])
        return replies

    def _replace(self, worker: Worker) -> Worker:
        worker.stop()
        fresh = Worker(self._app)
        self._workers[self._workers.index(worker)] = fresh
        return fresh

    def _frames(self, message: Message, content: bytes) -> Frames:
        node = message.metadata.dst_node_id
        if node not in self._contexts:
            self._contexts[node] = self._context(node, RecordDict())
        return envelope_of(message), content, self._contexts[node]

    def _context(self, node: int, state: RecordDict) -> bytes:
        node_config: Any = {
            "partition-id": node - FIRST_NODE,
            "num-partitions": self._nodes,
        }
        context = Context(RUN_ID, node, node_config, state, dict(self._run_config))
        return context_to_proto(context).SerializeToString()  # type: ignore[no-any-return]

    def _reply(self, message: Message, frames: Frames) -> Message:
        envelope, content, context = frames
        self._contexts[message.metadata.dst_node_id] = context
        reply = message_of(envelope, content)
        reply.metadata.__dict__["_message_id"] = f"reply-to-{message.metadata.message_id}"
        return reply
