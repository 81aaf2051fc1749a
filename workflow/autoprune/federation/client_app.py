"""The ClientApp: train the network that a message brings on this client's partition."""

from functools import cache

import numpy as np
import torch
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation.messages import read_instruction, reply
from autoprune.federation.settings import Settings
from autoprune.federation.training import keep_memory, to_input, train, workspace
from autoprune.models import load_state
from autoprune.seeds import generator

app = ClientApp()


@cache
def _data(store: str, partition: str) -> tuple[ClientStore, Partition]:
    """The data set and its partition, memory-mapped once a process."""
    return ClientStore.open(store), Partition.open(partition)


@app.query()
def identify(message: Message, context: Context) -> Message:
    """Which partition this node holds: the server's cohorts are of partitions, not of nodes."""
    client = ConfigRecord({"partition-id": int(context.node_config["partition-id"])})
    return Message(RecordDict({"client": client}), reply_to=message)


@app.train()
def fit(message: Message, context: Context) -> Message:
    """Train on this client's images and send the weights back.

    Needs nothing but the message, the partition number in the node's configuration, and the
    run's configuration. The shuffling depends on (seed, round, client) only.
    """
    keep_memory()
    settings = Settings.from_run_config(dict(context.run_config))
    torch.set_num_threads(settings.torch_threads)  # the order of sums depends on it
    client = int(context.node_config["partition-id"])
    architecture, state, server_round = read_instruction(message.content)
    store, partition = _data(settings.store, settings.partition)

    rows = partition.indices(client)
    images = to_input(store.images[rows], store.pixel_range)
    column = store.target_column(settings.target)
    labels = torch.from_numpy(store.labels[rows, column].astype(np.int64))

    network = workspace(architecture)
    load_state(network, state)
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
    )
    return Message(reply(client, network.state_dict(), len(rows), loss), reply_to=message)
