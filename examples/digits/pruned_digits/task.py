"""Data, network, training and test: an ordinary task that knows nothing of pruning."""

import torch
from flwr.app import UserConfig
from safetensors.torch import load_file
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

EXAMPLE = torch.zeros(1, 1, 8, 8)  # (batch, channel, height, width)
HELD_OUT = 360  # digits that no client has
Data = dict[str, Tensor]  # "images" (image, 1, 8, 8) in [0, 1], "labels" (image,)


def build() -> nn.Module:
    """A small network of two convolutions; its weights are drawn from torch's random numbers."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 2 * 2, 10),
    )


def digits() -> Data:
    """All 1,797 digits of scikit-learn, which come with it."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32).unsqueeze(1) / 16
    return {"images": images, "labels": torch.tensor(found.target)}


def share(number: int, of: int) -> Data:
    """The digits of one client of ``of``: every so many of those that are not held out."""
    return {name: values[:-HELD_OUT][number::of] for name, values in digits().items()}


def held_out() -> Data:
    """The digits on which the server tests."""
    return {name: values[-HELD_OUT:] for name, values in digits().items()}


def load_data(node: UserConfig) -> Data:
    """A node's own digits: of a file that it names, or in a simulation its share of them all."""
    if "partition-id" in node:
        return share(int(node["partition-id"]), int(node["num-partitions"]))
    return load_file(str(node["data-path"]))


def train(net: nn.Module, data: Data, epochs: int, learning_rate: float, seed: int) -> float:
    """Train by SGD, batches of 32 in an order drawn from ``seed``; the last epoch's mean loss."""
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9)
    order = torch.Generator().manual_seed(seed)
    total = 0.0
    for _ in range(epochs):
        total = 0.0
        for rows in torch.split(torch.randperm(len(data["labels"]), generator=order), 32):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(data["images"][rows]), data["labels"][rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(rows)
    return total / len(data["labels"])


@torch.no_grad()
def accuracy(net: nn.Module, data: Data) -> float:
    """The share of digits that a network names rightly."""
    right = net.eval()(data["images"]).argmax(1) == data["labels"]
    return float(right.float().mean())
