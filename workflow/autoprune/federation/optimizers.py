"""A client's optimizer and the schedule of its learning rate, by torch's own classes and names."""

import inspect
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from autoprune.core.errors import InputError
from autoprune.federation.chosen import fit, make, parts, pick, subclasses, unwritten, written
from autoprune.federation.settings import Training

# of what is not taken, why
REFUSED = {
    "LBFGS": "evaluates each batch several times, and a client does so once",
    "Muon": "takes matrices alone, and networks have other kernels and biases",
    "SparseAdam": "takes sparse gradients alone, and these are dense",
}
# these look at a tensor as a whole; all others at each number alone, so that one tensor of all
# parameters gives the same
BY_TENSOR = ("Adafactor",)
COMPUTING = "it is a way of computing that decides no number"
TAKEN = {
    "params": "they are the network's",
    "lr": "it is training.learning_rate",
    "maximize": "training makes the loss smaller",
    **dict.fromkeys(("foreach", "fused", "capturable", "differentiable"), COMPUTING),
}
EPS = {"eps": "it is training.epsilon"}

NO_FUNCTION = "its arguments are functions or schedules, which a configuration cannot hold"
NO_SCHEDULES = {
    "ReduceLROnPlateau": "follows a metric, and a rate here is a function of the round alone",
    **dict.fromkeys(
        ("LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler"), NO_FUNCTION
    ),
}
ALONE = "only the learning rate follows a schedule"
TAKEN_BY_SCHEDULES = {
    "optimizer": "it is training.optimizer",
    "last_epoch": "it is the round",
    "scale_fn": "a configuration holds no functions",
    **dict.fromkeys(("cycle_momentum", "base_momentum", "max_momentum"), ALONE),
}


