"""The layers the families are made of, with Keras' padding and defaults, and their base class."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.core.errors import InputError
from autoprune.models.places import Places

if TYPE_CHECKING:
    from autoprune.models.attached import Attached

COMPILED = "compiled"  # a value of ``Network.gradients``


class Network(nn.Module):
    """A network that can be pruned: it names its prunable layers.

    ``prunable``: module names in the order of ``widths``. ``tied``: of one of them, further layers
    that lose the same filters although nothing in the graph couples them. ``input_shape``:
    (channels, height, width) of an image in pixels. ``loss`` is what training lowers, by default
    the paper's: of outputs (batch, output) and labels, the mean over the batch. ``attached``: what
    a method trains with it. ``gradients``: who makes them, torch or, where a family has them,
    COMPILED steps of its own.
    """

    prunable: tuple[str, ...]
    tied: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    input_shape: tuple[int, ...]
    loss: Callable[..., Tensor] = staticmethod(F.cross_entropy)
    gradients: str = "torch"

    def __init__(self) -> None:
        super().__init__()
        self.attached: Attached | None = None

    @cached_property
    def places(self) -> Places:
        """Whose filters stand where: it is all that pruning needs to cut any network."""
        # torch-pruning is loaded by those alone who prune
        from autoprune.models.graph import trace

        layers = [(name, *self.tied.get(name, ())) for name in self.prunable]
        return trace(self, layers, self.input_shape)

    def weight(self, name: str) -> nn.Parameter:
        """The kernel (filter, channel, height, width), matrix or scales of a layer."""
        return self.get_parameter(f"{name}.weight")

    def filters(self, layer: int, name: str) -> Tensor:
        """The kernel or scales of ``name``, of the group or the norms of ``layer``, by its filters.

        The weight itself (filter, ...), or (filter, number) where a filter has several rows: a
        group of a convolution has those of its filters, a head those of its queries, keys and
        values. Its L1 norm is over all that make it, as torch-pruning sums a head's importance.
        """
        names = self.kernels(layer) if name == self.prunable[layer] else [name]
        parts = [self.places.by_filter(layer, f"{n}.weight", self.weight(n)) for n in names]
        return parts[0] if len(parts) == 1 else torch.cat([part.flatten(1) for part in parts], 1)

    def kernels(self, layer: int) -> list[str]:
        """Names of the layers whose rows are what the rule judges a prunable layer by."""
        return self._holders(layer, True) if self.is_attention(layer) else [self.prunable[layer]]

    def listeners(self, layer: int) -> list[str]:
        """Names of the layers whose inputs are filters of prunable layer ``layer``."""
        own = self.places.filters(layer)
        return [
            name.removesuffix(".weight")
            for name, axes in self.places.owners.items()
            if name.endswith(".weight") and 1 in axes and torch.isin(own, axes[1]).all()
        ]

    def group(self, layer: int) -> list[str]:
        """Names of the layers with kernels whose filters are those of prunable layer ``layer``.

        More than one name means that they are coupled: they lose the same filters. Of attention it
        is its own name alone, as ``prunable`` has it: its projections make a head together.
        """
        alone = self.is_attention(layer)
        return [self.prunable[layer]] if alone else self._holders(layer, True)

    def is_attention(self, layer: int) -> bool:
        """Whether the filters of a prunable layer are heads."""
        return f"{self.prunable[layer]}.weight" not in self.places.owners

    def norms(self, layer: int) -> list[str]:
        """Names of the batch norms whose channels are the filters of prunable ``layer``.

        Where each layer of the group has one behind it, there are as many as ``group`` names.
        """
        return self._holders(layer, False)

    def _holders(self, layer: int, kernels: bool) -> list[str]:
        own, several = self.places.filters(layer), layer in self.places.counts.values()
        return [
            name.removesuffix(".weight")
            for name, axes in self.places.owners.items()
            if name.endswith(".weight")
            and 0 in axes
            and torch.equal(axes[0].unique() if several else axes[0], own)
            and (self.get_parameter(name).dim() > 1) is kernels
        ]

    def backward(self, images: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """The ``loss`` () of a batch; adds its gradients to those of the parameters.

        ``images`` (batch, channel, height, width), ``labels`` as the loss has them, (batch,) int64
        of cross-entropy. With ``dtype`` bfloat16 convolutions and linear layers compute in it
        (torch.autocast). A family may write this out by hand, where that is faster and gives the
        same. What is ``attached`` may add a term of its own, whose gradients join; the loss is that
        without it.
        """
        further = None
        with torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32):
            logits = self(images)
            if self.attached is not None:
                further = self.attached.penalty(images, logits)
        loss = self.loss(logits.float(), labels)
        (loss if further is None else loss + further).backward()
        return loss.detach()


def gradient(parameter: Tensor | None) -> Tensor:
    """The gradient of a parameter, which is in place: see ``federation.training.flatten``."""
    assert parameter is not None
    assert parameter.grad is not None
    return parameter.grad


class Conv2d(nn.Conv2d):
    """A convolution with bias and TensorFlow's padding: "valid", or "same" (output = ceil(in/s)).

    ``sides`` is the (height, width) of its input in pixels. "same" at stride 2 needs it: on even
    sides TensorFlow pads one more row and column after than before, unlike torch. Raises
    InputError when the input is too small to leave anything.
    """

    bias: nn.Parameter  # there always

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int,
        padding: str,
        sides: tuple[int, int],
    ) -> None:
        pads = [_same(side, kernel, stride) if padding == "same" else (0, 0) for side in sides]
        # symmetric padding happens inside the convolution and costs no copy
        symmetric = all(before == after for before, after in pads)
        super().__init__(
            inputs, outputs, kernel, stride, (pads[0][0], pads[1][0]) if symmetric else 0
        )
        self.pad_first = None if symmetric else (*pads[1], *pads[0])
        padded = [side + sum(pad) for side, pad in zip(sides, pads, strict=True)]
        if min(padded) < kernel:
            raise InputError(
                f"input shape: {min(sides)} pixels are left before a {kernel}x{kernel} "
                "convolution, which are too few; use larger images or another family"
            )
        height, width = ((side - kernel) // stride + 1 for side in padded)
        self.output_sides = (height, width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, *output_sides)."""
        return super().forward(F.pad(x, self.pad_first) if self.pad_first else x)


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, as TensorFlow's "same" has it."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class _KerasNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm at Keras' defaults (momentum 0.99, epsilon 1e-3), with float state only."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-3, momentum=0.01)
        # an integer counter has no place in a weighted mean, and a fixed momentum needs none
        self.num_batches_tracked = None


