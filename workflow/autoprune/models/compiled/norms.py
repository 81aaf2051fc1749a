"""Batch norm with what stands around it, a channel at a time, forward and backward.

Maps are those of ``lanes``: (channel, height, width, lane), float32. A channel is one piece
of memory, which stays in the cache through all that is done with it. Lanes that hold no image hold
what they may, but their gradients are 0: ``mask`` (lane,) is 1 where there is an image, else 0.
Sums have one order on every machine.

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
    plus,
    relu,
    relu_back,
    store,
    times,
    where_equal,
)

ZERO = np.float32(0)


@inner
def _number(total, x, at, slope, offset, middle):
    return plus(total, load(x, at))


@inner
def _square(total, x, at, slope, offset, middle):
    less = minus(load(x, at), middle)
    return multiply_add(less, less, total)


@inner
def _product(total, x, at, slope, offset, middle):
    return multiply_add(minus(load(x, at), middle), load(slope, at + offset), total)


def _sum_of(term):
    """What sums a term over the numbers of images from ``start`` to ``end`` of a flat array.

    The term adds to a vector that of the place of another. ``slope`` begins ``offset`` later.
    """

    @inner
    def added(x, slope, offset, start, end, lanes, mean, mask):
        total, middle = 0.0, fill(mean)
        for lane in range(0, lanes, WIDTH):
            a = b = c = d = fill(ZERO)
            at = start + lane
            while at + 3 * lanes < end:  # sums of their own: each would wait for the one before
                a = term(a, x, at, slope, offset, middle)
                b = term(b, x, at + lanes, slope, offset, middle)
                c = term(c, x, at + 2 * lanes, slope, offset, middle)
                d = term(d, x, at + 3 * lanes, slope, offset, middle)
                at += 4 * lanes
            while at < end:
                a = term(a, x, at, slope, offset, middle)
                at += lanes
            total += add_up(times(plus(plus(a, b), plus(c, d)), load(mask, lane)))
        return total

    return added


_sum, _squares, _products = map(_sum_of, (_number, _square, _product))


@inner
def _learn(x, channel, size, lanes, mask, images, norm):
    """Take a channel's statistics into the saved and the running ones, the latter as torch does.

    ``x`` is flat, ``size`` a channel's. Returns by how much the channel is to be lowered, and then
    multiplied, and then raised.
    """
    weight, bias, before, running_mean, running_var, epsilon, momentum, saved, _, _ = norm
    start, end, number = channel * size, (channel + 1) * size, size // lanes * images
    mean = np.float32(_sum(x, x, 0, start, end, lanes, ZERO, mask) / number)
    variance = _squares(x, x, 0, start, end, lanes, mean, mask) / number
    saved[0, channel] = mean
    saved[1, channel] = 1 / np.sqrt(variance + epsilon)
    unbiased = variance * number / (number - 1)
    running_mean[channel] += momentum * (mean + before[channel] - running_mean[channel])
    running_var[channel] += momentum * (unbiased - running_var[channel])
    return fill(mean), fill(np.float32(weight[channel] * saved[1, channel])), fill(bias[channel])


@inner
def norm_relu(x, norm, mask, images, y):
    """``y`` = ReLU of the batch norm of ``x``."""
    lanes, size = x.shape[3], x.size // len(x)
    source, target = x.reshape(x.size), y.reshape(y.size)
    for channel in range(len(x)):
        mean, scale, shift = _learn(source, channel, size, lanes, mask, images, norm)
        for at in range(channel * size, (channel + 1) * size, WIDTH):
            value = multiply_add(minus(load(source, at), mean), scale, shift)
            store(target, at, relu(value))


@inner
def norms_add_relu(x1, norm1, x2, norm2, mask, images, y):
    """``y`` = ReLU of the sum of the batch norms of ``x1`` and ``x2``."""
    lanes, size = y.shape[3], y.size // len(y)
    one, two, target = x1.reshape(x1.size), x2.reshape(x2.size), y.reshape(y.size)
    for channel in range(len(y)):
        mean1, scale1, shift1 = _learn(one, channel, size, lanes, mask, images, norm1)
        mean2, scale2, shift2 = _learn(two, channel, size, lanes, mask, images, norm2)
        shift = plus(shift1, shift2)
        for at in range(channel * size, (channel + 1) * size, WIDTH):
            value = multiply_add(minus(load(one, at), mean1), scale1, shift)
            value = multiply_add(minus(load(two, at), mean2), scale2, value)
            store(target, at, relu(value))


@inner
def _window(x, at, right, down, middle, scale, shift):
    """A window's numbers after the batch norm, and the largest of them."""
    a = multiply_add(minus(load(x, at), middle), scale, shift)
    b = multiply_add(minus(load(x, at + right), middle), scale, shift)
    c = multiply_add(minus(load(x, at + down), middle), scale, shift)
    d = multiply_add(minus(load(x, at + right + down), middle), scale, shift)
    return a, b, c, d, larger(larger(a, b), larger(c, d))


