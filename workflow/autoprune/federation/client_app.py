"""The ClientApp: train, or measure, the network that a message brings on this client's images."""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from autoprune.core.seeds import generator, torch_seed
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation import batch_norm, device, replay
from autoprune.federation.augmentation import Augmentation
from autoprune.federation.importance import answer_shapes, importance
from autoprune.federation.messages import (
    ASK,
    IMPORTANCE,
    OPTIMIZER,
    REFRESH,
    STATISTICS,
    TEACHER,
    measured,
    read_instruction,
    reply,
)
from autoprune.federation.nodes import addressed, holding
from autoprune.federation.optimizers import rate
from autoprune.federation.resident import Resident
from autoprune.federation.settings import Settings
from autoprune.federation.tasks import task_of
from autoprune.federation.training import (
    keep_memory,
    to_input,
    train,
    workspace,
)
from autoprune.federation.unwrapping import answered, received
from autoprune.federation.wire import arrays, only, tensors
from autoprune.models import load_state
from autoprune.models.layers import Network
from autoprune.models.state import State, flat, shapes, unflat

app = ClientApp(mods=[addressed])
# an importance too, but of the steps of training (Jiang et al. 2022): their gradients' sum, squared
SQUARED_GRADIENTS = "squared-gradients"


@cache
def _open(store: str, partition: str) -> tuple[ClientStore, Partition]:
    """The data set and its partition, memory-mapped once a process."""
    return ClientStore.open(store), Partition.open(partition)


@cache
def _resident(where: torch.device) -> Resident:
    """What a GPU keeps of this process' clients."""
    return Resident(where)


def _settings(context: Context) -> Settings:
    """The settings of a run configuration, whose reading takes as long as a step; once a run."""
    # with their types, as Python holds 1, 1.0 and True for the same
    return _read(*((name, type(value), value) for name, value in context.run_config.items()))


@lru_cache(maxsize=8)
def _read(*config: tuple[str, type, bool | float | int | str]) -> Settings:
    return Settings.from_run_config({name: value for name, _, value in config})


def _data(settings: Settings, context: Context) -> tuple[ClientStore, Partition]:
    """The node's own share of the data, in the folder ``data`` that it names; all without one."""
    if folder := context.node_config.get("data"):
        own = Path(str(folder), settings.dataset)
        return _open(str(own / "store"), str(own / "partition"))
    return _open(settings.store, settings.partition)


@dataclass(frozen=True)
class Task:
    """What a message asks of this client, its network loaded with the weights that came.

    ``labels`` (image, ...); ``state`` and ``masks`` are the weights as they were received.
    ``pixels`` (image, height, width, channel) are the images as bytes, of which 0 and 255 are the
    ends of ``pixel_range``. The network and its images are where the run computes, ``state`` and
    ``masks`` on the processor.
    """

    settings: Settings
    client: int
    round: int
    ask: dict[str, str | float]
    network: Network
    state: dict[str, torch.Tensor]
    masks: dict[str, torch.Tensor]
    labels: torch.Tensor
    pixels: torch.Tensor
    pixel_range: tuple[float, float]

    @cached_property
    def images(self) -> torch.Tensor:
        """The network's input (image, channel, height, width): who trains on bytes needs none."""
        return to_input(self.pixels, self.pixel_range)

    @property
    def kind(self) -> str:
        """The importance that is asked for; "" for none."""
        return str(self.ask.get("importance", ""))

    def importance(self) -> dict[str, torch.Tensor]:
        """What the network's weights, as they are now, matter for this client's images."""
        batch_size = self.settings.batch_size
        return importance(self.kind, self.network, self.images, self.labels, batch_size)

    def in_order(self, answers: dict[str, torch.Tensor]) -> torch.Tensor:
        """The answers as the server expects them: flat, in its order."""
        return flat({name: answers[name] for name in answer_shapes(self.kind, self.network)}).cpu()


def begin(message: Message, context: Context) -> Task:
    """Read a message; the process is made ready to compute.

    Needs the partition number in the node's configuration and the run's configuration; only masks
    and int8's rounding errors are kept between rounds, in the context.
    """
    keep_memory()
    settings = _settings(context)
    torch.set_num_threads(settings.torch_threads)  # the order of sums depends on it
    where = device.start(settings.device)
    client = int(context.node_config["partition-id"])
    architecture, server_round, ask = read_instruction(message.content)
    store, partition = _data(settings, context)
    rows = partition.indices(client)
    asked = task_of(settings.task, store, settings.target)

    def read() -> tuple[np.ndarray, np.ndarray]:
        return store.images[rows], asked.labels(rows)

    if where == device.CPU:
        pixels, labels = map(torch.from_numpy, read())
    else:
        of_client = str(store.folder), str(partition.folder), client, settings.target
        pixels, labels = _resident(where).of(of_client, read)
    network = workspace(architecture, where)
    network.loss, network.gradients = asked.loss, settings.gradients
    state, masks = received(message.content, context, network.state_dict())
    load_state(network, _across(state, where))
    if network.attached is not None:
        teacher = None
        if TEACHER in message.content.array_records:
            teacher = workspace(architecture.plain, where)
            of = shapes(teacher.state_dict())
            load_state(teacher, _across(unflat(only(message.content, TEACHER), of), where))
        network.attached.begin(ask, teacher)
    return Task(
        settings, client, server_round, ask, network, state, masks, labels, pixels,
        store.pixel_range,
    )  # fmt: skip


