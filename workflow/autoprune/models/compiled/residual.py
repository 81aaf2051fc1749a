"""The maps of the paper's ResNet and all their gradients: the stem and each block are one call.

Maps, rows and convolutions are as ``lanes`` and ``norms`` have them. A convolution is a tuple
(kernel, its gradient, rows, rows back), kernels as (output, row, column, input), and beside it is
what it meets within a row, forward and back; a row is a tuple (mask, starts, vectors). A block is
its three convolutions, each with its norm behind it.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numba import float32, float64, int64, types, void
from torch import Tensor, nn

from autoprune.models.compiled.jit import inner, jit
from autoprune.models.compiled.lanes import (
    Row,
    columns_seen,
    columns_seen_back,
    convolve,
    kernel_slopes,
    meets,
    packed,
    side_by_side,
    taps,
    taps_back,
)
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
FLAT, MAPS, KERNEL = float32[::1], float32[:, :, ::1], float32[:, :, :, ::1]
PLACES, TAPS = int64[::1], int64[:, ::1]
CONV = types.Tuple((KERNEL, KERNEL, TAPS, TAPS))
NORM = types.Tuple((*[FLAT] * 5, float64, float64, float32[:, ::1], FLAT, FLAT))
BLOCK = types.Tuple((CONV, NORM) * 3)
ROW = types.Tuple((FLAT, PLACES, PLACES))
MET = types.Tuple((TAPS, PLACES, int64[:, :, ::1], PLACES, int64[:, :, ::1]))
ROWS = types.Tuple((ROW, ROW, *[MET] * 6))

LINE = 16  # numbers of a line of the cache, from the first of which vectors are fastest to load


@inner
def _room(channels, height, length):
    size = channels * height * length
    flat = np.empty(size + LINE, np.float32)
    start = -(flat.ctypes.data >> 2) & (LINE - 1)
    return flat[start : start + size].reshape((channels, height, length))


@inner
def _convolved(x, convolution, met, row):
    kernel, _, rows, _ = convolution
    mask, starts, vectors = row
    y = _room(len(kernel), len(rows), len(mask))
    weights, end = packed(kernel, False, met), len(rows)
    convolve(x, x.shape[2], weights, rows, 0, end, met, False, y, starts, vectors)
    return y


@inner
def _add_slopes(x, slope, convolution, met, row):
    """Adds the gradient of a convolution's kernel to what there is of it."""
    _, gradient, rows, _ = convolution
    kernel_slopes(x, x.shape[2], slope, rows, met, row[1], gradient)


@inner
def _back(slope, convolution, met, row, add, into):
    """``into`` becomes, or with ``add`` gets more by, the gradient of a convolution's input."""
    kernel, _, _, rows = convolution
    (_, starts, vectors), weights, end = row, packed(kernel, True, met), len(rows)
    convolve(slope, slope.shape[2], weights, rows, 0, end, met, add, into, starts, vectors)


@inner
def _number(y, row):
    """How many places of a channel are an image's."""
    return y.shape[1] * int(row[0].sum())


