"""A cohort whose clients train one after the other, each with the optimizer's state of the last."""

from collections.abc import Iterable, Iterator

from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from autoprune.federation.cohort import InOrder
from autoprune.federation.messages import OPTIMIZER
from autoprune.federation.strategy import SeededFedAvg
from autoprune.models.state import State


def in_turn(
    grid: Grid,
    strategy: SeededFedAvg,
    messages: Iterable[Message],
    like: State,
    limit: float | None,
) -> InOrder:
    """The replies to a round's messages, each of which brings the state of the reply before it.

    That is what happens when one compiled Keras model is fitted client after client. A reply that
    is left out is passed over. ``like`` has the state's names and shapes, ``limit`` is in seconds.
    """
    strategy.carried = dict(like)
    return InOrder(_carried(grid, strategy, messages, limit))


def _carried(
    grid: Grid, strategy: SeededFedAvg, messages: Iterable[Message], limit: float | None
) -> Iterator[Message]:
    carried: dict[str, ArrayRecord] = {}  # of the last client whose reply is of use
    for message in messages:
        meta = message.metadata
        # a message of its own, gone after its reply: each has another state
        content = RecordDict({**message.content, **carried})
        sent = Message(
            content, meta.dst_node_id, meta.message_type, ttl=meta.ttl, group_id=meta.group_id
        )
        for reply in grid.send_and_receive([sent], timeout=limit):
            if reply.has_content() and strategy.usable(reply.content):
                carried = {OPTIMIZER: reply.content.array_records[OPTIMIZER]}
            yield reply
