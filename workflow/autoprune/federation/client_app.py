"""The ClientApp: train, or measure, the network that a message brings on this client's images."""

from functools import cache

import numpy as np
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from autoprune.core.seeds import generator
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation import batch_norm
from autoprune.federation.inquiry import ACTION, answer
from autoprune.federation.messages import OPTIMIZER, read_instruction, reply, statistics_reply
from autoprune.federation.settings import Settings
from autoprune.federation.training import (
    answer_shapes,
    importance,
    keep_memory,
    to_input,
    train,
    workspace,
)
from autoprune.federation.wire import answered, arrays, received, tensors
from autoprune.models import load_state
from autoprune.models.layers import Network
from autoprune.models.state import flat

app = ClientApp()
# an importance too, but of the steps of training (Jiang et al. 2022): their gradients' sum, squared
SQUARED_GRADIENTS = "squared-gradients"


@cache
def _data(store: str, partition: str) -> tuple[ClientStore, Partition]:
    """The data set and its partition, memory-mapped once a process."""
    return ClientStore.open(store), Partition.open(partition)


def _own(settings: Settings, client: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The client's images (image, channel, height, width) and labels (image,)."""
    store, partition = _data(settings.store, settings.partition)
    rows = partition.indices(client)
    labels = store.labels[rows, store.target_column(settings.target)]
    images = to_input(store.images[rows], store.pixel_range)
    return images, torch.from_numpy(labels.astype(np.int64))


def _in_order(kind: str, network: Network, answers: dict[str, torch.Tensor]) -> torch.Tensor | None:
    """The answers as the server expects them: flat, in its order; None when nothing is asked."""
    if not kind:
        return None
    return flat({name: answers[name] for name in answer_shapes(kind, network)})


def _begin(context: Context) -> tuple[Settings, int]:
    """The run's settings and this client's number; the process is made ready to compute."""
    keep_memory()
    settings = Settings.from_run_config(dict(context.run_config))
    torch.set_num_threads(settings.torch_threads)  # the order of sums depends on it
    return settings, int(context.node_config["partition-id"])


@app.query()
def identify(message: Message, context: Context) -> Message:
    """Which partition this node holds: the server's cohorts are of partitions, not of nodes."""
    client = ConfigRecord({"partition-id": int(context.node_config["partition-id"])})
    return Message(RecordDict({"client": client}), reply_to=message)


@app.train()
def fit(message: Message, context: Context) -> Message:
    """Train on this client's images and send the weights back.

    Needs the message, the partition number in the node's configuration and the run's
    configuration; only masks and int8's rounding errors are kept between rounds, in the context.
    The shuffling depends on (seed, round, client) only.
    """
    settings, client = _begin(context)
    architecture, server_round, ask = read_instruction(message.content)
    images, labels = _own(settings, client)
    network = workspace(architecture)
    state, masks = received(message.content, context, network.state_dict())
    load_state(network, state)
    kind = str(ask.get("importance", ""))
    gradients: dict[str, torch.Tensor] | None = {} if kind == SQUARED_GRADIENTS else None
    moments = None
    if settings.optimizer_state == "carried":
        came = message.content.array_records.get(OPTIMIZER)
        moments = tensors(came) if came is not None else {}
    loss = train(
        network,
        images,
        labels,
        epochs=settings.local_epochs,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        epsilon=settings.epsilon,
        precision=settings.precision,
        shuffle=generator(settings.seed, "client", server_round, client),
        masks=masks,
        norm_l1=float(ask.get("norm-l1", 0)),
        moments=moments,
        gradients=gradients,
    )
    answers = {}
    if gradients is not None:
        answers = {name: total.square() for name, total in gradients.items()}
    elif kind:
        answers = importance(kind, network, images, labels, settings.batch_size)
    sent = answered(message.content, context, network.state_dict(), state, masks)
    content = reply(client, sent, len(labels), loss, _in_order(kind, network, answers))
    if moments is not None:
        content[OPTIMIZER] = arrays(moments)
    return Message(content, reply_to=message)


@app.query(ACTION)
def weigh(message: Message, context: Context) -> Message:
    """Answer what the weights that came matter for this client's images; nothing is trained."""
    settings, client = _begin(context)
    architecture, _, ask = read_instruction(message.content)
    images, labels = _own(settings, client)
    network = workspace(architecture)
    state, _ = received(message.content, context, network.state_dict())
    load_state(network, state)
    kind = str(ask["importance"])
    found = importance(kind, network, images, labels, settings.batch_size)
    content = answer(client, _in_order(kind, network, found), len(labels))
    return Message(content, reply_to=message)


@app.query("refresh")
def refresh(message: Message, context: Context) -> Message:
    """Send back the batch-norm statistics of this client's images; nothing is trained.

    The network comes as it does for training, and what the context needs for that is kept in it.
    """
    settings, client = _begin(context)
    architecture, _, _ = read_instruction(message.content)
    images, labels = _own(settings, client)
    network = workspace(architecture)
    state, _ = received(message.content, context, network.state_dict())
    load_state(network, state)
    found = batch_norm.statistics(network, images)
    return Message(statistics_reply(client, flat(found), len(labels)), reply_to=message)
