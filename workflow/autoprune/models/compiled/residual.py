"""The maps of the paper's ResNet and all their gradients: the stem and each block are one call.

Maps are as ``lanes`` and ``norms`` have them. A convolution is a tuple (kernel, its gradient, rows,
columns, rows back, columns back), kernels as (output, row, column, input), the others as
``lanes.taps``; a norm is as ``norms`` has it. A block is its three convolutions, each with its norm
behind it.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numba import float32, float64, int64, types, void
from torch import Tensor, nn

from autoprune.models.compiled.jit import inner, jit
from autoprune.models.compiled.lanes import convolve, kernel_slopes, side_by_side, taps, taps_back
from autoprune.models.compiled.norms import (
    norm_pool_relu,
    norm_pool_relu_back,
    norm_relu,
    norm_relu_back,
    norms_add_relu,
    norms_add_relu_back,
)
from autoprune.models.compiled.vectors import WIDTH
from autoprune.models.layers import Conv2d, gradient, halved
from autoprune.models.resnet import Block, ResNet

Array = np.ndarray[Any, Any]
FLAT, MAPS, TAPS = float32[::1], float32[:, :, :, ::1], int64[:, ::1]
CONV = types.Tuple((MAPS, MAPS, TAPS, TAPS, TAPS, TAPS))
NORM = types.Tuple((*[FLAT] * 5, float64, float64, float32[:, ::1], FLAT, FLAT))
BLOCK = types.Tuple((CONV, NORM) * 3)

LINE = 16  # numbers of a line of the cache, from the first of which vectors are fastest to load


@inner
def _room(shape):
    size = shape[0] * shape[1] * shape[2] * shape[3]
    flat = np.empty(size + LINE, np.float32)
    start = -(flat.ctypes.data >> 2) & (LINE - 1)
    return flat[start : start + size].reshape(shape)


@inner
def _steps(x):
    channels, height, width, lanes = x.shape
    return channels, height * width * lanes, width * lanes, lanes


@inner
def _convolved(x, convolution):
    kernel, _, rows, columns, _, _ = convolution
    y = _room((len(kernel), len(rows), len(columns), x.shape[3]))
    convolve(x.reshape(x.size), _steps(x), kernel, False, rows, columns, False, y)
    return y


@inner
def _add_slopes(x, slope, convolution):
    """Adds the gradient of a convolution's kernel to what there is of it."""
    _, gradient, rows, columns, _, _ = convolution
    kernel_slopes(x.reshape(x.size), _steps(x), slope, rows, columns, gradient)


@inner
def _back(slope, convolution, add, into):
    """``into`` becomes, or with ``add`` gets more by, the gradient of a convolution's input."""
    kernel, _, _, _, rows, columns = convolution
    convolve(slope.reshape(slope.size), _steps(slope), kernel, True, rows, columns, add, into)


