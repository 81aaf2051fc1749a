"""Which clients a round is of, and the nodes by which they are reached."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.serverapp import Grid

from autoprune.core.seeds import generator

FIRST_NODE = SUPERLINK_NODE_ID + 1  # node of partition 0; the server itself is a node to Flower


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


@dataclass
class InOrder(Iterator[Message]):
    """Replies that come in the order of the messages, each made when it is asked for.

    One that is missing when the next comes will not come: nobody has to wait for it.
    """

    replies: Iterator[Message]

    def __next__(self) -> Message:
        """The next reply."""
        return next(self.replies)


def in_order(replies: Iterable[Message], nodes: Iterable[int]) -> Iterable[Message]:
    """Replies in the order of the nodes that were asked, those of any others last.

    They are sorted unless they come so: Flower's grids give a list, in the order they came.
    """
    if isinstance(replies, InOrder):
        return replies
    places = {node: place for place, node in enumerate(nodes)}
    return sorted(replies, key=lambda reply: places.get(reply.metadata.src_node_id, len(places)))


def cohort(seed: int, server_round: int, clients: int, size: int) -> list[int]:
    """The clients of a round, ascending: a function of (seed, round) and of how many there are.

    So methods that are compared at one seed see the same cohorts.
    """
    size = min(size, clients)
    chosen = generator(seed, "cohort", server_round).choice(clients, size, replace=False)
    return sorted(int(client) for client in chosen)


def partitions(grid: Grid) -> dict[int, int]:
    """The node of each client: our grids have one for each, in the partition's order."""
    return dict(enumerate(grid.get_node_ids()))
