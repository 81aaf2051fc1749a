"""What Flower's strategies keep for each number of a network, cut as the network is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from flwr.serverapp.strategy import Strategy
from torch import Tensor

from autoprune.models.state import State


def carry(strategy: Strategy, names: Sequence[str], cut: Callable[[State], State]) -> None:
    """Cut what a strategy keeps for each number of the network, such as FedAdam's momenta.

    Flower's keep them as numpy arrays, by the arrays' names or in their order; the arrays that a
    strategy remembers as ``current_arrays`` it is sent anew.
    """
    for attribute, value in vars(strategy).items():
        if isinstance(value, Strategy):  # of one that wraps another, as those of privacy do
            carry(value, names, cut)
        elif attribute == "current_arrays":
            strategy.__dict__[attribute] = None
        elif isinstance(value, dict) and list(value) == list(names):
            strategy.__dict__[attribute] = _numbers(cut(_tensors(value)))
        elif isinstance(value, list) and value and len(value) == len(names):
            numbers = _numbers(cut(_tensors(dict(zip(names, value, strict=True)))))
            strategy.__dict__[attribute] = list(numbers.values())


def _tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.as_tensor(np.asarray(value)) for name, value in values.items()}


def _numbers(state: State) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in state.items()}
