"""Batch norm with what stands around it, a channel at a time, forward and backward.

Maps are those of ``lanes``: (channel, height, place), float32. A channel is one piece of memory,
which stays in the cache through all that is done with it. ``mask`` (place,) is 1 at the places of a
row that are an image's, else 0: what others of an input hold is not looked at, those of an output
become 0. ``number`` is how many places of a channel are an image's. Sums have one order on every
machine.

A norm is a tuple (weight, bias, bias of the convolution before it, running mean, running variance,
epsilon, momentum, saved, gradient of the weight, of the bias). The convolution leaves its bias out:
it changes no output of the norm and has no gradient; it only is in the running mean. ``saved``
(2, channel) takes the mean and one over the deviation of the batch from forward to backward.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

import numpy as np

from autoprune.models.compiled.jit import inner
from autoprune.models.compiled.vectors import (
    WIDTH,
    add_up,
    fill,
    larger,
    load,
    minus,
    multiply_add,
    only,
    plus,
    relu,
    relu_back,
    store,
    where_equal,
)

ZERO = np.float32(0)


@inner
def _number(total, x, at, slope, offset, middle, here):
    return plus(total, only(here, load(x, at)))


@inner
def _square(total, x, at, slope, offset, middle, here):
    less = only(here, minus(load(x, at), middle))
    return multiply_add(less, less, total)


@inner
def _product(total, x, at, slope, offset, middle, here):
    less = only(here, minus(load(x, at), middle))
    return multiply_add(less, only(here, load(slope, at + offset)), total)


def _sum_of(term):
    """What sums a term over the images' places from ``start`` to ``end`` of a flat array.

    The term adds to a vector that of the place of another. ``slope`` begins ``offset`` later.
    """

    @inner
    def added(x, slope, offset, start, end, mean, mask):
        middle, length = fill(mean), len(mask)
        a = b = c = d = fill(ZERO)
        for row in range(start, end, length):
            place = 0
            while place + 3 * WIDTH < length:  # sums of their own: each would wait for the last
                at = row + place
                a = term(a, x, at, slope, offset, middle, load(mask, place))
                at, place = at + WIDTH, place + WIDTH
                b = term(b, x, at, slope, offset, middle, load(mask, place))
                at, place = at + WIDTH, place + WIDTH
                c = term(c, x, at, slope, offset, middle, load(mask, place))
                at, place = at + WIDTH, place + WIDTH
                d = term(d, x, at, slope, offset, middle, load(mask, place))
                place += WIDTH
            while place < length:
                a = term(a, x, row + place, slope, offset, middle, load(mask, place))
                place += WIDTH
        return add_up(plus(plus(a, b), plus(c, d)))

    return added


_sum, _squares, _products = map(_sum_of, (_number, _square, _product))


@inner
def _learn(x, channel, size, mask, number, norm):
    """Take a channel's statistics into the saved and the running ones, the latter as torch does.

    ``x`` is flat, ``size`` a channel's. Returns by how much the channel is to be lowered, and then
    multiplied, and then raised.
    """
    weight, bias, before, running_mean, running_var, epsilon, momentum, saved, _, _ = norm
    start, end = channel * size, (channel + 1) * size
    mean = np.float32(_sum(x, x, 0, start, end, ZERO, mask) / number)
    variance = _squares(x, x, 0, start, end, mean, mask) / number
    saved[0, channel] = mean
    saved[1, channel] = 1 / np.sqrt(variance + epsilon)
    unbiased = variance * number / (number - 1)
    running_mean[channel] += momentum * (mean + before[channel] - running_mean[channel])
    running_var[channel] += momentum * (unbiased - running_var[channel])
    return fill(mean), fill(np.float32(weight[channel] * saved[1, channel])), fill(bias[channel])


@inner
def norm_relu(x, norm, mask, number, y):
    """``y`` = ReLU of the batch norm of ``x``."""
    size, length = x.size // len(x), len(mask)
    source, target = x.reshape(x.size), y.reshape(y.size)
    for channel in range(len(x)):
        mean, scale, shift = _learn(source, channel, size, mask, number, norm)
        for row in range(channel * size, (channel + 1) * size, length):
            for place in range(0, length, WIDTH):
                value = multiply_add(minus(load(source, row + place), mean), scale, shift)
                store(target, row + place, only(load(mask, place), relu(value)))


@inner
def norms_add_relu(x1, norm1, x2, norm2, mask, number, y):
    """``y`` = ReLU of the sum of the batch norms of ``x1`` and ``x2``."""
    size, length = y.size // len(y), len(mask)
    one, two, target = x1.reshape(x1.size), x2.reshape(x2.size), y.reshape(y.size)
    for channel in range(len(y)):
        mean1, scale1, shift1 = _learn(one, channel, size, mask, number, norm1)
        mean2, scale2, shift2 = _learn(two, channel, size, mask, number, norm2)
        shift = plus(shift1, shift2)
        for row in range(channel * size, (channel + 1) * size, length):
            for place in range(0, length, WIDTH):
                value = multiply_add(minus(load(one, row + place), mean1), scale1, shift)
                value = multiply_add(minus(load(two, row + place), mean2), scale2, value)
                store(target, row + place, only(load(mask, place), relu(value)))


@inner
def _window(x, at, right, down, there, middle, scale, shift):
    """A window's numbers after the batch norm, and the largest of them.

    Where ``there`` is 0 it has no right half, in whose place its left one stands.
    """
    a = multiply_add(minus(load(x, at), middle), scale, shift)
    b = multiply_add(minus(load(x, at + right), middle), scale, shift)
    c = multiply_add(minus(load(x, at + down), middle), scale, shift)
    d = multiply_add(minus(load(x, at + right + down), middle), scale, shift)
    b, d = where_equal(there, fill(ZERO), a, b), where_equal(there, fill(ZERO), c, d)
    return a, b, c, d, larger(larger(a, b), larger(c, d))


@inner
def _beside(mask, at, right):
    """1 where windows at these places of a row have a right half, which is so far off, else 0."""
    return load(mask, at + right) if right else fill(ZERO)


@inner
def norm_pool_relu(x, norm, x_row, number, y, y_row):
    """``y`` = ReLU of the 2x2 max pool of the batch norm of ``x``; odd rows and columns stay.

    ``x_row`` and ``y_row`` are the (mask, starts, vectors) of their rows; that of ``x`` has twice
    the phases.
    """
    (mask, starts, ends), (y_mask, y_starts, vectors) = x_row, y_row
    channels, height, length = x.shape
    size, source, target = x.size // channels, x.reshape(x.size), y.reshape(y.size)
    target[:] = ZERO
    for channel in range(channels):
        mean, scale, shift = _learn(source, channel, size, mask, number, norm)
        for i in range(0, height, 2):
            down = length if i + 1 < height else 0
            above, to_row = (
                channel * size + i * length,
                (channel * y.shape[1] + i // 2) * y.shape[2],
            )
            for phase in range(len(y_starts)):
                left, end = starts[2 * phase], ends[2 * phase + 1] * WIDTH
                for v in range(0, vectors[phase] * WIDTH, WIDTH):
                    right = starts[2 * phase + 1] - left if v < end else 0
                    there, at = _beside(mask, left + v, right), above + left + v
                    best = _window(source, at, right, down, there, mean, scale, shift)[4]
                    to = y_starts[phase] + v
                    store(target, to_row + to, only(load(y_mask, to), relu(best)))


@inner
def _descend(slope, offset, x, channel, size, mask, number, norm):
    """A channel becomes its gradient, from that of its batch norm; adds the norm's own.

    ``slope`` begins ``offset`` later than the flat ``x``.
    """
    weight, _, _, _, _, _, _, saved, weights, biases = norm
    mean, inverse, length = saved[0, channel], saved[1, channel], len(mask)
    start, end = channel * size, (channel + 1) * size
    total = _sum(slope, slope, 0, start + offset, end + offset, ZERO, mask)
    product = _products(x, slope, offset, start, end, mean, mask) * inverse
    weights[channel] += product
    biases[channel] += total
    scale = weight[channel] * inverse
    # (slope - total / number - (x - mean) * tilt) * scale
    scaled, middle = fill(np.float32(scale)), fill(mean)
    level = fill(np.float32(-scale * total / number))
    tilt = fill(np.float32(-scale * product * inverse / number))
    for row in range(start, end, length):
        for place in range(0, length, WIDTH):
            at = row + place
            value = multiply_add(load(slope, at + offset), scaled, level)
            value = multiply_add(minus(load(x, at), middle), tilt, value)
            store(x, at, only(load(mask, place), value))


@inner
def _silence(slope, y, start, end):
    """The gradient before a ReLU, in place."""
    for at in range(start, end, WIDTH):
        store(slope, at, relu_back(load(y, at), load(slope, at)))


@inner
def norm_relu_back(slope, x, norm, mask, number, y):
    """``x`` becomes its gradient, and ``slope``, that of ``y``, is lost; see ``norm_relu``.

    Adds the norm's own gradients.
    """
    size = x.size // len(x)
    of_y, source, target = slope.reshape(slope.size), x.reshape(x.size), y.reshape(y.size)
    for channel in range(len(x)):
        _silence(of_y, target, channel * size, (channel + 1) * size)
        _descend(of_y, 0, source, channel, size, mask, number, norm)


@inner
def norms_add_relu_back(slope, x1, norm1, x2, norm2, mask, number, y):
    """``x1`` and ``x2`` become their gradients; see ``norms_add_relu`` and ``norm_relu_back``."""
    size = y.size // len(y)
    of_y, target = slope.reshape(slope.size), y.reshape(y.size)
    one, two = x1.reshape(x1.size), x2.reshape(x2.size)
    for channel in range(len(y)):
        _silence(of_y, target, channel * size, (channel + 1) * size)
        _descend(of_y, 0, one, channel, size, mask, number, norm1)
        _descend(of_y, 0, two, channel, size, mask, number, norm2)


@inner
def norm_pool_relu_back(slope, x, norm, x_row, number, y, y_row):
    """``x`` becomes its gradient; see ``norm_pool_relu`` and ``norm_relu_back``.

    A window's slope goes to the first of its largest numbers, as in torch.
    """
    (mask, starts, ends), (_, y_starts, vectors) = x_row, y_row
    weight, bias, _, _, _, _, _, saved, _, _ = norm
    channels, height, length = x.shape
    size, of_y, source = x.size // channels, slope.reshape(slope.size), x.reshape(x.size)
    largest, spread, zero = y.reshape(y.size), np.empty(size, np.float32), fill(ZERO)
    for channel in range(channels):
        mean, shift = fill(saved[0, channel]), fill(bias[channel])
        scale = fill(np.float32(weight[channel] * saved[1, channel]))
        for i in range(0, height, 2):
            down = length if i + 1 < height else 0
            above, of_row = channel * size, (channel * y.shape[1] + i // 2) * y.shape[2]
            for phase in range(len(y_starts)):
                left, end = starts[2 * phase], ends[2 * phase + 1] * WIDTH
                for v in range(0, vectors[phase] * WIDTH, WIDTH):
                    right = starts[2 * phase + 1] - left if v < end else 0
                    there = _beside(mask, left + v, right)
                    to, of = i * length + left + v, of_row + y_starts[phase] + v
                    a, b, c, _, best = _window(
                        source, above + to, right, down, there, mean, scale, shift
                    )
                    rest = relu_back(load(largest, of), load(of_y, of))
                    of_a = where_equal(a, best, rest, zero)
                    rest = where_equal(a, best, zero, rest)
                    of_b = where_equal(b, best, rest, zero)
                    rest = where_equal(b, best, zero, rest)
                    of_c = where_equal(c, best, rest, zero)
                    # where a window is cut off, its places are the same, and the first counts
                    store(spread, to + right + down, where_equal(c, best, zero, rest))
                    store(spread, to + down, of_c)
                    store(spread, to + right, of_b)
                    store(spread, to, of_a)
        _descend(spread, -channel * size, source, channel, size, mask, number, norm)
