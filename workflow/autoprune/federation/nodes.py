"""Clients behind nodes: how the server reaches a client through the node that holds its data.

To the server each client is a node, as on the local grid. On Flower's runtimes a node holds one
client or several, and its number is drawn: this is the glue at both ends.
"""

import os
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp.typing import ClientAppCallable
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from autoprune.core.errors import InputError
from autoprune.federation.cohort import FIRST_NODE, GridOfClients
from autoprune.federation.messages import reason_of
from autoprune.federation.strategy import TooFewClients

CLIENT = "to-client"  # the record that says which of a node's clients a message is for
WAIT = 120.0  # seconds that a run waits for nodes with the data of all its clients
PULL = 0.5  # seconds between looks for replies
SLACK = 10.0  # seconds that a message outlives its round, so that the round's end comes first
# seconds that a round waits for replies where the run has no `client_timeout`, so that no node that
# is gone holds it up for ever; of the machines, so the environment of the SuperLink has it
LIMIT = "AUTOPRUNE_REPLY_SECONDS"


def addressed(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """The client's end: call the app with the context of the client that a message is for.

    Each client of a node has a state of its own, as on a node of its own.
    """
    if not message.has_content() or CLIENT not in message.content.config_records:
        return call_next(message, context)
    client = cast(int, message.content.config_records[CLIENT]["partition-id"])
    mine = f"{client}/"
    kept = {n.removeprefix(mine): r for n, r in context.state.items() if n.startswith(mine)}
    config = {**context.node_config, "partition-id": client}
    own = replace(context, node_config=config, state=RecordDict(kept))
    reply = call_next(message, own)
    context.state.update({mine + name: record for name, record in own.state.items()})
    return reply


def holding(clients: Iterable[int], data: str) -> RecordDict:
    """A node's answer: the clients it holds, and the checksum of what their data is a share of."""
    return RecordDict({"holds": ConfigRecord({"clients": list(clients), "data": data})})


class ClientGrid(GridOfClients):
    """The server's end: a grid of ``clients`` nodes over Flower's ``grid``.

    ``data`` is the checksum of the store and partition that the clients' data must be of. What
    fails, and why, is printed to stderr as well as replied.
    """

    def __init__(self, grid: Grid, clients: int, data: str) -> None:
        super().__init__(clients)
        self._grid = grid
        self._clients = clients
        self._data = data
        self._nodes: dict[int, int] = {}  # of each client, that of Flower's grid
        self._sent: dict[str, Message] = {}  # what replies are waited for, by Flower's ids
        self._limit = self._seconds = limit()  # and those of the messages now sent

    def set_run(self, run: Run) -> None:
        """Take over a run's identity."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run this grid works for."""
        return self._grid.run

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages through the nodes that hold the clients' data; "" for one not taken."""
        self._find_nodes()
        asked = list(messages)
        ids = [each or "" for each in self._grid.push_messages([self._to_node(m) for m in asked])]
        self._sent |= dict(zip(ids, asked, strict=True))
        return ids

    def _to_node(self, message: Message) -> Message:
        meta = message.metadata
        client = meta.dst_node_id - FIRST_NODE
        to = ConfigRecord({"partition-id": client})
        content, node = RecordDict({**message.content, CLIENT: to}), self._nodes[client]
        # a node that was late must not spend the next rounds on this one
        ttl = min(meta.ttl, self._seconds + SLACK)
        return Message(content, node, meta.message_type, ttl=ttl, group_id=meta.group_id)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies that are there, each as that of the client that was asked."""
        replies = []
        for came in self._grid.pull_messages(list(message_ids)):
            asked = self._sent.pop(came.metadata.reply_to_message_id, None)
            if asked is None:
                continue
            if came.has_error():
                self._say(asked, reason_of(came))
                replies.append(Message(came.error, reply_to=asked))
            else:
                replies.append(Message(came.content, reply_to=asked))
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Replies in the order they come; after ``timeout``, or else LIMIT, those there are."""
        seconds = self._seconds = self._limit if timeout is None else timeout
        self._find_nodes()
        deadline = time.monotonic() + seconds
        waiting = set(self.push_messages(messages)) - {""}
        replies: list[Message] = []
        while waiting and time.monotonic() < deadline:
            replies += self.pull_messages(waiting)
            waiting &= self._sent.keys()
            if waiting:
                time.sleep(PULL)
        for asked in self._sent.values():
            self._say(asked, f"no reply within {seconds:g} seconds")
        self._sent = {}  # a reply that still comes is of a round that is over
        return replies

    def _say(self, asked: Message, reason: str) -> None:
        client = asked.metadata.dst_node_id - FIRST_NODE
        where = f"client {client}, on node {self._nodes[client]}"
        print(f"round {asked.metadata.group_id}: {where}: {reason}", file=sys.stderr, flush=True)

    def _find_nodes(self) -> None:
        """Ask nodes which clients they hold, until each client has one; nodes once there are.

        Raises TooFewClients naming the clients for which there is none in time, InputError for a
        node with other data.
        """
        deadline, asked, why = time.monotonic() + WAIT, set[int](), ""
        while missing := set(range(self._clients)) - self._nodes.keys():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TooFewClients(
                    f"no node that is online holds the data of {len(missing)} of {self._clients} "
                    f"clients, such as {min(missing)}{why}; start the SuperNodes that hold them"
                )
            new = [node for node in self._grid.get_node_ids() if node not in asked]
            questions = [Message(RecordDict(), node, MessageType.QUERY) for node in new]
            for reply in self._grid.send_and_receive(questions, timeout=left) if new else ():
                if reply.has_error():
                    why = f" ({reason_of(reply)})"
                    continue
                node = reply.metadata.src_node_id
                asked.add(node)
                self._nodes |= dict.fromkeys(self._held(node, reply.content), node)
            time.sleep(PULL)

    def _held(self, node: int, content: RecordDict) -> list[int]:
        held = content.config_records["holds"]
        if held["data"] not in ("", self._data):
            raise InputError(
                f"node {node}: its data is a share of another store or partition than this run's; "
                "share the data out again (docs/deployment.md)"
            )
        return cast(list[int], held["clients"])


def limit() -> float:
    """The seconds of LIMIT; without end where it is not set. Raises InputError for no number."""
    told = os.environ.get(LIMIT, "inf")
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if seconds > 0:
        return seconds
    raise InputError(f"{LIMIT}: found {told!r}, expected a number of seconds above 0")
