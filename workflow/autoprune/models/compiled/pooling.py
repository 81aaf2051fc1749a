"""A max pool and ReLU behind a convolution, and gradients from the places alone that matter.

Behind a 2x2 pool three of four gradients of a convolution's output are zero, and the ReLU zeroes
more; torch multiplies them all. Here the gradients of a kernel and of its input are sums over the
winning, active places, in one order. Arrays are float32 and (batch, height, width, channel), as
channels-last tensors lie in memory. A convolution's stride is 1, and its input has its padding
around it. ``wins`` (batch, row, column, filter) says of each pooled place which of its four gave
it, 0 to 3 in the order of reading, or NONE where the ReLU is at 0.
"""

from typing import Any

import numpy as np
from numba import float32, int32, int64, types, uint8, void

from autoprune.models.compiled.jit import jit
from autoprune.models.compiled.vectors import WIDTH, add_vectors

Array = np.ndarray[Any, Any]
MAPS, WINS, KERNELS = float32[:, :, :, ::1], uint8[:, :, :, ::1], float32[:, :, ::1]
FLAT, SHAPE = float32[::1], types.UniTuple(int64, 4)

NONE = np.uint8(4)
# numbers of an input whose gradients are made together, filter by filter: a core's cache holds them
PART = 2**16


@jit(void(FLAT, int32[::1], int64, int64, FLAT, int64, int64, FLAT, int64, int64))
def add_rows(values, places, begin, end, rows, shift, step, sums, at, vectors):  # type: ignore[no-untyped-def]
    """Add values[n] * rows[places[n] + shift :] for n of ``begin`` to ``end`` to sums[at :].

    All are flat, ``places`` int32. What is added are ``vectors`` of WIDTH numbers, in ``rows``
    ``step`` apart and in ``sums`` one behind the other; both must have so much.
    """
    while vectors >= 5:
        add_vectors(values, places, begin, end, rows, shift, step, sums, at, 5)
        shift, at, vectors = shift + 5 * step, at + 5 * WIDTH, vectors - 5
    if vectors == 4:
        add_vectors(values, places, begin, end, rows, shift, step, sums, at, 4)
    elif vectors == 3:
        add_vectors(values, places, begin, end, rows, shift, step, sums, at, 3)
    elif vectors == 2:
        add_vectors(values, places, begin, end, rows, shift, step, sums, at, 2)
    elif vectors == 1:
        add_vectors(values, places, begin, end, rows, shift, step, sums, at, 1)


@jit(void(MAPS, int64, MAPS, WINS))
def pool(maps: Array, border: int, out: Array, wins: Array) -> None:
    """Write the ReLU of the 2x2 max pool of ``maps`` into ``out``, inside its border, and ``wins``.

    ``maps`` (batch, height, width, filter), of which an odd last row or column is dropped; ``out``
    (batch, height // 2 + 2 border, width // 2 + 2 border, filter). As torch has it, the first of
    equals wins, and what is not a number passes.
    """
    batch, rows, columns, filters = wins.shape
    for b in range(batch):
        for i in range(rows):
            for j in range(columns):
                for f in range(filters):
                    most, win = maps[b, 2 * i, 2 * j, f], np.uint8(0)
                    other = maps[b, 2 * i, 2 * j + 1, f]
                    if other > most or other != other:
                        most, win = other, np.uint8(1)
                    other = maps[b, 2 * i + 1, 2 * j, f]
                    if other > most or other != other:
                        most, win = other, np.uint8(2)
                    other = maps[b, 2 * i + 1, 2 * j + 1, f]
                    if other > most or other != other:
                        most, win = other, np.uint8(3)
                    if most <= 0:
                        most, win = np.float32(0), NONE
                    out[b, i + border, j + border, f] = most
                    wins[b, i, j, f] = win


