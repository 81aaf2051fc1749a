"""Other clients to measure against: the one of Flower's PyTorch quickstart, and an echo."""

from collections import OrderedDict
from functools import cache

import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation.messages import read_instruction
from autoprune.models import Architecture

tutorial = ClientApp()
echo = ClientApp()


def plain_network(architecture: Architecture) -> nn.Sequential:
    """The cnn as one writes it down: ReLU then pool, contiguous, torch's own layers.

    Its tensors have the names that the project's network gives them.
    """
    channels, side, _ = architecture.input_shape
    large = side >= 64
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i, filters in enumerate(architecture.widths, 1):
        layers[f"conv{i}"] = nn.Conv2d(channels, filters, 5, padding=2 if large else 0)
        layers[f"relu{i}"] = nn.ReLU()
        layers[f"pool{i}"] = nn.MaxPool2d(2)
        side, channels = (side if large else side - 4) // 2, filters
    if not large:
        layers["average"] = nn.AdaptiveAvgPool2d(1)
        side = 1
    layers["flatten"] = nn.Flatten()
    layers["linear"] = nn.Linear(channels * side * side, architecture.classes)
    return nn.Sequential(layers)


def plain_input(images: np.ndarray) -> torch.Tensor:
    """uint8 (image, height, width, channel) -> contiguous float32 (image, channel, ...)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255


@cache
def _data(store: str, partition: str) -> tuple[ClientStore, Partition]:
    return ClientStore.open(store), Partition.open(partition)


def load_data(context: Context) -> DataLoader:
    """The quickstart's loader, over images that are tensors already: its transforms cost more."""
    config = context.run_config
    store, partition = _data(str(config["store"]), str(config["partition"]))
    rows = partition.indices(int(context.node_config["partition-id"]))
    labels = torch.from_numpy(store.labels[rows, 0].astype(np.int64))
    dataset = TensorDataset(plain_input(store.images[rows]), labels)
    return DataLoader(dataset, batch_size=int(config["batch-size"]), shuffle=True)


@tutorial.train()
def train(message: Message, context: Context) -> Message:
    """The quickstart's training, with Adam in the place of its SGD."""
    architecture, _, _ = read_instruction(message.content)
    model = plain_network(architecture)
    weights = message.content["arrays"]["weights"].numpy()  # the one difference: a flat array
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights), model.parameters())
    model.train()
    loader = load_data(context)
    config = context.run_config
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(
        model.parameters(), lr=float(config["learning-rate"]), eps=float(config["epsilon"])
    )
    running = 0.0
    for _ in range(int(config["local-epochs"])):
        running = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
    metrics = MetricRecord(
        {"num-examples": len(loader.dataset), "train-loss": running / len(loader)}
    )
    client = ConfigRecord({"partition-id": int(context.node_config["partition-id"])})
    reply = RecordDict(
        {"arrays": ArrayRecord(model.state_dict()), "metrics": metrics, "client": client}
    )
    return Message(reply, reply_to=message)


@echo.train()
def give_back(message: Message, context: Context) -> Message:
    """The arrays that came."""
    reply = RecordDict({"arrays": message.content.array_records["arrays"]})
    return Message(reply, reply_to=message)
