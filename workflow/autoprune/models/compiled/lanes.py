"""Convolutions of maps whose images lie side by side in memory, column after column.

Maps are (channel, height, place), float32 and contiguous. The places of a row are as ``Row`` has
them: by phases, each of them columns a fixed step apart, of each column all images. What a stride
of 2 meets is one phase then, and 16 places at once are 16 places of whatever columns and images
come next: however few filters pruning leaves and whatever the batch, no lane is idle but some of a
phase's last. Each sum has its own order, the same on every machine.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls

from functools import cached_property, lru_cache
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
PART = 2048  # places of a channel's rows of a slope that the cache holds with what they meet


def _whole(places: int) -> int:
    return -(-places // WIDTH) * WIDTH


class Row:
    """Where a row of ``width`` columns has its places, for ``images`` and by ``phases``.

    Phase p has the columns p, p + phases, ...; the last phase is first, so that the column -1 is
    before all. That and the column ``width`` have room, and are 0. Phases begin at ``starts`` and
    have so many ``vectors`` of 16 places; what else a row has is 0 or nobody's.
    """

    def __init__(self, width: int, phases: int, images: int) -> None:
        self.width, self.phases, self.images = width, phases, images
        columns = np.array([len(range(phase, width, phases)) for phase in range(phases)])
        edge, with_next = _whole(images), columns + (np.arange(phases) == width % phases)
        room = np.array([_whole(number * images) for number in with_next])
        self.starts = edge + room[::-1].cumsum()[::-1] - room
        self.vectors = np.array([_whole(number * images) // WIDTH for number in columns])
        # the first phase's vectors may be met one column further on
        self.length = edge + int(room.sum()) + edge

    def place(self, column: int) -> int:
        """Where a column has its first image; of one before or behind the row as of another."""
        return int(self.starts[column % self.phases]) + column // self.phases * self.images

    @cached_property
    def mask(self) -> Array:
        """1 at each place (place,) of a column, else 0."""
        found = np.zeros(self.length, np.float32)
        for column in range(self.width):
            found[self.place(column) :][: self.images] = 1
        return found


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


def columns_seen(x: Row, y: Row, kernel: int, stride: int, before: int) -> Array:
    """Per phase of ``y`` where in ``x`` each tap has what its first place meets (phase, kernel).

    The others meet what follows there: ``x`` has ``stride`` times the phases.
    """
    assert x.phases == stride * y.phases
    seen = [[stride * q + tap - before for tap in range(kernel)] for q in range(y.phases)]
    return np.array([[x.place(column) for column in row] for row in seen])


def columns_seen_back(x: Row, y: Row, kernel: int, stride: int, before: int) -> Array:
    """Per phase of ``x`` where in ``y`` is what sees its first place, by each tap; -1 is nothing.

    See ``columns_seen``; (phase, kernel).
    """
    found = np.full((x.phases, kernel), -1)
    for phase in range(x.phases):
        for tap in range(kernel):
            column, rest = divmod(phase + before - tap, stride)
            if not rest:
                found[phase, tap] = y.place(column)
    return found


Met = tuple[Array, Array, Array, Array, Array]


def meets(columns: Array, channels: int, apart: int, x: Row, y: Row) -> Met:
    """What the sums of ``y`` run through within a row of ``x``.

    ``columns`` (phase, tap) as above, of each tap ``channels`` that lie so far ``apart``. The
    places (phase, tap and channel) are of all taps that see something; a phase's weights begin at
    (phase,), in a ``packed`` kernel whose columns have these ranks (tap,). What is padding
    throughout is left out: of each two vectors the sums run through parts (phase, pair, 2) of the
    places, and of each three places through spans (phase, three, 2) of the vectors.
    """
    phases, kernel = columns.shape
    order = _in_order(kernel, max(1, y.phases // x.phases))
    places = np.zeros((phases, kernel * channels), np.int64)
    weights = np.zeros(phases, np.int64)
    pairs, threes = (int(y.vectors.max()) + 1) // 2, -(-kernel * channels // 3)
    parts = np.zeros((phases, pairs, 2), np.int64)
    spans = np.zeros((phases, threes, 2), np.int64)
    for phase in range(phases):
        taken = [tap for tap in order if columns[phase, tap] >= 0]
        if not taken or not y.vectors[phase]:
            continue
        starts, vectors = columns[phase, taken], int(y.vectors[phase])
        at = starts[:, None] + np.arange(channels) * apart
        places[phase, : at.size] = at.ravel()
        weights[phase] = order.index(taken[0]) * channels * 4
        sees = np.array([x.mask[s:][: vectors * WIDTH].reshape(-1, WIDTH).any(1) for s in starts])
        two = np.add.reduceat(sees, np.arange(0, vectors, 2), axis=1, dtype=int)
        parts[phase, : two.shape[1]] = _from_to(two.T) * channels
        of_places = np.repeat(sees, channels, axis=0)
        three = np.add.reduceat(of_places, np.arange(0, at.size, 3), axis=0, dtype=int)
        spans[phase, : len(three)] = _from_to(three)
    return places, weights, parts, np.argsort(order), spans


def _from_to(some: Array) -> Array:
    """In each row (row, number) from which to behind which number (row, 2) some are not 0."""
    there = some != 0
    ends = np.stack([there.argmax(1), there.shape[1] - there[:, ::-1].argmax(1)], axis=1)
    return np.where(there.any(1)[:, None], ends, 0)


def _in_order(kernel: int, stride: int) -> list[int]:
    """The taps of a kernel so that those that meet in one phase of a gradient are in a row."""
    return [tap for first in range(stride) for tap in range(first, kernel, stride)]


@inner
def side_by_side(images, places, others, first, end, x):
    """Rows of images (image, height, width, channel), ``first`` to ``end``, as maps are.

    But ``x`` is (height, channel, place).
    ``places`` (width times channel) are those of a pixel's first image in the first row, ``others``
    those of a row's vectors that are not of images alone; what is no image's becomes 0.
    """
    number, height, width, channels = images.shape
    size, length, down = height * width * channels, width * channels, x.size // height
    source, target = images.reshape(images.size), x.reshape(x.size)
    for y in range(first, end):
        for begin in range(y * down, (y + 1) * down, x.shape[2]):
            for other in others:
                store(target, begin + other, fill(ZERO))
        for image in range(0, number, WIDTH):
            at, count = image * size + y * length, min(WIDTH, number - image)
            to = y * down + image
            for start in range(0, length - WIDTH + 1, WIDTH):
                turn(source, at + start, size, count, target, places, start, to)
            if length >= WIDTH:  # the last pixels, some of them once more
                start = length - WIDTH
                turn(source, at + start, size, count, target, places, start, to)
                continue
            for pixel in range(length):
                for k in range(count):
                    target[places[pixel] + to + k] = source[at + k * size + pixel]


@inner
def packed(kernel, back, met):
    """A kernel (output, row, column, input) by fours of outputs (.., row, rank and input and four).

    Ranks are those of ``meets``. With ``back`` outputs and inputs change places. What the last four
    lack is 0.
    """
    outputs, rows, columns, inputs = kernel.shape
    ranks = met[3]
    ours, others = (inputs, outputs) if back else (outputs, inputs)
    panels = np.zeros(((ours + 3) // 4, rows, columns, others, 4), np.float32)
    for output in range(outputs):
        for row in range(rows):
            for column in range(columns):
                for i in range(inputs):
                    one, other = (i, output) if back else (output, i)
                    value = kernel[output, row, column, i]
                    panels[one >> 2, row, ranks[column], other, one & 3] = value
    return panels.reshape((len(panels), rows, columns * others * 4))


@inner
def _keep(y, at, leap, last, add, sums):
    """Four vectors into a flat array, or the first of them that are not beyond the ``last``."""
    for k, total in enumerate(sums):
        if k <= last:
            store(y, at + k * leap, plus(total, load(y, at + k * leap)) if add else total)


@inner
def convolve(x, down, weights, seen, begin, end, met, add, y, starts, vectors):
    """Rows ``begin`` to ``end`` of ``y`` are, or where ``add`` get more by, ``x`` convolved.

    ``y`` is (output, height, place); a row of ``x`` is ``down`` behind the one above it.
    ``weights`` are a kernel ``packed``; ``seen`` says which rows it sees, as ``taps``, and ``met``
    what within a row, as ``meets``. ``starts`` and ``vectors`` are those of the ``Row`` of ``y``,
    whose other places are left alone. With ``back`` in all three this is the gradient of a
    convolution's input, from that of its output.
    """
    places, of_weights, parts, _, _ = met
    (outputs, height, length), (_, tall, across) = y.shape, weights.shape
    source, target, leap = x.reshape(x.size), y.reshape(y.size), height * length
    panels = weights.reshape(weights.size)
    for i in range(begin, end):
        for phase in range(len(starts)):  # of which what is seen stays in the cache
            for first in range(0, outputs, 4):
                of_tile, last = first // 4 * tall * across, outputs - 1 - first
                to = (first * height + i) * length + starts[phase]
                for v in range(0, vectors[phase], 2):
                    both = v + 1 < vectors[phase]
                    k0, k1 = parts[phase, v >> 1]
                    if add and k0 == k1:
                        continue
                    sums, more = four_zeros(), four_zeros()
                    for row in range(tall):
                        if seen[i, row] < 0:
                            continue
                        base = seen[i, row] * down + v * WIDTH
                        w = of_tile + row * across + of_weights[phase] + 4 * k0
                        if both:
                            for k in range(k0, k1):
                                at = base + places[phase, k]
                                one, two = load(source, at), load(source, at + WIDTH)
                                sums = four_products(panels, w, one, sums)
                                more = four_products(panels, w, two, more)
                                w += 4
                        else:
                            for k in range(k0, k1):
                                at = base + places[phase, k]
                                sums = four_products(panels, w, load(source, at), sums)
                                w += 4
                    _keep(target, to + v * WIDTH, leap, last, add, sums)
                    if both:
                        _keep(target, to + (v + 1) * WIDTH, leap, last, add, more)


@inner
def kernel_slopes(x, down, slope, rows, met, starts, gradient):
    """Adds to ``gradient`` (output, row, column, input) that of the kernel, from the output's.

    ``slope`` (output, height, place) is 0 where its row has no column; see ``convolve``. So many
    rows at a time as the cache holds.
    """
    places, spans = met[0], met[4]
    outputs, height, length = slope.shape
    across = places.shape[1]
    source, slopes, leap = x.reshape(x.size), slope.reshape(slope.size), height * length
    into = gradient.reshape((outputs, gradient.shape[1], across))
    part = max(1, PART // length)
    for start in range(0, height, part):
        end = min(start + part, height)
        for output in range(0, outputs, 4):
            last = outputs - 1 - output
            o1, o2, o3 = min(1, last) * leap, min(2, last) * leap, min(3, last) * leap
            for row in range(rows.shape[1]):
                for i in range(0, across, 3):
                    i1, i2 = min(i + 1, across - 1), min(i + 2, across - 1)
                    a0 = a1 = a2 = b0 = b1 = b2 = fill(ZERO)
                    c0 = c1 = c2 = d0 = d1 = d2 = fill(ZERO)
                    for y in range(start, end):
                        if rows[y, row] < 0:
                            continue
                        for phase in range(len(starts)):
                            p0 = rows[y, row] * down + places[phase, i]
                            p1 = rows[y, row] * down + places[phase, i1]
                            p2 = rows[y, row] * down + places[phase, i2]
                            of = output * leap + y * length + starts[phase]
                            v0, v1 = spans[phase, i // 3]
                            for v in range(v0 * WIDTH, v1 * WIDTH, WIDTH):
                                x0, x1 = load(source, p0 + v), load(source, p1 + v)
                                x2 = load(source, p2 + v)
                                s = load(slopes, of + v)
                                a0, a1 = multiply_add(s, x0, a0), multiply_add(s, x1, a1)
                                a2 = multiply_add(s, x2, a2)
                                s = load(slopes, of + o1 + v)
                                b0, b1 = multiply_add(s, x0, b0), multiply_add(s, x1, b1)
                                b2 = multiply_add(s, x2, b2)
                                s = load(slopes, of + o2 + v)
                                c0, c1 = multiply_add(s, x0, c0), multiply_add(s, x1, c1)
                                c2 = multiply_add(s, x2, c2)
                                s = load(slopes, of + o3 + v)
                                d0, d1 = multiply_add(s, x0, d0), multiply_add(s, x1, d1)
                                d2 = multiply_add(s, x2, d2)
                    _take(into, output, row, i, a0, a1, a2)
                    _take(into, output + 1, row, i, b0, b1, b2)
                    _take(into, output + 2, row, i, c0, c1, c2)
                    _take(into, output + 3, row, i, d0, d1, d2)


@inner
def _take(gradient, output, row, i, first, second, third):
    if output < len(gradient):
        gradient[output, row, i] += add_up(first)
        if i + 1 < gradient.shape[2]:
            gradient[output, row, i + 1] += add_up(second)
        if i + 2 < gradient.shape[2]:
            gradient[output, row, i + 2] += add_up(third)