@jit(types.UniTuple(MAPS, 3)(MAPS, int64, CONV, NORM, FLAT))
def stem_forward(images, before, convolution, norm, mask):
    """Images (image, height, width, channel) through convolution, norm, max pool and ReLU.

    The kernel is (output, row, 1, column times channel) and begins ``before`` columns outside; see
    ``side_by_side``. Returns what ``stem_backward`` wants, the output last.
    """
    kernel, _, rows, columns, _, _ = convolution
    (number, height, width, channels), lanes = images.shape, len(mask)
    wide = max(before + width, 2 * len(columns) + 1)
    x = _room((height, wide, channels, lanes))
    x[:, :before] = 0
    x[:, before + width :] = 0
    side_by_side(images, before, x)
    y = _room((len(kernel), len(rows), len(columns), lanes))
    steps = kernel.shape[3], lanes, wide * channels * lanes, 2 * channels * lanes
    convolve(x.reshape(x.size), steps, kernel, False, rows, columns, False, y)
    pooled = _room((len(y), (len(rows) + 1) // 2, (len(columns) + 1) // 2, lanes))
    norm_pool_relu(y, norm, mask, number, pooled)
    return x, y, pooled


@jit(void(MAPS, MAPS, MAPS, MAPS, CONV, NORM, FLAT, int64))
def stem_backward(slope, x, y, pooled, convolution, norm, mask, images):
    """Adds the stem's gradients to what there is of them; ``y`` is lost."""
    _, gradient, rows, columns, _, _ = convolution
    norm_pool_relu_back(slope, y, norm, mask, images, pooled)
    _, wide, channels, lanes = x.shape
    steps = gradient.shape[3], lanes, wide * channels * lanes, 2 * channels * lanes
    kernel_slopes(x.reshape(x.size), steps, y, rows, columns, gradient)


@jit(types.UniTuple(MAPS, 5)(MAPS, BLOCK, FLAT, int64))
def block_forward(x, block, mask, images):
    """Maps through a block; returns what ``block_backward`` wants, the output last."""
    conv1, norm1, conv2, norm2, shortcut, norm3 = block
    y1 = _convolved(x, conv1)
    z1 = _room(y1.shape)
    norm_relu(y1, norm1, mask, images, z1)
    y2, y3 = _convolved(z1, conv2), _convolved(x, shortcut)
    z2 = _room(y2.shape)
    norms_add_relu(y2, norm2, y3, norm3, mask, images, z2)
    return y1, z1, y2, y3, z2


@jit(MAPS(*[MAPS] * 7, BLOCK, FLAT, int64))
def block_backward(slope, x, y1, z1, y2, y3, z2, block, mask, images):
    """The gradient of a block's input; adds its own gradients, and its maps are lost."""
    conv1, norm1, conv2, norm2, shortcut, norm3 = block
    norms_add_relu_back(slope, y2, norm2, y3, norm3, mask, images, z2)
    _add_slopes(z1, y2, conv2)
    inner = _room(z1.shape)
    _back(y2, conv2, False, inner)
    norm_relu_back(inner, y1, norm1, mask, images, z1)
    _add_slopes(x, y1, conv1)
    _add_slopes(x, y3, shortcut)
    into = _room(x.shape)
    _back(y1, conv1, False, into)
    _back(y3, shortcut, True, into)
    return into


def _numbers(tensor: Tensor) -> Array:
    """A tensor's own memory; kernels as (output, row, column, input), as they must lie there."""
    last = tensor.detach().permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor.detach()
    array: Array = last.numpy()
    assert array.flags.c_contiguous, "kernels and their gradients must lie channels-last"
    return array


def _convolution(conv: Conv2d, sides: tuple[int, int]) -> tuple[Array, ...]:
    pads, kernel, stride = conv.pad_first, conv.kernel_size[0], conv.stride[0]
    padding = [int(pad) for pad in conv.padding]
    before = (pads[2], pads[0]) if pads else padding
    axes = [
        (side, output, kernel, stride, first)
        for side, output, first in zip(sides, conv.output_sides, before, strict=True)
    ]
    ways = [way(*axis) for way in (taps, taps_back) for axis in axes]
    return _numbers(conv.weight), _numbers(gradient(conv.weight)), *ways


def _norm(norm: nn.BatchNorm2d, conv: Conv2d) -> tuple[Any, ...]:
    state = norm.weight, norm.bias, conv.bias, norm.running_mean, norm.running_var
    slopes = gradient(norm.weight), gradient(norm.bias)
    saved = np.empty((2, len(norm.weight)), np.float32)
    return (
        *[_numbers(tensor) for tensor in state if tensor is not None],
        *(norm.eps, norm.momentum, saved),
        *map(_numbers, slopes),
    )


class _Arrays:
    """A network's parameters, statistics and gradients as the compiled functions want them."""

    def __init__(self, network: ResNet) -> None:
        self.parameters, self.buffers = list(network.parameters()), list(network.buffers())
        self.lies_at = self._addresses()
        _, height, width = network.input_shape
        kernel, slopes, rows, *_ = _convolution(network.stem, (height, width))
        rows_of_kernel = len(kernel), kernel.shape[1], 1, -1
        columns = np.arange(network.stem.output_sides[1])[:, None]
        whole = kernel.reshape(rows_of_kernel), slopes.reshape(rows_of_kernel)
        pads = network.stem.pad_first
        self.before = pads[0] if pads else int(network.stem.padding[1])
        self.stem = (*whole, rows, columns, rows, columns)
        self.stem_norm = _norm(network.stem_norm, network.stem)
        self.blocks, sides = [], halved(network.stem.output_sides, up=True)
        for block in network.blocks:
            assert isinstance(block, Block)
            inside = block.conv1.output_sides
            self.blocks.append(
                (
                    *(_convolution(block.conv1, sides), _norm(block.norm1, block.conv1)),
                    *(_convolution(block.conv2, inside), _norm(block.norm2, block.conv2)),
                    _convolution(block.shortcut, sides),
                    _norm(block.shortcut_norm, block.shortcut),
                )
            )
            sides = inside

    def _addresses(self) -> list[int]:
        slopes = [gradient(parameter) for parameter in self.parameters]
        return [tensor.data_ptr() for tensor in (*self.parameters, *slopes, *self.buffers)]

    def still_there(self) -> bool:
        """Whether nothing has moved to other memory since."""
        return self._addresses() == self.lies_at


_ARRAYS = WeakKeyDictionary[nn.Module, _Arrays]()


def _arrays_of(network: ResNet) -> _Arrays:
    """Those of a network, which take longer to make than the smallest steps."""
    found = _ARRAYS.get(network)
    if found is None or not found.still_there():
        found = _ARRAYS[network] = _Arrays(network)
    return found


def forward(network: ResNet, images: Tensor) -> tuple[Tensor, Callable[[Tensor], None]]:
    """What the last block gives (batch, feature), and what adds the gradients up to there.

    The latter takes the loss' gradient by these features and adds those of all convolutions and
    batch norms to what is there, which are autograd's to rounding; but those of the convolutions'
    biases, which batch norm takes out again, are 0, where autograd's are rounding alone. Running
    statistics move as in training. ``images`` (batch, channel, height, width), of which there must
    be more than one where the last maps are one pixel.
    """
    number, arrays = len(images), _arrays_of(network)
    mask = np.zeros(-(-number // WIDTH) * WIDTH, np.float32)
    mask[:number] = 1
    rows = images.permute(0, 2, 3, 1).contiguous().numpy()
    stem = arrays.stem, arrays.stem_norm, mask
    inside, maps, x = stem_forward(rows, arrays.before, *stem)
    pooled, kept = x, []
    for block in arrays.blocks:
        made = block_forward(x, block, mask, number)
        kept.append((x, *made))
        x = made[-1]
    features = torch.from_numpy(x).view(-1, len(mask))[:, :number].t()

    def down(slope: Tensor) -> None:
        of_lanes = torch.zeros(slope.shape[1], len(mask))
        of_lanes[:, :number] = slope.t()
        back = of_lanes.numpy().reshape(x.shape)
        for block, made in zip(reversed(arrays.blocks), reversed(kept), strict=True):
            back = block_backward(back, *made, block, mask, number)
        stem_backward(back, inside, maps, pooled, *stem, number)

    return features, down
