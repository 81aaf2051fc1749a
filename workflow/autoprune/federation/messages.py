"""What server and clients say to each other, and what the server takes of what comes: no more
than it asked for."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from torch import Tensor

from autoprune.federation.wire import Dense, one, only, tensors
from autoprune.models import Architecture
from autoprune.models.state import Shapes, State, unflat

# kinds of messages besides Flower's own, in which nobody trains, and what is sent back
REFRESH, STATISTICS = "query.refresh", "statistics"
ASK, IMPORTANCE = "query.importance", "answers"
TEACHER = "teacher"  # the record of a network that a method sends beside the one to be trained
OPTIMIZER = "optimizer"  # the record of an optimizer's state that goes from client to client
# of such a state, by torch's names, what cannot be below 0
SQUARES = {
    *("step", "exp_avg_sq", "max_exp_avg_sq", "square_avg", "acc_delta", "sum", "exp_inf"),
    *("row_var", "col_var", "variance", "step_size"),
}

REASON = 200  # characters of what a client says that went wrong


class Unusable(ValueError):
    """A reply that the server leaves out; the message says why in a few words."""


@dataclass(frozen=True)
class Update:
    """A client's weights after training, how many images, its mean training loss, its answers."""

    client: int
    state: dict[str, Tensor]
    examples: int
    train_loss: float
    answers: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """What a client measured without training: numbers (number,), of how many images."""

    client: int
    values: Tensor
    examples: int


def instruction(
    architecture: Architecture,
    weights: Tensor,
    server_round: int,
    ask: Mapping[str, str | float] | None = None,
) -> RecordDict:
    """What the server sends: flat weights and, beside them, the architecture they belong to.

    A client rebuilds the network from it, so the paper's pruning asks nothing else of clients.
    Other methods may ``ask`` for more.
    """
    config = ConfigRecord(
        {
            "server-round": server_round,
            "family": architecture.family,
            "widths": list(architecture.widths),
            "input-shape": list(architecture.input_shape),
            "classes": architecture.classes,
            **({"attached": architecture.attached} if architecture.attached else {}),
        }
    )
    content = RecordDict({"arrays": one("weights", weights), "config": config})
    if ask:
        content["ask"] = ConfigRecord(dict(ask))
    return content


def read_instruction(content: RecordDict) -> tuple[Architecture, int, dict[str, str | float]]:
    """Architecture, round number and what is asked for of an ``instruction``."""
    config = content.config_records["config"]
    names = ("family", "widths", "input-shape", "classes")
    told = {name.replace("-", "_"): config[name] for name in names}
    architecture = Architecture.from_json({**told, "attached": config.get("attached", "")})
    asked = content.config_records.get("ask", ConfigRecord())
    known = {name: value for name, value in asked.items() if isinstance(value, str | float)}
    return architecture, whole(config, "server-round"), known


def reply(
    client: int, weights: Tensor, examples: int, train_loss: float, answers: Tensor | None = None
) -> RecordDict:
    """What a client sends back; ``num-examples`` is its weight in the average."""
    content = RecordDict(
        {
            "arrays": one("weights", weights),
            "metrics": MetricRecord({"num-examples": examples, "train-loss": train_loss}),
            "client": ConfigRecord({"partition-id": client}),
        }
    )
    if answers is not None:
        content[IMPORTANCE] = one(IMPORTANCE, answers)
    return content


def measured(client: int, what: str, values: Tensor, examples: int) -> RecordDict:
    """What a client sends back that did not train: STATISTICS or IMPORTANCE, (number,)."""
    return RecordDict(
        {
            what: one(what, values),
            "metrics": MetricRecord({"num-examples": examples}),
            "client": ConfigRecord({"partition-id": client}),
        }
    )


def read_update(
    content: RecordDict, sent: Tensor, wire: Dense, like: State, asked: Shapes
) -> Update:
    """What a client made of the weights that were ``sent``, the state ``like`` on the wire.

    ``asked`` are the shapes of the answers that were asked for, none for none. Raises Unusable,
    or KeyError, TypeError or ValueError for a message that is no reply at all.
    """
    weights, metrics = only(content, "arrays"), content.metric_records["metrics"]
    _check("weights", weights, wire.answer_length(sent, like), sent.dtype)
    state = wire.incoming(weights, like)
    if not all(bool(tensor.isfinite().all()) for tensor in state.values()):
        raise Unusable("weights are not finite: its training diverged")
    answers = {}
    if IMPORTANCE in content.array_records:
        answers = unflat(_numbers(content, IMPORTANCE, count(asked)), asked)
    elif asked:
        raise Unusable("the importance that was asked for is missing")
    client, loss = sender(content), float(number(metrics, "train-loss"))
    if not math.isfinite(loss):
        raise Unusable(f"its training loss is {loss}")
    return Update(client, state, _examples(content, "trained"), loss, answers)


