"""A chain of convolutions, each with a 2x2 max pool and ReLU behind it, and all its gradients."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.models.compiled import pooling
from autoprune.models.compiled.vectors import WIDTH
from autoprune.models.layers import Conv2d, gradient, halved


class _Maps:
    """Zeros (batch, height, width, channel), flat with WIDTH more behind, and as a tensor."""

    def __init__(self, batch: int, height: int, width: int, channels: int) -> None:
        shape = batch, height, width, channels
        number = math.prod(shape)
        flat = torch.zeros(number + WIDTH)
        self.flat, self.shape = flat.numpy(), shape
        self.tensor = flat[:number].view(shape).permute(0, 3, 1, 2)


def forward(
    convolutions: Sequence[nn.Module], images: Tensor
) -> tuple[Tensor, Callable[[Tensor], None]]:
    """The last of the maps (batch, filter, height, width), and what adds the gradients.

    The latter takes the loss' gradient by these maps and adds those of all kernels and biases to
    what is there, which are autograd's to rounding. Kernels lie channels-last in memory and
    their padding is as wide as high; the images (batch, channel, height, width) need no gradient.
    """
    convs = [conv for conv in convolutions if isinstance(conv, Conv2d)]
    borders = [int(conv.padding[0]) for conv in convs]
    batch, channels, height, width = images.shape
    first = borders[0]
    x = _Maps(batch, height + 2 * first, width + 2 * first, channels)
    x.tensor[:, :, first : first + height, first : first + width] = images
    blocks = []
    for conv, border in zip(convs, (*borders[1:], 0), strict=True):
        maps = F.conv2d(x.tensor, conv.weight, conv.bias).detach()
        filters = maps.shape[1]
        rows, columns = halved((maps.shape[2], maps.shape[3]))
        pooled = _Maps(batch, rows + 2 * border, columns + 2 * border, filters)
        wins = np.empty((batch, rows, columns, filters), np.uint8)
        pooling.pool(_in_rows(maps), border, _in_rows(pooled.tensor), wins)
        blocks.append((conv, x, border, wins))
        x = pooled

    def down(slope: Tensor) -> None:
        slopes = _in_rows(slope)
        for i, (conv, x, border, wins) in reversed(list(enumerate(blocks))):
            by_row = (len(conv.weight), conv.kernel_size[0], -1)
            kernels, own = (
                _in_rows(t).reshape(by_row) for t in (conv.weight, gradient(conv.weight))
            )
            biases = gradient(conv.bias).numpy()
            pooling.add_kernel_gradients(slopes, border, wins, x.flat, x.shape, own, biases)
            if i:
                slopes = pooling.input_gradients(slopes, border, wins, kernels, x.shape)

    return x.tensor, down


def _in_rows(x: Tensor) -> np.ndarray[Any, Any]:
    """(batch, channel, height, width) as (batch, height, width, channel); no copy of those.

    Gradients of kernels are written into what is returned: they lie as ``flatten`` has laid them.
    """
    return x.detach().permute(0, 2, 3, 1).contiguous().numpy()
