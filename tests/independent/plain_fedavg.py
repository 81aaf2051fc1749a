"""FedAvg and the paper's rule written plainly, from method.md alone: what the product is held to.

Nothing of the product is imported: a loop of PyTorch over dictionaries of tensors. The images come
from LEAF's files; of the product's store only the arrays are read that say which split each is in.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

CLASSES = 62
CONVOLUTIONS = ("0", "3")  # places in ``network`` of the two that lose filters
LINEAR = "8"


@dataclass(frozen=True)
class Settings:
    """What both implementations are told; ``cap`` and ``patience`` count applications."""

    widths: tuple[int, int] = (32, 64)
    rounds: int = 24
    clients_per_round: int = 10
    local_epochs: int = 5
    batch_size: int = 16
    learning_rate: float = 0.003
    epsilon: float = 1e-7
    k: float = 2.2
    patience: int = 3
    cap: int = 20
    evaluate_every: int = 2


@dataclass(frozen=True)
class Data:
    """Standardised images (n, 1, 28, 28) and labels (n,): of each client, and held out.

    ``mean`` and ``sd`` are those of the clients' pixels in [0, 1].
    """

    clients: list[tuple[torch.Tensor, torch.Tensor]]
    held_out: tuple[torch.Tensor, torch.Tensor]
    mean: float
    sd: float


def read(leaf: Path, store: Path) -> Data:
    """The writers in LEAF's JSON files, numbered and divided as the arrays in ``store`` say.

    Validation and test are held out together. Raises AssertionError unless each client of the
    store has exactly the images and labels of one writer.
    """
    images, labels, clients, splits = (
        np.load(store / f"{name}.npy") for name in ("images", "labels", "clients", "splits")
    )
    numbers = np.unique(clients)
    stored = [_sorted(images[clients == c], labels[clients == c, 0]) for c in numbers]
    written = [
        _sorted(np.rint(np.array(writer["x"]) * 255).astype(np.uint8), writer["y"])
        for path in leaf.glob("*.json")
        for writer in json.loads(path.read_text())["user_data"].values()
    ]
    assert sorted(stored) == sorted(written), f"{store}: not the images of {leaf}"

    pixels, train = images / 255, splits == 0
    mean, sd = pixels[train].mean(), pixels[train].std()

    def part(rows):
        standard = torch.tensor((pixels[rows] - mean) / sd).float().permute(0, 3, 1, 2)
        return standard, torch.tensor(labels[rows, 0]).long()

    own = [part(train & (clients == c)) for c in numbers]
    return Data(own, part(~train), float(mean), float(sd))


def _sorted(images: np.ndarray, labels: Iterable[int]) -> list[tuple[int, bytes]]:
    """A writer's labels and images, in an order that depends on nothing else."""
    pairs = zip(images, labels, strict=True)
    return sorted((int(label), image.tobytes()) for image, label in pairs)


def network(widths: tuple[int, int]) -> nn.Sequential:
    """The CNN of method.md for 28x28, Glorot-uniform kernels and zero biases."""
    layers = nn.Sequential(
        *(nn.Conv2d(1, widths[0], 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(widths[0], widths[1], 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[1], CLASSES)),
    )
    for layer in layers:
        if hasattr(layer, "weight"):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return layers.to(memory_format=torch.channels_last)  # the same numbers, a fifth sooner


class Draws:
    """All that a run draws at random: its first weights, cohorts and the order of images."""

    def __init__(self, seed: int) -> None:
        torch.manual_seed(seed)

    def weights(self, widths: tuple[int, int]) -> dict:
        """The state that a run begins with."""
        return network(widths).state_dict()

    def cohort(self, server_round: int, clients: int, size: int) -> list[int]:
        """``size`` different clients out of ``clients``."""
        return torch.randperm(clients)[:size].tolist()

    def orders(self, server_round: int, client: int, images: int) -> Iterator[torch.Tensor]:
        """Of each epoch of a client in a round, the order (images,) of its images."""
        while True:
            yield torch.randperm(images)


def train(
    state: dict,
    images: torch.Tensor,
    labels: torch.Tensor,
    orders: Iterator[torch.Tensor],
    settings: Settings,
) -> dict:
    """What one client returns: ``state`` trained for its epochs, with an Adam of its own."""
    model = loaded(state)
    adam = torch.optim.Adam(model.parameters(), lr=settings.learning_rate, eps=settings.epsilon)
    for _ in range(settings.local_epochs):
        for batch in next(orders).split(settings.batch_size):
            adam.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            adam.step()
    return model.state_dict()


def loaded(state: dict) -> nn.Sequential:
    """A network with these weights, and of their widths."""
    model = network(tuple(filters(state)))
    model.load_state_dict(state)
    return model


def average(states: list[dict], examples: list[int]) -> dict:
    """The mean of the clients' states, each weighted by its number of examples."""
    return {
        name: sum(n * state[name] for n, state in zip(examples, states, strict=True))
        / sum(examples)
        for name in states[0]
    }


def inside(kernel: torch.Tensor, k: float) -> torch.Tensor:
    """Indices of the filters whose L1 norm is within mean ± k population standard deviations."""
    norms = kernel.abs().sum((1, 2, 3))
    distance = (norms - norms.mean()).abs()
    kept = (distance <= k * norms.std(correction=0)).nonzero().flatten()
    return kept if len(kept) else distance.argmin().view(1)


def cut(state: dict, k: float) -> dict:
    """The rule applied once: the filters that stay keep their weights, and who reads them too."""
    state = dict(state)
    readers = {"0": "3", "3": LINEAR}
    kept = {layer: inside(state[f"{layer}.weight"], k) for layer in CONVOLUTIONS}
    for layer, indices in kept.items():
        for part in ("weight", "bias"):
            state[f"{layer}.{part}"] = state[f"{layer}.{part}"][indices]
        reader = f"{readers[layer]}.weight"
        state[reader] = state[reader][:, indices]
    return state


def size(state: dict) -> int:
    """The number of parameters."""
    return sum(tensor.numel() for tensor in state.values())


@torch.no_grad()
def accuracy(state: dict, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of images (0..1) whose class is found."""
    return (loaded(state)(images).argmax(1) == labels).double().mean().item()


def fedavg(data: Data, settings: Settings, draws: Draws, *, prune: bool) -> tuple[dict, list]:
    """One run: the final state, and the accuracies (0..1) of its evaluations."""
    state = draws.weights(settings.widths)
    stalled, applications, accuracies = 0, 0, []
    for server_round in range(1, settings.rounds + 1):
        searching = stalled < settings.patience and applications < settings.cap
        if prune and server_round > 1 and searching:
            before, state = size(state), cut(state, settings.k)
            stalled = 0 if size(state) < before else stalled + 1
            applications += 1
        states, examples = [], []
        for client in draws.cohort(server_round, len(data.clients), settings.clients_per_round):
            images, labels = data.clients[client]
            orders = draws.orders(server_round, client, len(labels))
            states.append(train(state, images, labels, orders, settings))
            examples.append(len(labels))
        state = average(states, examples)
        if server_round % settings.evaluate_every == 0:
            accuracies.append(accuracy(state, *data.held_out))
    return state, accuracies


def filters(state: dict) -> list[int]:
    """How many filters each convolution has."""
    return [len(state[f"{layer}.weight"]) for layer in CONVOLUTIONS]
