"""The Strategy: Flower's FedAvg with seeded cohorts and an average that has one order."""

from collections.abc import Iterable

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from autoprune import communication
from autoprune.federation.messages import Update, arrays, instruction, read_reply
from autoprune.models import Architecture
from autoprune.seeds import generator


class ClientFailure(RuntimeError):
    """A client of the cohort gave no usable reply; the message names round, client and reason."""


def cohort(seed: int, server_round: int, clients: int, size: int) -> list[int]:
    """The clients of a round, ascending: a function of (seed, round) and of how many there are.

    So methods that are compared at one seed see the same cohorts.
    """
    size = min(size, clients)
    chosen = generator(seed, "cohort", server_round).choice(clients, size, replace=False)
    return sorted(int(client) for client in chosen)


def weighted_mean(updates: list[Update]) -> dict[str, torch.Tensor]:
    """The clients' weights averaged by their number of examples (McMahan et al. 2017, FedAvg).

    Batch-norm statistics are averaged alike. Summed in float64 in the order given, then rounded
    once to the tensors' type: the mean of equal clients is those clients, bit for bit.
    """
    total = sum(update.examples for update in updates)
    mean = {
        name: torch.zeros(tensor.shape, dtype=torch.float64)
        for name, tensor in updates[0].state.items()
    }
    for update in updates:
        for name, tensor in update.state.items():
            mean[name].add_(tensor, alpha=update.examples / total)
    return {name: mean[name].to(tensor.dtype) for name, tensor in updates[0].state.items()}


class SeededFedAvg(FedAvg):
    """FedAvg whose cohorts and sums are reproducible, and which counts the bytes of each round.

    ``architecture`` is that of the weights in hand; the server sets it before each round.
    """

    def __init__(self, architecture: Architecture, clients_per_round: int, seed: int) -> None:
        super().__init__(fraction_evaluate=0.0, min_evaluate_nodes=0)
        self.architecture = architecture
        self.clients_per_round = clients_per_round
        self.seed = seed
        self.bytes_down = 0
        self.bytes_up = 0
        self.clients: list[int] = []

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """One message for each client of the cohort, all with the same content."""
        nodes = sorted(grid.get_node_ids())
        self.clients = cohort(self.seed, server_round, len(nodes), self.clients_per_round)
        content = instruction(self.architecture, arrays, server_round)
        self.bytes_down = communication.size(content) * len(self.clients)
        return [
            Message(content, nodes[client], MessageType.TRAIN, group_id=str(server_round))
            for client in self.clients
        ]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """The weighted mean, in the order of the clients' numbers; raises ClientFailure."""
        updates = []
        self.bytes_up = 0
        for message in replies:
            if message.has_error():
                reason = str(message.error.reason).strip().splitlines()[-1]
                raise ClientFailure(
                    f"round {server_round}: node {message.metadata.src_node_id}: {reason}"
                )
            self.bytes_up += communication.size(message.content)
            updates.append(read_reply(message.content))
        updates.sort(key=lambda update: update.client)
        if [update.client for update in updates] != self.clients:
            raise ClientFailure(
                f"round {server_round}: expected replies of clients {self.clients}, "
                f"got {[update.client for update in updates]}"
            )
        for update in updates:
            if not all(bool(t.isfinite().all()) for t in update.state.values()):
                raise ClientFailure(
                    f"round {server_round}: client {update.client}: weights are not finite, "
                    "so its training diverged; lower the learning rate"
                )
        examples = sum(update.examples for update in updates)
        loss = sum(update.train_loss * update.examples for update in updates) / examples
        metrics = MetricRecord({"num-examples": examples, "train-loss": loss})
        return arrays(weighted_mean(updates)), metrics
