"""A gate a filter, drawn from the hard concrete distribution: which filters a network needs.

Sources: Louizos et al. 2018, "Learning Sparse Neural Networks through L0 Regularization", eqs. 10
to 13, with its constants; Wang et al. 2020, "Structured Pruning of Large Language Models", for the
distance to a target size, weighted linearly and squared (augmented Lagrangian); Xia et al. 2022,
"Structured Pruning Learns Compact and Accurate Models", for the layerwise distillation.
"""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.models import count_parameters
from autoprune.models.attached import Attached
from autoprune.models.cuts import listeners
from autoprune.models.kinds import BATCH_NORMS
from autoprune.models.layers import Network

LOWEST, HIGHEST = -0.1, 1.1  # the stretched interval, of which [0, 1] is kept
TEMPERATURE = 2 / 3
TINY = 1e-6  # random numbers keep this far from 0 and 1, whose logarithms are infinite


class Part(Attached):
    """Gates z in [0, 1], one a filter, where layers listen to it: at zero it is silenced.

    They multiply the kernels and matrices behind a filter along their inputs, which is as if they
    multiplied its output after norm, activation and pooling, whatever stands there. Filters that
    are coupled share one. ``gates`` of each prunable layer (filter,) are the log alpha divided by
    ``rate``: so that an optimizer moves log alpha ``rate`` times as far as a weight.
    """

    rate: Tensor

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        places = network.places
        self.gates = nn.ParameterList(torch.zeros(width) for width in places.widths)
        self.register_buffer("rate", torch.ones(()))
        self._listen = {n: (a, places.owners[n][a]) for n, a in listeners(network, places)}
        # the network's size as a sum of products: numbers of a tensor that hang on no filter times,
        # along each axis that does, its places; equal axes are counted once
        self._axes: list[Tensor] = []
        self._terms: dict[tuple[int, ...], int] = {}
        for name, tensor in network.state_dict().items():
            owners = places.owners.get(name, {})
            rest = math.prod(s for axis, s in enumerate(tensor.shape) if axis not in owners)
            term = tuple(sorted(self._axis(owner) for owner in owners.values()))
            self._terms[term] = self._terms.get(term, 0) + rest
        self._whole = count_parameters(network)[1]
        self._ask: Mapping[str, str | float] = {}
        self._teacher: tuple[Network, ...] = ()  # in a tuple it is no module of this one
        self._hidden: dict[str, Tensor] = {}
        for name in network.prunable:
            network.get_submodule(name).register_forward_hook(partial(self._hear, name))

    def _axis(self, owner: Tensor) -> int:
        for number, known in enumerate(self._axes):
            if torch.equal(known, owner):
                return number
        self._axes.append(owner)
        return len(self._axes) - 1

    def _hear(self, name: str, _: nn.Module, inputs: object, output: Tensor) -> None:
        if self.training and self._teacher:
            self._hidden[name] = output

    @torch.no_grad()
    def open(self, rate: float, closed: float) -> None:
        """Begin: all gates alike, with log alpha so that ``closed`` is sigmoid(-log alpha)."""
        self.rate.fill_(rate)
        for gate in self.gates:
            gate.fill_(math.log((1 - closed) / closed) / rate)

    def log_alpha(self) -> Tensor:
        """Of all filters (filter,), layer after layer."""
        return torch.cat(list(self.gates)) * self.rate

    def values(self) -> Tensor:
        """The gates z (filter,): drawn in training (eqs. 10 and 11), else as in eq. 13."""
        log_alpha = self.log_alpha()
        if self.training:
            drawn = torch.rand(log_alpha.shape).to(log_alpha.device).clamp(TINY, 1 - TINY)
            share = torch.sigmoid((drawn.logit() + log_alpha) / TEMPERATURE)
        else:
            share = torch.sigmoid(log_alpha)
        return (share * (HIGHEST - LOWEST) + LOWEST).clamp(0, 1)

    def chances(self) -> Tensor:
        """That a gate is not zero (filter,), eq. 12."""
        return torch.sigmoid(self.log_alpha() - TEMPERATURE * math.log(-LOWEST / HIGHEST))

    def expected(self) -> Tensor:
        """The expected size () as a share of the whole: parameters, batch-norm statistics too.

        As if the axes of one kernel were independent; exact where all gates are open or closed.
        """
        chances = self.chances().double()
        owned = torch.cat([chances, torch.ones_like(chances[:1])])  # what is nobody's stays
        counts = [owned[axis].sum() for axis in self._axes]
        left = torch.zeros_like(chances[0])
        for term, rest in self._terms.items():
            left = left + rest * math.prod(counts[n] for n in term)
        return left / self._whole

    def used(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The kernels and matrices that listen to filters, times the gates."""
        values = self.values()
        opened = torch.cat([values, torch.ones_like(values[:1])])
        return {
            name: weights[name] * opened[owner].view(-1, *[1] * (weights[name].dim() - 1 - axis))
            for name, (axis, owner) in self._listen.items()
        }

    def owners(self) -> Mapping[str, Mapping[int, Tensor]]:
        """A gate is its filter's."""
        starts = torch.tensor([0, *(len(gate) for gate in self.gates)]).cumsum(0)
        return {
            f"gates.{n}": {0: torch.arange(len(gate)) + starts[n]}
            for n, gate in enumerate(self.gates)
        }

    def begin(self, ask: Mapping[str, str | float], teacher: Network | None) -> None:
        """Take the target and the weights of the terms, and the dense network to be like."""
        self._ask, self._teacher = ask, () if teacher is None else (teacher,)
        if teacher is not None:
            teacher.eval()  # but for batch norm, which sees the same batches as the student's
            for module in teacher.modules():
                module.train(isinstance(module, BATCH_NORMS))

    def penalty(self, images: Tensor, logits: Tensor) -> Tensor | None:
        """The distance to the target size, linear and squared, and that to the teacher."""
        of = {name: float(value) for name, value in self._ask.items() if name.startswith("gates-")}
        if not of:
            return None
        excess = self.expected().float() - of["gates-target"]
        total = of["gates-linear"] * excess + of["gates-squared"] * excess.square()
        for teacher in self._teacher:
            total = total + of["gates-distil"] * self._distance(teacher, images, logits)
        return total

    def _distance(self, teacher: Network, images: Tensor, logits: Tensor) -> Tensor:
        """Mean over the prunable layers of ``apart`` of their outputs, plus that of the logits."""
        hidden, found = self._hidden, dict[str, Tensor]()
        hooks = [
            teacher.get_submodule(name).register_forward_hook(
                lambda _, __, output, name=name: found.update({name: output})
            )
            for name in hidden
        ]
        try:
            with torch.no_grad():
                right = teacher(images)
        finally:
            for hook in hooks:
                hook.remove()
        layers = torch.stack([apart(output, found[name]) for name, output in hidden.items()])
        self._hidden = {}
        return layers.mean() + apart(logits, right)


def apart(found: Tensor, right: Tensor) -> Tensor:
    """The mean squared difference (), as a share of the mean square of what is right."""
    right = right.float()
    return F.mse_loss(found.float(), right) / right.square().mean().clamp(min=TINY)