def _across(state: State, where: torch.device) -> State:
    """A network's state on a device: what must be copied goes in one piece."""
    if all(tensor.device == where for tensor in state.values()):
        return state
    return unflat(flat(state).to(where), shapes(state))


@app.query()
def identify(message: Message, context: Context) -> Message:
    """Which clients this node holds: the server's cohorts are of clients, not of nodes."""
    if "data" not in context.node_config:
        content = holding([int(context.node_config["partition-id"])], "")
    else:
        settings = _settings(context)
        _, share = _data(settings, context)
        content = holding(share.held, share.whole)
    return Message(content, reply_to=message)


@app.train()
def fit(message: Message, context: Context) -> Message:
    """Train on this client's images and send the weights back.

    The shuffling depends on (seed, round, client) only.
    """
    task = begin(message, context)
    settings, network = task.settings, task.network
    # of layers that draw, such as dropout, and of what a method attached
    device.seed(torch_seed(settings.seed, "layers", task.round, task.client), task.labels.device)
    before = task.state
    if network.attached is not None:
        network.attached.start(network)
        started = _across(network.state_dict(), device.CPU)
        before = {name: tensor.clone() for name, tensor in started.items()}
    gradients: dict[str, torch.Tensor] | None = {} if task.kind == SQUARED_GRADIENTS else None
    moments = None
    if settings.optimizer_state == "carried":
        came = message.content.array_records.get(OPTIMIZER)
        moments = tensors(came) if came is not None else {}
    augment = None
    if settings.augmentation:
        seed = torch_seed(settings.seed, "augmentation", task.round, task.client)
        augment = Augmentation(settings.augmentation, seed, task.pixel_range)
    how: dict[str, Any] = {
        "epochs": settings.local_epochs,
        "batch_size": settings.batch_size,
        "learning_rate": rate(settings, task.round),
        "epsilon": settings.epsilon,
        "precision": settings.precision,
        "shuffle": generator(settings.seed, "client", task.round, task.client),
        "masks": task.masks,
        "norm_l1": float(task.ask.get("norm-l1", 0)),
        "moments": moments,
        "gradients": gradients,
        "proximal_mu": settings.proximal_mu,
    }
    on_gpu = task.labels.device != device.CPU
    if on_gpu and replay.covers(network, settings.optimizer, augment, settings.network):
        loss = replay.train(network, task.pixels, task.labels, task.pixel_range, **how)
    else:
        images = task.pixels.permute(0, 3, 1, 2).cpu() if augment else task.images
        more: dict[str, Any] = {"optimizer": settings.optimizer, "augment": augment}
        loss = train(network, images, task.labels, **how, **more)
    answers = None
    if gradients is not None:
        answers = task.in_order({name: total.square() for name, total in gradients.items()})
    elif task.kind:
        answers = task.in_order(task.importance())
    after = _across(network.state_dict(), device.CPU)
    sent = answered(message.content, context, after, before, task.masks)
    content = reply(task.client, sent, len(task.labels), loss, answers)
    if moments is not None:
        content[OPTIMIZER] = arrays(moments)
    return Message(content, reply_to=message)


@app.query(ASK.removeprefix("query."))
def weigh(message: Message, context: Context) -> Message:
    """Answer what the weights that came matter for this client's images; nothing is trained."""
    task = begin(message, context)
    found = task.in_order(task.importance())
    content = measured(task.client, IMPORTANCE, found, len(task.labels))
    return Message(content, reply_to=message)


@app.query(REFRESH.removeprefix("query."))
def refresh(message: Message, context: Context) -> Message:
    """Send back the batch-norm statistics of this client's images; nothing is trained.

    The network comes as it does for training, and what the context needs for that is kept in it.
    """
    task = begin(message, context)
    found = flat(batch_norm.statistics(task.network, task.images)).cpu()
    content = measured(task.client, STATISTICS, found, len(task.labels))
    return Message(content, reply_to=message)
