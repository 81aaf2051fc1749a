"""The pixels of a store's images: read block by block; their mean and standard deviation."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from autoprune.core.errors import InputError

BLOCK = 4 << 20  # bytes of pixels at once


def blocks(path: Path) -> Iterator[np.ndarray]:
    """The images of a .npy file of uint8 in order, as (n, pixels of one image) a block.

    Reads the file in order and not as a memory map, whose pages would count as this process's
    memory, as many as the images are.
    """
    with open(path, "rb") as stream:
        np.lib.format.read_magic(stream)
        (rows, *shape), _, _ = np.lib.format.read_array_header_1_0(stream)
        size = math.prod(shape)
        step = max(1, BLOCK // size)
        for first in range(0, rows, step):
            number = min(step, rows - first)
            yield np.frombuffer(stream.read(number * size), np.uint8).reshape(number, size)


class Moments:
    """Mean and standard deviation of all pixels that were added, a scalar over all channels.

    Whole numbers are summed, so the results are exact to the last bit, in whatever blocks and
    order the pixels come.
    """

    def __init__(self) -> None:
        self.count = self.total = self.squares = 0

    def add(self, images: np.ndarray) -> None:
        """Count the pixels of images uint8 of any shape."""
        self.count += images.size
        self.total += int(images.sum(dtype=np.uint64))
        # 255 squared is the most that 16 bits hold
        self.squares += int(np.square(images, dtype=np.uint16).sum(dtype=np.uint64))

    @property
    def mean(self) -> float:
        """Of pixels in [0, 1], which are stored as 0 to 255."""
        return self.total / (255 * self.count)

    @property
    def sd(self) -> float:
        """The population's standard deviation, of pixels in [0, 1]."""
        spread = self.count * self.squares - self.total**2  # a Python integer: no rounding
        return math.sqrt(spread) / (255 * self.count)


def standard_range(moments: Moments, name: str) -> tuple[float, float]:
    """What 0 and 255 become where the training pixels get mean 0 and standard deviation 1.

    Raises InputError for data set ``name`` when all of them have one level.
    """
    if moments.sd == 0:
        raise InputError(
            f"data set {name!r}: every training pixel is {round(255 * moments.mean)} of 255, which "
            "standardise cannot scale; give images that show something, or leave it out"
        )
    return (0 - moments.mean) / moments.sd, (1 - moments.mean) / moments.sd
