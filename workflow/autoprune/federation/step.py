"""One step of a client's training, for whoever takes it: the plain loop, or a replay on a GPU."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.models.kinds import BATCH_NORMS
from autoprune.models.layers import Network, gradient

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Step:
    """One step of a client's training, in place; ``train`` says what each part of it is for.

    Called with a batch's input and labels it gives the loss () of ``backward``, whose gradients are
    those of the flat ``weights`` (parameters,), and by which ``update`` steps. ``trained``,
    ``summed`` and ``received`` (parameters,): where a mask lets train, what sums all gradients, and
    the weights as they came. Each of ``scales`` then goes ``reach`` towards 0.
    """

    backward: Callable[[Tensor, Tensor, torch.dtype], Tensor]
    weights: nn.Parameter
    update: Callable[[], None]
    dtype: torch.dtype
    trained: Tensor | None
    summed: Tensor | None
    received: Tensor | None
    proximal_mu: float
    scales: Sequence[Tensor]
    reach: float

    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Take the step."""
        slopes = gradient(self.weights)
        slopes.zero_()
        loss = self.backward(inputs, labels, self.dtype)
        if self.summed is not None:
            self.summed.add_(slopes)
        if self.received is not None:
            slopes.add_(self.weights.detach() - self.received, alpha=self.proximal_mu)
        if self.trained is not None:
            slopes.mul_(self.trained)
        self.update()
        for scale in self.scales:
            scale.data.copy_(F.softshrink(scale.detach(), self.reach))
        return loss


def batches(
    images: Tensor, labels: Tensor, batch_size: int, shuffle: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch's batches of images and labels; the last may be smaller."""
    order = torch.from_numpy(shuffle.permutation(len(labels)))
    shuffled = (part[order.to(part.device)].split(batch_size) for part in (images, labels))
    return zip(*shuffled, strict=True)


def scales_of(network: Network) -> list[Tensor]:
    """The scales (channel,) of a network's batch norms."""
    return [m.weight for m in network.modules() if isinstance(m, BATCH_NORMS)]


def of_kernels(network: Network, weights: nn.Parameter, summed: Tensor) -> dict[str, Tensor]:
    """What was ``summed`` (parameters,) of each kernel and matrix, on the processor.

    The gradients of the flat ``weights`` are lost.
    """
    gradient(weights).copy_(summed)  # of which the parameters' own gradients are views
    return {
        name: gradient(parameter).clone(memory_format=torch.contiguous_format).cpu()
        for name, parameter in network.named_parameters()
        if parameter.dim() > 1
    }


def fresh_moments(weights: Tensor) -> dict[str, Tensor]:
    """Adam's state before its first step, as ``torch.optim.Adam`` names it."""
    return {
        "step": torch.zeros((), device=weights.device),  # on a GPU its kernel reads it there
        "exp_avg": torch.zeros_like(weights),
        "exp_avg_sq": torch.zeros_like(weights),
    }


@torch.no_grad()
def adam_step(
    weights: Tensor, state: dict[str, Tensor], learning_rate: float, epsilon: float
) -> None:
    """One step of Adam by ``weights.grad``, in place: that of ``torch.optim.Adam(fused=True)``.

    The same kernel and so the same bits, without the class: making its first object imports
    torch's compiler, a second of every run. Source: Kingma and Ba 2015; torch's own defaults.
    """
    state["step"].add_(1)
    torch._fused_adam_(
        [weights],
        [gradient(weights)],
        [state["exp_avg"]],
        [state["exp_avg_sq"]],
        [],
        [state["step"]],
        lr=learning_rate,
        beta1=0.9,
        beta2=0.999,
        weight_decay=0.0,
        eps=epsilon,
        amsgrad=False,
        maximize=False,
    )