def check(choice: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer that is chosen, as it is kept: nothing for Adam without arguments, the default.

    Raises InputError for one that torch does not have or that cannot train here, and for arguments
    that it does not take.
    """
    name, arguments = parts(choice)
    kind, taken = _kind(name)
    fit(kind, arguments, taken)
    _made(choice, [nn.Parameter(torch.zeros(2, 2))], 0.001, 1e-7)
    return {} if name == "Adam" and not arguments else dict(choice)


def _kind(name: str) -> tuple[type, dict[str, str]]:
    """An optimizer's class, and the arguments that are not the user's to give."""
    known = subclasses(torch.optim, torch.optim.Optimizer, but=("Optimizer", *REFUSED))
    return pick("optimizer", name, known, REFUSED), TAKEN | ({} if name in BY_TENSOR else EPS)


def _made(
    choice: Mapping[str, Any], parameters: list[nn.Parameter], learning_rate: float, epsilon: float
) -> torch.optim.Optimizer:
    """The optimizer of these parameters; fused where torch can, as the default Adam is."""
    name, arguments = parts(choice)
    kind, _ = _kind(name)
    takes = inspect.signature(kind).parameters
    given: dict[str, Any] = {"lr": learning_rate, **arguments}
    if "eps" in takes and name not in BY_TENSOR:
        given["eps"] = epsilon
    if "fused" in takes:
        given["fused"] = True
    found: torch.optim.Optimizer = make(kind, parameters, **given)
    return found


class Chosen:
    """An optimizer of torch's at work on a network whose parameters lie flat in ``weights``.

    ``trained`` (parameters,) is 0 where weights stay as they are, whatever decay or momentum would
    do; None where all are trained. It goes on from ``state``, or begins afresh.
    """

    def __init__(
        self,
        choice: Mapping[str, Any],
        network: nn.Module,
        weights: nn.Parameter,
        learning_rate: float,
        epsilon: float,
        trained: Tensor | None = None,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        by_tensor = parts(choice)[0] in BY_TENSOR
        self._parameters = list(network.parameters()) if by_tensor else [weights]
        self._optimizer = _made(choice, self._parameters, learning_rate, epsilon)
        self._weights, self._stay = weights, None
        if trained is not None:
            self._stay = trained == 0, weights.detach().clone()
        if state:
            self._load(state)

    def step(self) -> None:
        """One step by the gradients that are in place."""
        self._optimizer.step()
        if self._stay is not None:
            places, before = self._stay
            with torch.no_grad():
                self._weights.copy_(torch.where(places, before, self._weights))

    def state(self) -> dict[str, Tensor]:
        """What it remembers, as tensors by the number of the parameter and torch's name."""
        return {
            f"{number}/{name}": value
            for number, of in self._optimizer.state_dict()["state"].items()
            for name, value in of.items()
            if isinstance(value, Tensor)
        }

    def _load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from ``state``'s value."""
        found: dict[int, dict[str, Tensor]] = {}
        for place, value in state.items():
            number, _, name = place.partition("/")
            found.setdefault(int(number), {})[name] = value.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": found, "param_groups": groups})


def carried_like(choice: Mapping[str, Any], network: nn.Module) -> dict[str, Tensor]:
    """Names and shapes of what an optimizer of this network remembers after a step.

    Raises InputError for one that remembers nothing.
    """
    parameters = [nn.Parameter(torch.zeros_like(p)) for p in network.parameters()]
    holder = nn.ParameterList(parameters)
    weights = nn.Parameter(torch.zeros(sum(p.numel() for p in parameters)))
    for parameter in (*parameters, weights):
        parameter.grad = torch.zeros_like(parameter)
    optimizer = Chosen(choice, holder, weights, 0.001, 1e-7)
    optimizer.step()
    if not (found := optimizer.state()):
        raise InputError(
            f"optimizer_state: found 'carried', but {parts(choice)[0]} with these arguments "
            "remembers nothing; set optimizer_state: fresh"
        )
    return found


def check_schedule(choice: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule that is chosen; raises InputError as ``check``."""
    name, arguments = parts(choice)
    fit(_schedule(name), arguments, TAKEN_BY_SCHEDULES)
    _scheduled(choice, 0.001)
    return dict(choice)


def _schedule(name: str) -> type:
    known = subclasses(lr_scheduler, lr_scheduler.LRScheduler, but=("LRScheduler", *NO_SCHEDULES))
    return pick("schedule", name, known, NO_SCHEDULES)


def _scheduled(choice: Mapping[str, Any], learning_rate: float) -> lr_scheduler.LRScheduler:
    """The schedule of an optimizer that trains nothing."""
    name, arguments = parts(choice)
    nothing = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=learning_rate)
    found: lr_scheduler.LRScheduler = make(_schedule(name), nothing, **arguments)
    nothing.step()  # a schedule warns where it is stepped before its optimizer
    return found


def rate(settings: Training, server_round: int) -> float:
    """The clients' learning rate in a round (1, 2, ...): a function of it and the settings."""
    if not settings.schedule:
        return settings.learning_rate
    schedule = written(settings.schedule)
    return rates(schedule, settings.learning_rate, settings.rounds)[server_round - 1]


@cache
def rates(schedule: str, learning_rate: float, rounds: int) -> tuple[float, ...]:
    """The clients' learning rate in each round from the first on; ``schedule`` is JSON of one.

    One step of the schedule a round. Raises InputError where one ends before the last round, or
    gives what is no rate.
    """
    choice = unwritten(schedule)
    scheduled, found = _scheduled(choice, learning_rate), list[float]()
    name = parts(choice)[0]
    for server_round in range(1, rounds + 1):
        rate = float(scheduled.get_last_lr()[0])
        if not (math.isfinite(rate) and rate >= 0):
            raise InputError(f"schedule: {name}: gives {rate:g} in round {server_round}")
        found.append(rate)
        if server_round == rounds:
            break
        try:
            scheduled.step()
        except (ValueError, ZeroDivisionError) as error:
            raise InputError(
                f"schedule: {name}: ends after round {server_round} of {rounds} "
                f"({' '.join(str(error).split())})"
            ) from None
    return tuple(found)
