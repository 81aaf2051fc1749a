"""What server and clients say to each other: the network out, the trained network back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from autoprune.federation.wire import one, only
from autoprune.models import Architecture

REFRESH = "query.refresh"  # the kind of message that asks for batch-norm statistics
OPTIMIZER = "optimizer"  # the record of an optimizer's state that goes from client to client


@dataclass(frozen=True)
class Reply:
    """What came from a client, as it travelled: flat arrays, and of how many images.

    ``answers`` are what the method asked for besides the weights, None when nothing came.
    """

    client: int
    weights: Tensor
    examples: int
    train_loss: float
    answers: Tensor | None


@dataclass(frozen=True)
class Update:
    """A client's weights after training, how many images, its mean training loss, its answers."""

    client: int
    state: dict[str, Tensor]
    examples: int
    train_loss: float
    answers: dict[str, Tensor] = field(default_factory=dict)


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
        }
    )
    content = RecordDict({"arrays": one("weights", weights), "config": config})
    if ask:
        content["ask"] = ConfigRecord(dict(ask))
    return content


def read_instruction(content: RecordDict) -> tuple[Architecture, int, dict[str, str | float]]:
    """Architecture, round number and what is asked for of an ``instruction``."""
    config = content.config_records["config"]
    architecture = Architecture(
        str(config["family"]),
        tuple(config["widths"]),  # type: ignore[arg-type]
        tuple(config["input-shape"]),  # type: ignore[arg-type]
        int(config["classes"]),  # type: ignore[arg-type]
    )
    asked = dict(content.config_records.get("ask", {}))
    return architecture, int(config["server-round"]), asked  # type: ignore[arg-type,return-value]


def reply(
    client: int,
    weights: Tensor,
    examples: int,
    train_loss: float,
    answers: Tensor | None = None,
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
        content["answers"] = one("answers", answers)
    return content


def read_reply(content: RecordDict) -> Reply:
    """The inverse of ``reply``."""
    metrics = content.metric_records["metrics"]
    return Reply(
        int(content.config_records["client"]["partition-id"]),  # type: ignore[arg-type]
        only(content, "arrays"),
        int(metrics["num-examples"]),  # type: ignore[arg-type]
        float(metrics["train-loss"]),  # type: ignore[arg-type]
        only(content, "answers") if "answers" in content.array_records else None,
    )


@dataclass(frozen=True)
class Statistics:
    """A client's reply to ``REFRESH``: its batch-norm statistics, of how many images."""

    client: int
    values: Tensor
    examples: int


def statistics_reply(client: int, found: Tensor, examples: int) -> RecordDict:
    """What a client sends back: the statistics (number,), one after the other in their order."""
    return RecordDict(
        {
            "statistics": one("statistics", found),
            "metrics": MetricRecord({"num-examples": examples}),
            "client": ConfigRecord({"partition-id": client}),
        }
    )


def read_statistics(content: RecordDict) -> Statistics:
    """The inverse of ``statistics_reply``."""
    return Statistics(
        int(content.config_records["client"]["partition-id"]),  # type: ignore[arg-type]
        only(content, "statistics"),
        int(content.metric_records["metrics"]["num-examples"]),  # type: ignore[arg-type]
    )
