"""What a client does in its turn on another simulator, and the rounds that are timed.

A client reads, trains and answers as the project's ClientApp does, by the same functions.
"""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from bench_rounds import Request, initial
from torch import Tensor

from autoprune.core.seeds import generator
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation.settings import Settings
from autoprune.federation.training import to_input, train
from autoprune.models import Architecture, build, load_state
from autoprune.models.layers import Network, to_channels_last
from autoprune.models.state import flat, shapes, unflat


class Clients:
    """All clients of a request, to be trained by any simulator."""

    def __init__(self, request: Request) -> None:
        assert request.architecture
        self.settings = Settings.from_run_config(dict(request.run_config))
        self.architecture = Architecture.from_json(request.architecture)
        self.store = ClientStore.open(self.settings.store)
        self.partition = Partition.open(self.settings.partition)
        self.weights = initial(request, self.architecture)
        self.shapes = shapes(build(self.architecture).state_dict())
        self._own = threading.local()

    def workspace(self) -> Network:
        """A network of this thread's, as the ClientApp has one of its process'."""
        if not hasattr(self._own, "network"):
            self._own.network = to_channels_last(build(self.architecture))
            self._own.network.gradients = self.settings.gradients
        return self._own.network

    def pixels(self, client: int) -> np.ndarray:
        """A client's images as they are stored."""
        return self.store.images[self.partition.indices(client)]

    def labels(self, client: int) -> Tensor:
        """Its labels (image,)."""
        rows = self.partition.indices(client)
        return torch.from_numpy(self.store.labels[rows, 0].astype(np.int64))

    def train(
        self, network: Network, images: Tensor, labels: Tensor, server_round: int, client: int
    ) -> float:
        """Train in place as the ClientApp does; the mean loss of the last epoch."""
        settings = self.settings
        return train(
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

    def answer(self, weights: Tensor, server_round: int, client: int) -> tuple[Tensor, float]:
        """A whole turn: load the weights (number,), read the images, train; weights and loss."""
        torch.set_num_threads(self.settings.torch_threads)  # of this thread, too
        network = self.workspace()
        load_state(network, unflat(weights, self.shapes))
        images = to_input(self.pixels(client), self.store.pixel_range)
        loss = self.train(network, images, self.labels(client), server_round, client)
        return flat(network.state_dict()), loss


def timed(
    request: Request,
    round_of: Callable[[int, Sequence[int]], list[float]],
    wait: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Call for rounds of the first clients, as ``bench_rounds.measure`` does; ``wait`` before."""
    seconds, losses = [], []
    for server_round in range(request.rounds + 1):
        number = request.cohort if server_round else request.warm_up
        wait()
        started = time.perf_counter()
        found = round_of(server_round, range(number))
        seconds.append(time.perf_counter() - started)
        losses += found
    return {"seconds": seconds[1:], "loss": statistics.mean(losses), "trained": len(losses)}
