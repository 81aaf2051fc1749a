"""What a run does otherwise than plain FedAvg with Adam, held against its data and its network."""

import sys
from collections.abc import Mapping
from typing import Any

import torch

from autoprune.core.errors import InputError
from autoprune.federation import optimizers
from autoprune.federation.augmentation import try_on
from autoprune.federation.server_optimizer import ServerOptimizer
from autoprune.federation.settings import Settings
from autoprune.federation.start import begin_with
from autoprune.federation.training import fresh_moments
from autoprune.models import count_parameters
from autoprune.models.layers import Network
from autoprune.models.state import State


def check_fit(settings: Settings, shape: tuple[int, int, int], network: Network) -> None:
    """Raise InputError for what only the data, the network or other settings show to be wrong.

    ``shape`` is that of an image (height, width, channels) in pixels.
    """
    optimizers.rate(settings, settings.rounds)
    if settings.optimizer_state == "carried":
        carried_like(settings.optimizer, network)
    try_on(settings.augmentation, shape)
    if settings.server:
        ServerOptimizer(settings.server).require(settings.min_clients)


def carried_like(optimizer: Mapping[str, Any], network: Network) -> State:
    """Names and shapes of the optimizer's state that goes from client to client."""
    if optimizer:
        return optimizers.carried_like(optimizer, network)
    return fresh_moments(torch.empty(count_parameters(network)[0]))


def begin(network: Network, settings: Settings, *, of_base: bool) -> None:
    """Set the weights that a run begins with, where its settings have some.

    A method that begins with another network than the whole one (``of_base``) draws its own, as it
    is to train from scratch. Raises InputError for weights that do not fit, and for variants that
    go back to the initial weights, which they draw again.
    """
    if not settings.start:
        return
    variant = settings.like or settings.variant
    if settings.method in ("autoprune", "null-norms") and variant.startswith("rewind"):
        raise InputError(
            f"start: variant {variant} goes back to the weights that the seed draws, not to a "
            "file's; choose inherit or reinit"
        )
    if of_base:
        begin_with(network, settings.start, partial=settings.start_partial)
    else:
        print("start: not the network that this method begins with", file=sys.stderr, flush=True)
