"""How fast this machine trains and evaluates a network, and what a message of it weighs."""

import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch
from flwr.app import Message, MessageType
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from autoprune.federation import batch_norm
from autoprune.federation.average import mean_of
from autoprune.federation.communication import Traffic, size
from autoprune.federation.local_grid import be_the_server
from autoprune.federation.messages import STATISTICS, instruction, measured, reply
from autoprune.federation.training import predict, to_input, train, workspace
from autoprune.federation.wire import only
from autoprune.models import Architecture, load_state, new_network
from autoprune.models.state import flat, shapes, unflat

SECONDS = 0.6  # that each network is timed for
Asked = tuple[Architecture, tuple[tuple[str, Any], ...], int]
DECIDING = ("local_epochs", "batch_size", "learning_rate", "epsilon", "precision")


class Speed(NamedTuple):
    """Seconds of one core: a client's part of a round, and an image of an evaluation."""

    visit: float
    image: float


def timed(architecture: Architecture, settings: Mapping[str, Any], images: int) -> Speed:
    """How fast this machine is with a client of so many images; see Speed."""
    torch.set_num_threads(1)
    be_the_server()
    stream = np.random.default_rng(0)
    channels, height, width = architecture.input_shape
    pixels = stream.integers(0, 256, (max(images, 256), height, width, channels), np.uint8)
    labels = stream.integers(0, architecture.classes, len(pixels))
    network, state = workspace(architecture), new_network(architecture, 0).state_dict()
    of = shapes(state)
    how = {name: settings[name] for name in DECIDING if name != "local_epochs"}
    how["epochs"] = 1

    def visit() -> None:  # what the server and a client do for one message, of one epoch
        message = Message(instruction(architecture, flat(state), 1), 2, MessageType.TRAIN)
        came, counted = _sent(message), Traffic()
        counted.down(message.content)
        load_state(network, unflat(only(came.content, "arrays"), of))
        own = to_input(pixels[:images]), torch.from_numpy(labels[:images])
        loss = train(network, *own, shuffle=stream, **how)
        answer = reply(0, flat(network.state_dict()), images, loss)
        back = _sent(Message(answer, reply_to=came))
        counted.up(back.content)
        mean_of([(unflat(only(back.content, "arrays"), of), images)])

    def evaluate() -> None:
        predict(network, pixels[:256], labels[:256])

    return Speed(settings["local_epochs"] * _mean(visit), _mean(evaluate) / 256)


def _sent(message: Message) -> Message:
    """A message as the other end has it."""
    return message_from_proto(
        ProtoMessage.FromString(message_to_proto(message).SerializeToString())
    )


def start() -> float:
    """Seconds of one core until a run begins: Python and its libraries are loaded."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "autoprune.federation", "--help"], capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _mean(work: Any) -> float:
    """Seconds of this process that a piece of work takes, its first time left out."""
    work()
    began, times = time.process_time(), 0
    while (spent := time.process_time() - began) < SECONDS or not times:
        work()
        times += 1
    return spent / times


def traffic(architecture: Architecture, refreshed: bool) -> tuple[int, int]:
    """Bytes that a client's part of a round takes, and of one with an evaluation besides."""
    network = new_network(architecture, 0)
    weights = flat(network.state_dict())
    down = size(instruction(architecture, weights, 1))
    plain = down + size(reply(0, weights, 100, 0.1))
    names = batch_norm.names(network)
    if not refreshed or not names:
        return plain, 0
    statistics = flat({name: network.state_dict()[name] for name in names})
    return plain, down + size(measured(0, STATISTICS, statistics, 100))


def work(asked: Sequence[Asked]) -> tuple[list[Speed], float]:
    """``timed`` of each, and the largest memory of this process, in bytes."""
    speeds = [timed(architecture, dict(how), images) for architecture, how, images in asked]
    return speeds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(
    asked: Mapping[str, Sequence[Asked]], processes: int
) -> tuple[dict[Asked, Speed], float]:
    """``work`` in so many processes at once: mean speeds, and the largest memory of one.

    ``asked`` by pair, each of which is said on stderr as it begins.
    """
    speeds: dict[Asked, Speed] = {}
    largest = 0.0
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for pair, of_pair in asked.items():
            print(f"{pair}: timing {len(of_pair)} networks", file=sys.stderr, flush=True)
            found = list(pool.map(work, [of_pair] * processes))
            for place, one in enumerate(of_pair):
                speeds[one] = Speed(*np.mean([each[place] for each, _ in found], axis=0))
            largest = max(largest, *(memory for _, memory in found))
    return speeds, largest