def read_measured(content: RecordDict, what: str, numbers: int) -> Measured:
    """So many numbers of ``measured``; raises as ``read_update`` does."""
    values = _numbers(content, what, numbers)
    return Measured(sender(content), values, _examples(content, "measured"))


def sender(content: RecordDict) -> int:
    """The partition of the client that a reply comes from."""
    return whole(content.config_records["client"], "partition-id")


def without_optimizer(content: RecordDict) -> RecordDict:
    """A message without the optimizer's state: an accident of simulations, nothing that is sent."""
    return RecordDict({name: record for name, record in content.items() if name != OPTIMIZER})


def moments_of(content: RecordDict, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The optimizer's state that a reply brings for the next client; ``like`` is a fresh one.

    Raises Unusable unless it has its names and shapes and finite numbers, no fewer than 0 where
    they are of squares.
    """
    if OPTIMIZER not in content.array_records:
        raise Unusable("the optimizer's state is missing")
    found = tensors(content.array_records[OPTIMIZER])
    if {name: t.shape for name, t in found.items()} != {name: t.shape for name, t in like.items()}:
        raise Unusable("the optimizer's state is of another network")
    if not all(bool(values.isfinite().all()) for values in found.values()):
        raise Unusable("the optimizer's state is not finite: its training diverged")
    squares = [name for name in found if name.rpartition("/")[2] in SQUARES]
    if any(bool((found[name] < 0).any()) for name in squares):
        raise Unusable("the optimizer's state has squares below 0")
    return found


def reason_of(reply: Message) -> str:
    """The last line of an error reply, where Python puts what was raised."""
    lines = str(reply.error.reason).strip().splitlines()
    return _words(lines[-1]) if lines else "no reason given"


def fault_of(error: Exception) -> str:
    """What a reply that raised this on being read is left out for."""
    if isinstance(error, Unusable):
        return str(error)
    return _words(f"reply cannot be read: {type(error).__name__}: {error}")


def _words(text: str) -> str:
    """What somebody else wrote, fit for a cell of a list that "; " joins: one short plain line."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text.replace(";", ","))
    return " ".join(plain.split())[:REASON]


def count(shapes: Shapes) -> int:
    """How many numbers tensors of these shapes have."""
    return sum(map(math.prod, shapes.values()))


def number(record: ConfigRecord | MetricRecord, key: str) -> int | float:
    """A number of a record; raises KeyError or TypeError where it is none."""
    value = record[key]
    if not isinstance(value, int | float):
        raise TypeError(f"{key}: found {value!r}, expected a number")
    return value


def whole(record: ConfigRecord | MetricRecord, key: str) -> int:
    """A number of a record, as an integer."""
    return int(number(record, key))


def _numbers(content: RecordDict, what: str, expected: int) -> Tensor:
    """So many finite numbers (number,) of a reply, STATISTICS or IMPORTANCE."""
    values, name = only(content, what), "importance" if what == IMPORTANCE else what
    _check(name, values, expected, torch.float32)
    if not bool(values.isfinite().all()):
        raise Unusable(f"{name}: not finite")
    return values


def _check(what: str, found: Tensor, expected: int, dtype: torch.dtype) -> None:
    """Raise Unusable unless an array is flat, of this length and type."""
    if found.shape != (expected,) or found.dtype != dtype:
        kinds = [str(kind).removeprefix("torch.") for kind in (found.dtype, dtype)]
        raise Unusable(
            f"{what}: found {kinds[0]} of shape {tuple(found.shape)}, "
            f"expected {kinds[1]} of shape ({expected},)"
        )


def _examples(content: RecordDict, what: str) -> int:
    """How many images a reply is of; raises Unusable for none."""
    examples = whole(content.metric_records["metrics"], "num-examples")
    if examples < 1:
        raise Unusable(f"{what} on {examples} examples")
    return examples