@jit(types.UniTuple(MAPS, 3)(KERNEL, PLACES, PLACES, int64, CONV, NORM, MET, ROW, ROW))
def stem_forward(images, places, others, length, convolution, norm, met, row, pooled_row):
    """Images (image, height, width, channel) through convolution, norm, max pool and ReLU.

    ``places`` and ``others`` are those of ``side_by_side`` in a row of this ``length``; ``row`` is
    that of the convolution's output. Returns what ``stem_backward`` wants, the output last.
    """
    (kernel, _, rows, _), (mask, starts, vectors) = convolution, row
    x = _room(images.shape[1], images.shape[3], length)
    y = _room(len(kernel), len(rows), len(mask))
    down, weights, ready = x.shape[1] * length, packed(kernel, False, met), 0
    for i in range(len(rows)):  # whose rows of images are in the cache then
        last = rows[i].max() + 1
        side_by_side(images, places, others, ready, last, x)
        convolve(x, down, weights, rows, i, i + 1, met, False, y, starts, vectors)
        ready = last
    pooled = _room(len(y), (y.shape[1] + 1) // 2, len(pooled_row[0]))
    norm_pool_relu(y, norm, row, _number(y, row), pooled, pooled_row)
    return x, y, pooled


@jit(void(MAPS, MAPS, MAPS, MAPS, CONV, NORM, MET, ROW, ROW))
def stem_backward(slope, x, y, pooled, convolution, norm, met, row, pooled_row):
    """Adds the stem's gradients to what there is of them; ``y`` is lost."""
    norm_pool_relu_back(slope, y, norm, row, _number(y, row), pooled, pooled_row)
    _, gradient, rows, _ = convolution
    kernel_slopes(x, x.shape[1] * x.shape[2], y, rows, met, row[1], gradient)


@jit(types.UniTuple(MAPS, 5)(MAPS, BLOCK, ROWS))
def block_forward(x, block, rows):
    """Maps through a block; returns what ``block_backward`` wants, the output last."""
    conv1, norm1, conv2, norm2, shortcut, norm3 = block
    _, row, met1, _, met2, _, met3, _ = rows
    y1 = _convolved(x, conv1, met1, row)
    number, z1 = _number(y1, row), _room(*y1.shape)
    norm_relu(y1, norm1, row[0], number, z1)
    y2, y3 = _convolved(z1, conv2, met2, row), _convolved(x, shortcut, met3, row)
    z2 = _room(*y2.shape)
    norms_add_relu(y2, norm2, y3, norm3, row[0], number, z2)
    return y1, z1, y2, y3, z2


@jit(MAPS(*[MAPS] * 7, BLOCK, ROWS))
def block_backward(slope, x, y1, z1, y2, y3, z2, block, rows):
    """The gradient of a block's input; adds its own gradients, and its maps are lost."""
    conv1, norm1, conv2, norm2, shortcut, norm3 = block
    x_row, row, met1, back1, met2, back2, met3, back3 = rows
    number = _number(y1, row)
    norms_add_relu_back(slope, y2, norm2, y3, norm3, row[0], number, z2)
    _add_slopes(z1, y2, conv2, met2, row)
    inner = _room(*z1.shape)
    _back(y2, conv2, back2, row, False, inner)
    norm_relu_back(inner, y1, norm1, row[0], number, z1)
    _add_slopes(x, y1, conv1, met1, row)
    _add_slopes(x, y3, shortcut, met3, row)
    into = _room(*x.shape)
    _back(y1, conv1, back1, x_row, False, into)
    _back(y3, shortcut, back3, x_row, True, into)
    return into


def _numbers(tensor: Tensor) -> Array:
    """A tensor's own memory; kernels as (output, row, column, input), as they must lie there."""
    last = tensor.detach().permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor.detach()
    array: Array = last.numpy()
    assert array.flags.c_contiguous, "kernels and their gradients must lie channels-last"
    return array


class Axis(NamedTuple):
    """What a convolution does along the rows or the columns, as ``taps`` takes it."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    before: int


Axes = tuple[Axis, Axis]


def _axes(conv: Conv2d, sides: tuple[int, int]) -> Axes:
    """Along the rows and along the columns."""
    pads, padding = conv.pad_first, [int(pad) for pad in conv.padding]
    before = (pads[2], pads[0]) if pads else padding
    rows, columns = (
        Axis(side, output, conv.kernel_size[0], conv.stride[0], first)
        for side, output, first in zip(sides, conv.output_sides, before, strict=True)
    )
    return rows, columns


def _convolutions(network: ResNet) -> Iterator[tuple[Block, list[tuple[Conv2d, Axes]]]]:
    """Each block and its convolutions, in the order of ``BLOCK``."""
    sides = halved(network.stem.output_sides, up=True)
    for block in network.blocks:
        assert isinstance(block, Block)
        inside = block.conv1.output_sides
        of = (block.conv1, sides), (block.conv2, inside), (block.shortcut, sides)
        yield block, [(conv, _axes(conv, before)) for conv, before in of]
        sides = inside


class _Within(NamedTuple):
    """Where places are in the rows of a network's maps, for batches of one size."""

    images: tuple[Array, Array, int]
    stem: tuple[Any, ...]
    blocks: list[tuple[Any, ...]]
    last: Row


def _arrays(row: Row) -> tuple[Array, Array, Array]:
    return row.mask, row.starts, row.vectors


class _Seen(NamedTuple):
    """A convolution by what decides where its sums find their places."""

    down: Axis
    across: Axis
    inputs: int
    outputs: int


Geometry = tuple[_Seen, tuple[tuple[_Seen, ...], ...]]


def _geometry(network: ResNet) -> Geometry:
    """The stem, and of each block its convolutions."""

    def seen(conv: Conv2d, axes: Axes) -> _Seen:
        return _Seen(*axes, conv.in_channels, conv.out_channels)

    _, height, width = network.input_shape
    stem = seen(network.stem, _axes(network.stem, (height, width)))
    return stem, tuple(tuple(seen(*one) for one in of) for _, of in _convolutions(network))


@lru_cache(maxsize=256)
def _within(geometry: Geometry, images: int) -> _Within:
    """Each stride of 2 halves the phases, from the images' to the one of the last maps."""
    (_, axis, channels, _), blocks = geometry
    phases = 2 ** len(blocks)
    pixels, maps = Row(axis.inputs, 4 * phases, images), Row(axis.outputs, 2 * phases, images)
    met = meets(columns_seen(pixels, maps, *axis[2:]), channels, pixels.length, pixels, maps)
    of_pixel = np.array([pixels.place(column) for column in range(axis.inputs)])
    places = (of_pixel[:, None] + np.arange(channels) * pixels.length).ravel()
    others = np.flatnonzero(pixels.mask.reshape(-1, WIDTH).min(1) == 0) * WIDTH
    x, rows = Row(blocks[0][0].across.inputs, phases, images), []
    stem = met, _arrays(maps), _arrays(x)
    for convolutions in blocks:
        phases //= 2
        y = Row(convolutions[0].across.outputs, phases, images)
        parts: list[tuple[Any, ...]] = [_arrays(x), _arrays(y)]
        for down, across, inputs, outputs in convolutions:
            seen = x if across.stride > 1 else y
            columns = columns_seen(seen, y, *across[2:])
            parts.append(meets(columns, inputs, down.inputs * seen.length, seen, y))
            columns = columns_seen_back(seen, y, *across[2:])
            parts.append(meets(columns, outputs, down.outputs * y.length, y, seen))
        rows.append(tuple(parts))
        x = y
    return _Within((places, others, pixels.length), stem, rows, x)


def _convolution(conv: Conv2d, axis: Axis) -> tuple[Array, ...]:
    kernel = _numbers(conv.weight), _numbers(gradient(conv.weight))
    return *kernel, taps(*axis), taps_back(*axis)


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
        self.geometry = _geometry(network)
        self.stem = _convolution(network.stem, self.geometry[0].down)
        self.stem_norm = _norm(network.stem_norm, network.stem)
        self.blocks = []
        for block, convolutions in _convolutions(network):
            norms = block.norm1, block.norm2, block.shortcut_norm
            parts: list[tuple[Any, ...]] = []
            for (conv, (down, _)), norm in zip(convolutions, norms, strict=True):
                parts += _convolution(conv, down), _norm(norm, conv)
            self.blocks.append(tuple(parts))

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
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    within = _within(arrays.geometry, number)
    stem = arrays.stem, arrays.stem_norm, *within.stem
    inside, maps, x = stem_forward(pixels, *within.images, *stem)
    pooled, kept = x, []
    for block, rows in zip(arrays.blocks, within.blocks, strict=True):
        made = block_forward(x, block, rows)
        kept.append((x, *made))
        x = made[-1]
    last = within.last
    columns = slice(int(last.starts[0]), int(last.starts[0]) + last.width * number)
    features = torch.from_numpy(x[:, :, columns]).reshape(-1, number).t()

    def down(slope: Tensor) -> None:
        back = np.zeros_like(x)
        back[:, :, columns] = slope.t().reshape(*x.shape[:2], -1).numpy()
        steps = zip(arrays.blocks, kept, within.blocks, strict=True)
        for block, made, rows in reversed(list(steps)):
            back = block_backward(back, *made, block, rows)
        stem_backward(back, inside, maps, pooled, *stem)

    return features, down
