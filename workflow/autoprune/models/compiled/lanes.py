"""Convolutions of maps whose images lie side by side in memory.

Maps are (channel, height, width, lane), float32 and contiguous; an image is a lane, and lanes are a
multiple of 16. So all arithmetic is of 16 images at once, however few filters pruning leaves, and
each sum has its own order, the same on every machine.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from functools import lru_cache
from typing import Any

import numpy as np

from autoprune.models.compiled.jit import inner
from autoprune.models.compiled.vectors import (
    WIDTH,
    add_up,
    fill,
    four_products,
    four_zeros,
    load,
    multiply_add,
    plus,
    store,
    turn,
)

Array = np.ndarray[Any, Any]
ZERO = np.float32(0)
PART = 2048  # numbers of a channel's rows of a slope that the cache holds with what they meet


@lru_cache(maxsize=64)
def taps(inputs: int, outputs: int, kernel: int, stride: int, before: int) -> Array:
    """Along one axis what each output sees of the input (output, kernel); -1 is padding."""
    seen = np.arange(outputs)[:, None] * stride + np.arange(kernel) - before
    return np.where((seen >= 0) & (seen < inputs), seen, -1)


@lru_cache(maxsize=64)
def taps_back(inputs: int, outputs: int, kernel: int, stride: int, before: int) -> Array:
    """Along one axis, by which tap which output sees each input (input, kernel); -1 is none."""
    seen = taps(inputs, outputs, kernel, stride, before)
    found = np.full((inputs, kernel), -1)
    for tap in range(kernel):
        inside = seen[:, tap] >= 0
        found[seen[inside, tap], tap] = np.flatnonzero(inside)
    return found


@inner
def side_by_side(images, before, x):
    """Images (image, height, width, channel) as maps (height, width and more, channel, lane).

    The images begin ``before`` columns in; what is around them in ``x`` stays. Lanes that hold no
    image are as the last.
    """
    number, height, width, channels = images.shape
    lanes, size, length = x.shape[3], height * width * channels, width * channels
    source, target = images.reshape(images.size), x.reshape(x.size)
    for y in range(height):
        to = (y * x.shape[1] + before) * channels * lanes
        for lane in range(0, lanes, WIDTH):
            at, count = lane * size + y * length, min(WIDTH, number - lane)
            for start in range(0, length - WIDTH + 1, WIDTH):
                turn(source, at + start, size, count, target, to + start * lanes + lane, lanes)
            if length >= WIDTH:  # the last pixels, some of them once more
                start = length - WIDTH
                turn(source, at + start, size, count, target, to + start * lanes + lane, lanes)
                continue
            for pixel in range(length):
                for k in range(WIDTH):
                    value = source[at + min(k, count - 1) * size + pixel]
                    target[to + pixel * lanes + lane + k] = value


@inner
def _packed(kernel, back):
    """A kernel (output, row, column, input) by fours of outputs (.., row, column, input, 4), flat.

    With ``back`` outputs and inputs change places. What the last four lack is 0.
    """
    outputs, rows, columns, inputs = kernel.shape
    ours, others = (inputs, outputs) if back else (outputs, inputs)
    panels = np.zeros(((ours + 3) // 4, rows, columns, others, 4), np.float32)
    for output in range(outputs):
        for row in range(rows):
            for column in range(columns):
                for i in range(inputs):
                    one, other = (i, output) if back else (output, i)
                    value = kernel[output, row, column, i]
                    panels[one >> 2, row, column, other, one & 3] = value
    return panels.reshape(panels.size)


@inner
def _keep(y, at, leap, last, add, sums):
    """Four vectors into a flat array, or the first of them that are not beyond the ``last``."""
    for k, total in enumerate(sums):
        if k <= last:
            store(y, at + k * leap, plus(total, load(y, at + k * leap)) if add else total)


@inner
def convolve(x, steps, kernel, back, rows, columns, add, y):
    """``y`` (output, height, width, lane) is, or where ``add`` gets more by, ``x`` convolved.

    ``x`` is flat, ``steps`` are its (inputs, distance from input to input, from row to row, from
    column to column). ``kernel`` is (output, row, column, input), ``rows`` and ``columns`` say what
    it sees of ``x``, as ``taps``. With ``back`` and ``taps_back`` this is the gradient of a
    convolution's input, from that of its output.
    """
    inputs, step, down, along = steps
    outputs, height, width, lanes = y.shape
    weights, target, leap = _packed(kernel, back), y.reshape(y.size), height * width * lanes
    across = columns.shape[1]
    for i in range(height):  # of which the rows that are seen stay in the cache
        for first in range(0, outputs, 4):
            of_tile = first // 4 * rows.shape[1] * across
            for j in range(width):
                to = ((first * height + i) * width + j) * lanes
                for lane in range(0, lanes, 2 * WIDTH):
                    both = lane + WIDTH < lanes
                    sums, more = four_zeros(), four_zeros()
                    for row in range(rows.shape[1]):
                        for column in range(across):
                            if rows[i, row] < 0 or columns[j, column] < 0:
                                continue
                            at = rows[i, row] * down + columns[j, column] * along + lane
                            w = (of_tile + row * across + column) * inputs * 4
                            if both:
                                for _ in range(inputs):
                                    one, two = load(x, at), load(x, at + WIDTH)
                                    sums = four_products(weights, w, one, sums)
                                    more = four_products(weights, w, two, more)
                                    at += step
                                    w += 4
                            else:
                                for _ in range(inputs):
                                    sums = four_products(weights, w, load(x, at), sums)
                                    at += step
                                    w += 4
                    _keep(target, to + lane, leap, outputs - 1 - first, add, sums)
                    if both:
                        _keep(target, to + lane + WIDTH, leap, outputs - 1 - first, add, more)


@inner
def kernel_slopes(x, steps, slope, rows, columns, gradient):
    """Adds to ``gradient`` (output, row, column, input) that of the kernel, from the output's.

    ``slope`` (output, height, width, lane) is 0 in lanes that hold no image; see ``convolve``. So
    many rows at a time as the cache holds.
    """
    inputs, step, down, along = steps
    outputs, height, width, lanes = slope.shape
    slopes, leap = slope.reshape(slope.size), height * width * lanes
    part = max(1, PART // (width * lanes))
    for start in range(0, height, part):
        end = min(start + part, height)
        for output in range(0, outputs, 4):
            last = outputs - 1 - output
            o1, o2, o3 = min(1, last) * leap, min(2, last) * leap, min(3, last) * leap
            for row in range(rows.shape[1]):
                for column in range(columns.shape[1]):
                    for i in range(0, inputs, 3):
                        rest = inputs - 1 - i
                        i1, i2 = min(1, rest) * step, min(2, rest) * step
                        a0 = a1 = a2 = b0 = b1 = b2 = fill(ZERO)
                        c0 = c1 = c2 = d0 = d1 = d2 = fill(ZERO)
                        for y in range(start, end):
                            if rows[y, row] < 0:
                                continue
                            for z in range(width):
                                if columns[z, column] < 0:
                                    continue
                                at = i * step + rows[y, row] * down + columns[z, column] * along
                                of = output * leap + (y * width + z) * lanes
                                for lane in range(0, lanes, WIDTH):
                                    x0 = load(x, at + lane)
                                    x1 = load(x, at + i1 + lane)
                                    x2 = load(x, at + i2 + lane)
                                    s = load(slopes, of + lane)
                                    a0, a1 = multiply_add(s, x0, a0), multiply_add(s, x1, a1)
                                    a2 = multiply_add(s, x2, a2)
                                    s = load(slopes, of + o1 + lane)
                                    b0, b1 = multiply_add(s, x0, b0), multiply_add(s, x1, b1)
                                    b2 = multiply_add(s, x2, b2)
                                    s = load(slopes, of + o2 + lane)
                                    c0, c1 = multiply_add(s, x0, c0), multiply_add(s, x1, c1)
                                    c2 = multiply_add(s, x2, c2)
                                    s = load(slopes, of + o3 + lane)
                                    d0, d1 = multiply_add(s, x0, d0), multiply_add(s, x1, d1)
                                    d2 = multiply_add(s, x2, d2)
                        into = gradient[:, row, column, i:]
                        _take(into, output, a0, a1, a2)
                        _take(into, output + 1, b0, b1, b2)
                        _take(into, output + 2, c0, c1, c2)
                        _take(into, output + 3, d0, d1, d2)


@inner
def _take(gradient, output, first, second, third):
    if output < len(gradient):
        gradient[output, 0] += add_up(first)
        if gradient.shape[1] > 1:
            gradient[output, 1] += add_up(second)
        if gradient.shape[1] > 2:
            gradient[output, 2] += add_up(third)
