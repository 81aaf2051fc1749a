"""A question to all clients, in which nobody trains: what a method wants to know before a round."""

import math
from dataclasses import dataclass, field

import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from torch import Tensor

from autoprune.federation.communication import Traffic
from autoprune.federation.messages import instruction
from autoprune.federation.replies import fault_of, importance_in, reason_of
from autoprune.federation.strategy import TooFewClients, partitions
from autoprune.federation.training import answer_shapes
from autoprune.federation.wire import one
from autoprune.models import Architecture, build
from autoprune.models.state import Shapes, State, flat, unflat

ACTION = "importance"  # of the ClientApp, which takes messages of the type query.importance
AT_A_TIME = 64  # clients: their answers, each as large as the network, are in memory together


@dataclass
class Answers:
    """The mean of what the clients answered, each counting alike, and what it took.

    ``failures``: clients that are left out, with reasons. ``traffic`` is that of all clients.
    """

    mean: dict[str, Tensor] = field(default_factory=dict)
    traffic: Traffic = field(default_factory=Traffic)
    failures: dict[int, str] = field(default_factory=dict)


def ask_all(
    grid: Grid,
    architecture: Architecture,
    state: State,
    kind: str,
    server_round: int,
    min_clients: int,
) -> Answers:
    """Send all clients the network, and have each answer the importance ``kind`` of its weights.

    Asks nothing where ``kind`` is "". Summed in float64 in the order of the clients. Raises
    TooFewClients when fewer than ``min_clients`` answer as they should.
    """
    if not kind:
        return Answers()
    nodes = partitions(grid)
    content = instruction(architecture, flat(state), server_round, {"importance": kind})
    shapes = answer_shapes(kind, build(architecture))
    total = torch.zeros(sum(map(math.prod, shapes.values())), dtype=torch.float64)
    found = Answers(failures=dict.fromkeys(nodes, "no reply in time"))
    clients = sorted(nodes)
    for start in range(0, len(clients), AT_A_TIME):
        client_of = {nodes[client]: client for client in clients[start : start + AT_A_TIME]}
        messages = [
            Message(content, node, f"query.{ACTION}", group_id=str(server_round))
            for node in client_of
        ]
        found.traffic.down(content, len(messages))
        replies = {
            client_of[reply.metadata.src_node_id]: reply
            for reply in grid.send_and_receive(messages)
        }
        for client in sorted(replies):
            _take(found, client, replies[client], total, shapes)
    usable = len(nodes) - len(found.failures)
    if usable < min_clients:
        first, why = next(iter(found.failures.items()))
        raise TooFewClients(
            f"round {server_round}: {usable} usable answers of {len(nodes)} clients, "
            f"min_clients is {min_clients}; client {first}: {why}"
        )
    found.mean = unflat((total / usable).float(), shapes)
    return found


def _take(found: Answers, client: int, reply: Message, total: Tensor, shapes: Shapes) -> None:
    """Add a client's answers to the total, or say why they are left out."""
    if reply.has_error():
        found.failures[client] = reason_of(reply)
        return
    found.traffic.up(reply.content)
    try:
        total += importance_in(reply.content, shapes)
    except (KeyError, TypeError, ValueError) as error:
        found.failures[client] = fault_of(error)
    else:
        del found.failures[client]


def answer(client: int, answers: Tensor, examples: int) -> RecordDict:
    """What a client sends back: the flat importance of its weights, from how many images."""
    return RecordDict(
        {
            "answers": one("answers", answers),
            "metrics": MetricRecord({"num-examples": examples}),
            "client": ConfigRecord({"partition-id": client}),
        }
    )
