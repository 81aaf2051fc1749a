"""What server and clients say to each other: the network out, the trained network back."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from autoprune.models import Architecture

State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Update:
    """A client's reply: its weights after training, how many images, its mean training loss."""

    client: int
    state: dict[str, torch.Tensor]
    examples: int
    train_loss: float


def arrays(state: State) -> ArrayRecord:
    """A network's state as Flower's arrays, in the state's order."""
    return ArrayRecord({name: Array(t.detach().cpu().numpy()) for name, t in state.items()})


def instruction(architecture: Architecture, weights: ArrayRecord, server_round: int) -> RecordDict:
    """What the server sends: the weights and, beside them, the architecture they belong to.

    A client rebuilds the network from it, so pruning asks nothing else of clients.
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
    return RecordDict({"arrays": weights, "config": config})


def read_instruction(
    content: RecordDict,
) -> tuple[Architecture, dict[str, torch.Tensor], int]:
    """Architecture, weights and round number of an ``instruction``."""
    config = content.config_records["config"]
    architecture = Architecture(
        str(config["family"]),
        tuple(config["widths"]),  # type: ignore[arg-type]
        tuple(config["input-shape"]),  # type: ignore[arg-type]
        int(config["classes"]),  # type: ignore[arg-type]
    )
    return architecture, _state(content), int(config["server-round"])  # type: ignore[arg-type]


def reply(client: int, state: State, examples: int, train_loss: float) -> RecordDict:
    """What a client sends back; ``num-examples`` is its weight in the average."""
    return RecordDict(
        {
            "arrays": arrays(state),
            "metrics": MetricRecord({"num-examples": examples, "train-loss": train_loss}),
            "client": ConfigRecord({"partition-id": client}),
        }
    )


def read_reply(content: RecordDict) -> Update:
    """The inverse of ``reply``."""
    metrics = content.metric_records["metrics"]
    return Update(
        int(content.config_records["client"]["partition-id"]),  # type: ignore[arg-type]
        _state(content),
        int(metrics["num-examples"]),  # type: ignore[arg-type]
        float(metrics["train-loss"]),  # type: ignore[arg-type]
    )


def _state(content: RecordDict) -> dict[str, torch.Tensor]:
    record = content.array_records["arrays"]
    return {name: torch.from_numpy(array.numpy()) for name, array in record.items()}
