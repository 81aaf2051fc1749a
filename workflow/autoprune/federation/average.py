"""FedAvg's mean of clients' weights, and which updates are too far from the others to enter it."""

from collections.abc import Sequence
from statistics import median

import torch

from autoprune.federation.messages import Update
from autoprune.models.state import State


def mean_of(weighted: Sequence[tuple[State, int]]) -> dict[str, torch.Tensor]:
    """Clients' tensors averaged by their number of examples (McMahan et al. 2017, FedAvg).

    Batch-norm statistics are averaged alike. Summed in float64 in the order given, then rounded
    once to the tensors' type: the mean of equal clients is those clients, bit for bit.
    """
    total = sum(examples for _, examples in weighted)
    first = weighted[0][0]
    mean = {name: torch.zeros(tensor.shape, dtype=torch.float64) for name, tensor in first.items()}
    for state, examples in weighted:
        for name, tensor in state.items():
            mean[name].add_(tensor, alpha=examples / total)
    return {name: mean[name].to(tensor.dtype) for name, tensor in first.items()}


def too_far(updates: Sequence[Update], before: State, bound: float) -> dict[int, str]:
    """The clients whose weights moved more than ``bound`` times the median of all, with reasons.

    How far is the Euclidean norm of all that changed in the state ``before``, the one that was
    sent; in float64, which no finite float32 overflows.
    """
    moved = {update.client: _distance(update.state, before) for update in updates}
    usual = median(moved.values()) if moved else 0.0
    return {
        client: f"its update's norm {norm:.4g} is more than {bound:g} times the round's median, "
        f"{usual:.4g}"
        for client, norm in moved.items()
        if norm > bound * usual
    }


def _distance(state: State, before: State) -> float:
    """The Euclidean distance of two states of the same shapes."""
    squares = [(t.double() - before[n].double()).square().sum() for n, t in state.items()]
    return float(torch.stack(squares).sum().sqrt())