@inner
def norm_pool_relu(x, norm, mask, images, y):
    """``y`` = ReLU of the 2x2 max pool of the batch norm of ``x``; odd rows and columns stay."""
    channels, height, width, lanes = x.shape
    size, source, target, to = x.size // channels, x.reshape(x.size), y.reshape(y.size), 0
    for channel in range(channels):
        mean, scale, shift = _learn(source, channel, size, lanes, mask, images, norm)
        for i in range(0, height, 2):
            down = width * lanes if i + 1 < height else 0
            for j in range(0, width, 2):
                right = lanes if j + 1 < width else 0
                at = channel * size + (i * width + j) * lanes
                for _ in range(0, lanes, WIDTH):
                    best = _window(source, at, right, down, mean, scale, shift)[4]
                    store(target, to, relu(best))
                    at += WIDTH
                    to += WIDTH


@inner
def _descend(slope, offset, x, channel, size, lanes, mask, images, norm):
    """A channel becomes its gradient, from that of its batch norm; adds the norm's own.

    ``slope`` begins ``offset`` later than the flat ``x``.
    """
    weight, _, _, _, _, _, _, saved, weights, biases = norm
    mean, inverse = saved[0, channel], saved[1, channel]
    start, end, number = channel * size, (channel + 1) * size, size // lanes * images
    begin = start + offset
    total = _sum(slope, slope, 0, begin, end + offset, lanes, ZERO, mask)
    product = _products(x, slope, offset, start, end, lanes, mean, mask) * inverse
    weights[channel] += product
    biases[channel] += total
    scale = weight[channel] * inverse
    # (slope - total / number - (x - mean) * tilt) * scale, 0 where there is no image
    scaled, middle = fill(np.float32(scale)), fill(mean)
    level = fill(np.float32(-scale * total / number))
    tilt = fill(np.float32(-scale * product * inverse / number))
    for lane in range(0, lanes, WIDTH):
        here = load(mask, lane)
        for at in range(start + lane, end, lanes):
            value = multiply_add(load(slope, at + offset), scaled, level)
            value = multiply_add(minus(load(x, at), middle), tilt, value)
            store(x, at, times(value, here))


@inner
def _silence(slope, y, start, end):
    """The gradient before a ReLU, in place."""
    for at in range(start, end, WIDTH):
        store(slope, at, relu_back(load(y, at), load(slope, at)))


@inner
def norm_relu_back(slope, x, norm, mask, images, y):
    """``x`` becomes its gradient, and ``slope``, that of ``y``, is lost; see ``norm_relu``.

    Adds the norm's own gradients.
    """
    lanes, size = x.shape[3], x.size // len(x)
    of_y, source, target = slope.reshape(slope.size), x.reshape(x.size), y.reshape(y.size)
    for channel in range(len(x)):
        _silence(of_y, target, channel * size, (channel + 1) * size)
        _descend(of_y, 0, source, channel, size, lanes, mask, images, norm)


@inner
def norms_add_relu_back(slope, x1, norm1, x2, norm2, mask, images, y):
    """``x1`` and ``x2`` become their gradients; see ``norms_add_relu`` and ``norm_relu_back``."""
    lanes, size = y.shape[3], y.size // len(y)
    of_y, target = slope.reshape(slope.size), y.reshape(y.size)
    one, two = x1.reshape(x1.size), x2.reshape(x2.size)
    for channel in range(len(y)):
        _silence(of_y, target, channel * size, (channel + 1) * size)
        _descend(of_y, 0, one, channel, size, lanes, mask, images, norm1)
        _descend(of_y, 0, two, channel, size, lanes, mask, images, norm2)


@inner
def norm_pool_relu_back(slope, x, norm, mask, images, y):
    """``x`` becomes its gradient; see ``norm_pool_relu`` and ``norm_relu_back``.

    A window's slope goes to the first of its largest numbers, as in torch.
    """
    weight, bias, _, _, _, _, _, saved, _, _ = norm
    channels, height, width, lanes = x.shape
    size, of_y, source = x.size // channels, slope.reshape(slope.size), x.reshape(x.size)
    largest, spread, of = y.reshape(y.size), np.empty(size, np.float32), 0
    for channel in range(channels):
        mean, shift = fill(saved[0, channel]), fill(bias[channel])
        scale = fill(np.float32(weight[channel] * saved[1, channel]))
        for i in range(0, height, 2):
            down = width * lanes if i + 1 < height else 0
            for j in range(0, width, 2):
                right = lanes if j + 1 < width else 0
                to = (i * width + j) * lanes
                for _ in range(0, lanes, WIDTH):
                    at = channel * size + to
                    a, b, c, _, best = _window(source, at, right, down, mean, scale, shift)
                    left = relu_back(load(largest, of), load(of_y, of))
                    of_a = where_equal(a, best, left, fill(ZERO))
                    left = where_equal(a, best, fill(ZERO), left)
                    of_b = where_equal(b, best, left, fill(ZERO))
                    left = where_equal(b, best, fill(ZERO), left)
                    of_c = where_equal(c, best, left, fill(ZERO))
                    # where the window is cut off, its places are the same, and the first counts
                    store(spread, to + right + down, where_equal(c, best, fill(ZERO), left))
                    store(spread, to + down, of_c if down else of_a)
                    store(spread, to + right, of_b if right else of_a)
                    store(spread, to, of_a)
                    to += WIDTH
                    of += WIDTH
        _descend(spread, -channel * size, source, channel, size, lanes, mask, images, norm)
