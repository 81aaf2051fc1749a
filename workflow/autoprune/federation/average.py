"""FedAvg's mean of clients' weights, and which updates are too far from the others to enter it."""

from collections.abc import Sequence
from statistics import median

import torch

from autoprune.federation.messages import Update
from autoprune.models.state import State


class Mean:
    """The running average of clients' tensors by their number of examples.

    That is FedAvg's (McMahan et al. 2017); batch-norm statistics are averaged alike. In memory is
    one sum, in float64 and in the order of ``add``, however many clients there are; it is divided
    by all examples at the end, and rounded once to the tensors' type. A float32 times its examples
    is exact, and so is the sum of equal ones of up to 2**29 examples: the mean of equal clients is
    those clients, bit for bit.
    """

    def __init__(self) -> None:
        self.examples = 0
        self._sums: dict[str, torch.Tensor] = {}
        self._types: dict[str, torch.dtype] = {}

    def add(self, state: State, examples: int) -> None:
        """A client's tensors, of the names and shapes of all others'."""
        for name, tensor in state.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros(tensor.shape, dtype=torch.float64)
                self._types[name] = tensor.dtype
            self._sums[name].add_(tensor, alpha=examples)
        self.examples += examples

    def value(self) -> dict[str, torch.Tensor]:
        """The mean of what was added; nothing of nothing."""
        return {n: (total / self.examples).to(self._types[n]) for n, total in self._sums.items()}


class Total:
    """The usable updates of a round, added up as they come; none of them is kept."""

    def __init__(self) -> None:
        self.clients = 0
        self._states, self._answers, self._loss = Mean(), Mean(), 0.0

    def add(self, update: Update) -> None:
        """One more client's."""
        self.clients += 1
        self._states.add(update.state, update.examples)
        self._answers.add(update.answers, update.examples)
        self._loss += update.train_loss * update.examples

    def mean(self) -> Update:
        """Their mean, as that of one client, numbered 0, with the examples of all."""
        examples = self._states.examples
        loss = self._loss / examples
        return Update(0, self._states.value(), examples, loss, self._answers.value())


def mean_of(weighted: Sequence[tuple[State, int]]) -> dict[str, torch.Tensor]:
    """The ``Mean`` of all of these, in this order."""
    mean = Mean()
    for state, examples in weighted:
        mean.add(state, examples)
    return mean.value()


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