class BatchNorm1d(_KerasNorm, nn.BatchNorm1d):
    """Keras' batch norm over (batch, channel, step)."""


class BatchNorm2d(_KerasNorm, nn.BatchNorm2d):
    """Keras' batch norm over (batch, channel, height, width)."""


class GlobalAveragePool(nn.Module):
    """(batch, channel, height, width) -> (batch, channel)."""

    def forward(self, x: Tensor) -> Tensor:
        """Mean over height and width."""
        return F.adaptive_avg_pool2d(x, 1).flatten(1)


class Add(nn.Module):
    """The sum of a residual block: a module, so that operation counts can see it."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Element-wise sum of two tensors of one shape."""
        return x + y


def halved(sides: tuple[int, int], *, up: bool = False) -> tuple[int, int]:
    """(height, width) after a 2x2 max pool of stride 2, an odd row dropped or, with ``up``, kept.

    Raises InputError when a side is too small.
    """
    height, width = (-(-side // 2) if up else side // 2 for side in sides)
    if not height or not width:
        raise InputError(
            "input shape: 1 pixel is left before a max pool; use larger images or another family"
        )
    return height, width


def check_widths(family: str, widths: Sequence[int], number: int) -> None:
    """Raise InputError unless there are ``number`` widths."""
    if len(widths) != number:
        raise InputError(
            f"widths: found {len(widths)} ({' '.join(map(str, widths))}), "
            f"family {family} expects {number} for this input shape"
        )


def to_channels_last(network: Network) -> Network:
    """The same network with channels-last kernels, which oneDNN runs faster on CPUs."""
    # torch's types know no memory format
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