@jit(void(MAPS, int64, WINS, FLAT, SHAPE, KERNELS, FLAT))
def add_kernel_gradients(
    slope: Array, border: int, wins: Array, x: Array, shape: tuple[int, int, int, int],
    kernels: Array, biases: Array,
) -> None:  # fmt: skip
    """Add the gradients of a convolution's kernels and biases to what is there.

    ``slope`` is the loss' gradient by what ``pool`` gave; ``x`` the convolution's input of this
    ``shape``, flat, with WIDTH more numbers behind it; ``kernels`` (filter, side, side * channel),
    ``biases`` (filter,).
    """
    batch, height, width, channels = shape
    rows, columns, filters = wins.shape[1:]
    side, run = kernels.shape[1:]
    row = width * channels
    if run <= WIDTH:  # a vector for each row of the kernel, and all rows at once
        vectors, lines, step, wide = side, 1, row, WIDTH
    else:
        vectors, lines, step = (run + WIDTH - 1) // WIDTH, side, WIDTH
        wide = vectors * WIDTH
    sums = np.zeros(filters * side * wide, np.float32)
    images = min(batch, max(1, PART // (height * row)))
    # a list of active places for each filter, and room for one that is not to be in it
    room = images * rows * columns + 1
    values, places = np.empty(filters * room, np.float32), np.empty(filters * room, np.int32)
    ends = np.zeros(filters, np.int64)
    for first in range(0, batch, images):
        for f in range(filters):
            ends[f] = f * room
        for b in range(first, min(batch, first + images)):
            for i in range(rows):
                for j in range(columns):
                    for f in range(filters):  # no branch: none could be foreseen
                        win, n = wins[b, i, j, f], ends[f]
                        y, z = 2 * i + (win >> 1), 2 * j + (win & 1)
                        values[n] = slope[b, i + border, j + border, f]
                        places[n] = ((b - first) * height + y) * row + z * channels
                        ends[f] = n + (win != NONE)
        for f in range(filters):
            begin = f * room
            for n in range(begin, ends[f]):
                biases[f] += values[n]
            for r in range(lines):
                add_rows(values, places, begin, ends[f], x, (first * height + r) * row, step,
                         sums, (f * side + r) * wide, vectors)  # fmt: skip
    for f in range(filters):
        for r in range(side):
            for t in range(run):
                kernels[f, r, t] += sums[(f * side + r) * wide + t]


@jit(MAPS(MAPS, int64, WINS, KERNELS, SHAPE))
def input_gradients(
    slope: Array, border: int, wins: Array, kernels: Array, shape: tuple[int, int, int, int]
) -> Array:
    """The gradient of a convolution's input, its padding included, of this ``shape``.

    ``slope`` and ``wins`` as ``add_kernel_gradients`` has them, ``kernels`` (filter, side, side *
    channel).
    """
    batch, height, width, channels = shape
    rows, columns, filters = wins.shape[1:]
    side, run = kernels.shape[1:]
    vectors = (run + WIDTH - 1) // WIDTH
    wide = vectors * WIDTH
    matrix = np.zeros(filters * side * wide, np.float32)
    for f in range(filters):
        for r in range(side):
            for t in range(run):
                matrix[(f * side + r) * wide + t] = kernels[f, r, t]
    out = np.zeros(batch * height * width * channels + WIDTH, np.float32)
    # a list of filters for each place of a window, and one for those that have none
    values, winners = np.empty(5 * filters, np.float32), np.empty(5 * filters, np.int32)
    numbers = np.zeros(5, np.int64)
    for b in range(batch):
        for i in range(rows):
            for j in range(columns):
                numbers[:] = 0
                for f in range(filters):
                    win = wins[b, i, j, f]
                    n = win * filters + numbers[win]
                    values[n] = slope[b, i + border, j + border, f]
                    winners[n] = f * side * wide
                    numbers[win] += 1
                for win in range(4):
                    first, y, z = win * filters, 2 * i + (win >> 1), 2 * j + (win & 1)
                    if numbers[win]:
                        for r in range(side):
                            at = ((b * height + y + r) * width + z) * channels
                            add_rows(values, winners, first, first + numbers[win], matrix,
                                     r * wide, WIDTH, out, at, vectors)  # fmt: skip
    return out[: batch * height * width * channels].reshape(shape)
