"""Rounds on apple's pfl, with our training in the place of its own and with its own."""

import itertools
import math
import os
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from bench_clients import plain_input, plain_network
from bench_rounds import Request
from bench_turns import Clients, timed
from torch import Tensor, nn

from autoprune.federation.training import to_input
from autoprune.models import load_state
from autoprune.models.state import unflat


def pfl(request: Request, *, own: bool) -> dict[str, Any]:
    """Rounds of pfl's simulated backend in ``workers`` processes, the first of which answers.

    They meet as torchrun's do, one a rank, and pfl shares a cohort out among them.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "peers"}
    # forked, so that torch is loaded once
    rank = next((n for n in range(1, request.workers) if os.fork() == 0), 0)
    who = {"WORLD_SIZE": str(request.workers), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ.update(meet | who)
    found = _pfl_rank(request, own)
    if rank:
        sys.exit()
    if any(os.wait()[1] for _ in range(1, request.workers)):
        raise RuntimeError("another process of pfl failed")
    return found


def _pfl_rank(request: Request, own: bool) -> dict[str, Any]:
    """The rounds as one of pfl's processes sees them, but the loss is of all clients."""
    os.environ["PFL_PYTORCH_DEVICE"] = "cpu"
    from pfl.aggregate.simulate import SimulatedBackend
    from pfl.aggregate.weighting import WeightByDatapoints
    from pfl.algorithm.base import NNAlgorithmParams
    from pfl.algorithm.federated_averaging import FederatedAveraging
    from pfl.common_types import Population
    from pfl.context import CentralContext
    from pfl.data.dataset import Dataset
    from pfl.data.federated_dataset import FederatedDataset
    from pfl.hyperparam import NNTrainHyperParams
    from pfl.metrics import Metrics
    from pfl.model.pytorch import PyTorchModel

    torch.set_num_threads(1)
    clients = Clients(request)
    settings = clients.settings
    losses: list[tuple[Any, int]] = []  # of clients, or of the steps of the plain loop

    class OurClient(FederatedAveraging):
        """Our training in the place of its own."""

        def train_one_user(self, initial_model_state, model, user_dataset, central_context):  # type: ignore[no-untyped-def]
            network, client = model.pytorch_model, user_dataset.user_id
            rounds = central_context.current_central_iteration
            losses.append((clients.train(network, *user_dataset.raw_data, rounds, client), 1))
            return model.get_model_difference(initial_model_state), Metrics()

    def loss(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        network.train()
        found = nn.functional.cross_entropy(network(images), labels)
        losses.append((found.detach(), len(labels)))
        return found

    if own:
        network: Any = plain_network(clients.architecture)
        network.load_state_dict(unflat(clients.weights, clients.shapes))
        network.loss = partial(loss, network)
        to_images: Callable[[np.ndarray], Tensor] = plain_input
    else:
        network = clients.workspace()
        load_state(network, unflat(clients.weights, clients.shapes))
        to_images = partial(to_input, pixel_range=clients.store.pixel_range)
    network.metrics = lambda *_: {}  # which it asks for, though nothing is evaluated
    model = PyTorchModel(
        network,
        partial(torch.optim.Adam, eps=settings.epsilon),
        torch.optim.SGD(network.parameters(), lr=1.0),
    )

    def user(client: int) -> Dataset:
        images = to_images(clients.pixels(client))
        return Dataset([images, clients.labels(client)], user_id=client)

    steps = math.ceil(len(clients.labels(0)) / settings.batch_size)  # all clients are as large
    cohort: list[int] = []  # of which pfl's processes take one each, in turn
    turns = itertools.count()
    data = FederatedDataset(user, lambda: cohort[next(turns) % len(cohort)])
    backend = SimulatedBackend(data, data, postprocessors=[WeightByDatapoints()])
    algorithm = FederatedAveraging() if own else OurClient()
    training = NNTrainHyperParams(
        local_batch_size=settings.batch_size,
        local_num_epochs=settings.local_epochs,
        local_learning_rate=settings.learning_rate,
    )

    def round_of(server_round: int, chosen: Sequence[int]) -> list[float]:
        nonlocal turns
        cohort[:], turns = chosen, itertools.count()
        losses.clear()
        params = NNAlgorithmParams(request.rounds + 1, 1, len(cohort), None)
        context = CentralContext(
            server_round, False, len(cohort), Population.TRAIN, params, training, seed=0
        )
        backend.gather_results(model, algorithm, central_context=context)
        return last_epochs(losses, steps, settings.local_epochs) if own else [x for x, _ in losses]

    found = timed(request, round_of, torch.distributed.barrier)
    numbers = torch.tensor([found["loss"] * found["trained"], found["trained"]], dtype=torch.double)
    torch.distributed.all_reduce(numbers)
    torch.distributed.destroy_process_group()
    return found | {"loss": float(numbers[0] / numbers[1]), "trained": int(numbers[1])}


def last_epochs(losses: list[tuple[Tensor, int]], steps: int, epochs: int) -> list[float]:
    """Mean losses of clients in their last epoch, from those of all steps, so many an epoch."""
    found = []
    for end in range(steps * epochs, len(losses) + 1, steps * epochs):
        last = losses[end - steps : end]
        number = sum(images for _, images in last)
        found.append(sum(float(loss) * images for loss, images in last) / number)
    return found
