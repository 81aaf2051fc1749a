"""How far the rule alone prunes a network that learns nothing: method.md's two nulls in NumPy.

Nothing of the product is imported. A kernel's scale does not move the rule, so an absolute weight
of a Glorot-uniform kernel is a uniform number in [0, 1).
"""

from collections.abc import Callable, Sequence

import numpy as np

Shapes = Callable[..., list[tuple[int, int]]]
"""Of some widths: of each prunable convolution its filters, and the weights a filter has."""


def cnn_shapes(first: int, second: int) -> list[tuple[int, int]]:
    """Of the CNN for 28x28x1: two 5x5 convolutions."""
    return [(first, 25), (second, 25 * first)]


def cnn_size(first: int, second: int) -> int:
    """Its parameters with 62 classes."""
    return (25 + 1) * first + (25 * first + 1) * second + (second + 1) * 62


def resnet_shapes(stem: int, *inner: int) -> list[tuple[int, int]]:
    """Of the ResNet for 84x84x3: the stem and the first convolution of each block."""
    return [(stem, 9 * 3), *((width, 9 * stem) for width in inner)]


def resnet_size(stem: int, *inner: int) -> int:
    """Its parameters with 2 classes, batch-norm statistics included."""
    norm = 4  # numbers a channel
    there = sum((9 * stem + 1 + norm) * width for width in inner)  # to each block's width
    back = sum((9 * width + 1 + norm) * stem for width in inner)
    shortcuts = len(inner) * (stem + 1 + norm) * stem
    # 84 pixels become 42 in the stem, 21 in its pool, 11 and 6 in the blocks
    return (9 * 3 + 1 + norm) * stem + there + back + shortcuts + (6 * 6 * stem + 1) * 2


def left(shapes: list[tuple[int, int]], k: float, random: np.random.Generator) -> list[int]:
    """How many filters of a new random network of these shapes the rule leaves, by layer."""
    found = []
    for filters, weights in shapes:
        norms = random.random((filters, weights), np.float32).sum(1)
        found.append(int((np.abs(norms - norms.mean()) <= k * norms.std()).sum()))
    return found


def fresh(
    widths: Sequence[int], shapes: Shapes, k: float, patience: int, cap: int, random
) -> list[int]:
    """Final widths where each of at most ``cap`` applications sees a new random network.

    ``patience`` applications in a row that remove nothing end the search.
    """
    widths, stalled = list(widths), 0
    for _ in range(cap):
        before, widths = widths, left(shapes(*widths), k, random)
        stalled = stalled + 1 if widths == before else 0
        if stalled == patience:
            break
    return widths


def kept(
    widths: Sequence[int], shapes: Shapes, k: float, patience: int, cap: int, random
) -> list[int]:
    """Final widths where a random network stays as it is when nothing goes.

    The next application then sees the same norms and removes nothing either, so the first that
    removes nothing fixes the widths, whatever ``patience`` is.
    """
    widths = list(widths)
    for _ in range(cap):
        before, widths = widths, left(shapes(*widths), k, random)
        if widths == before:
            break
    return widths


NULLS = {"fresh": fresh, "kept": kept}
NETWORKS = {
    "cnn": (cnn_shapes, cnn_size, (32, 64)),
    "resnet": (resnet_shapes, resnet_size, (16, 32, 64)),
}


def final_sizes(
    network: str, null: str, draws: int, seed: int, k: float, patience: int, cap: int
) -> list[int]:
    """Final parameters of each of ``draws`` searches of a null on a network of method.md."""
    shapes, size, widths = NETWORKS[network]
    random = np.random.default_rng(seed)
    return [size(*NULLS[null](widths, shapes, k, patience, cap, random)) for _ in range(draws)]


def median_error(sizes: Sequence[int], seed: int, times: int = 1000) -> float:
    """Standard error of the median of ``sizes``, by the bootstrap."""
    random = np.random.default_rng(seed)
    again = random.choice(np.asarray(sizes), (times, len(sizes)))
    return float(np.median(again, axis=1).std(ddof=1))
