"""What may be done to every image between its source and training: crop, resize, invert, scale."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare.images import BLOCK, Images, Samples
from autoprune.data.prepare.sources import checked, count, whole_number

Blocks = Iterable[tuple[np.ndarray, np.ndarray]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags, which are the same for every source; without them nothing is done."""
    group = parser.add_argument_group("preprocessing, in this order")
    group.add_argument(
        "--crop",
        type=whole_number,
        nargs=2,
        metavar=("FIRST", "END"),
        help="keep pixel rows and columns FIRST up to, not including, END; the paper's notebooks "
        "crop FEMNIST to 5 20",
    )
    group.add_argument(
        "--resize",
        type=count,
        metavar="SIDE",
        help="pixels; scale to SIDE x SIDE, bilinear, averaging when it shrinks",
    )
    group.add_argument(
        "--polarity",
        choices=("dark-on-light", "light-on-dark"),
        help="invert the images when the source has the other",
    )
    group.add_argument(
        "--pixel-range",
        type=checked(float, -1e6, 1e6, "a number between -1e6 and 1e6"),
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="what training scales the stored 0 and 255 to (default: 0 1, the paper's)",
    )
    group.add_argument(
        "--standardise",
        action="store_true",
        help="instead the range that gives the training images' pixels mean 0 and standard "
        "deviation 1; where most pixels are paper, filters die without it",
    )


@dataclass(frozen=True)
class Steps:
    """What is done to images (n, H, W, C) uint8; an unset field does nothing."""

    crop: tuple[int, int] | None = None
    resize: int | None = None
    inverted: bool = False

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The images after all steps, (n, H', W', C) uint8."""
        if self.crop is not None:
            first, end = self.crop
            images = images[:, first:end, first:end]
        if self.resize is not None:
            images = resized(images, self.resize)
        return ~images if self.inverted else images  # ~x is 255 - x for uint8

    def shape(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """The shape that images of ``shape`` (n, H, W, C) have afterwards."""
        number, height, width, channels = shape
        if self.crop is not None:
            height = width = self.crop[1] - self.crop[0]
        if self.resize is not None:
            height = width = self.resize
        return number, height, width, channels


def resized(images: np.ndarray, side: int) -> np.ndarray:
    """Scale images (n, H, W, C) uint8 to (n, side, side, C), bilinear about pixel centres.

    By Pillow, whose whole-number arithmetic gives the same bytes on every machine (torch's and
    scikit-image's floats need not) and which starts fast. Its resampling of one axis leaves the
    other alone: all images go through at once, as one tall image. Enlarging is bilinear as in the
    notebooks, apart from rounding and edges (they import scikit-image's resize, which mirrors
    there); shrinking averages, so that no pixel is skipped.
    """
    planes = images.transpose(0, 3, 1, 2)  # (image, channel, height, width)
    planes = _last_axis(planes, side).swapaxes(2, 3)
    planes = _last_axis(planes, side).swapaxes(2, 3)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def _last_axis(planes: np.ndarray, side: int) -> np.ndarray:
    """(..., length) becomes (..., side)."""
    from PIL import Image

    if not planes.size:
        return np.empty((*planes.shape[:-1], side), np.uint8)
    tall = np.ascontiguousarray(planes).reshape(-1, planes.shape[-1])
    scaled = Image.fromarray(tall).resize((side, len(tall)), Image.Resampling.BILINEAR)
    return np.asarray(scaled).reshape(*planes.shape[:-1], side)


def chosen(
    samples: Samples,
    crop: tuple[int, int] | None = None,
    resize: int | None = None,
    polarity: str | None = None,
) -> Steps:
    """The steps that these settings mean for these samples; InputError when they do not fit."""
    _, height, width, _ = samples.images.shape
    if crop is not None and not crop[0] < crop[1] <= min(height, width):
        raise InputError(
            f"--crop {crop[0]} {crop[1]}: the images have {height} rows and {width} columns; "
            f"expected FIRST < END <= {min(height, width)}"
        )
    if polarity is not None and samples.polarity == "colour":
        raise InputError(f"--polarity {polarity}: the images are in colour; leave it out")
    return Steps(
        crop=None if crop is None else (crop[0], crop[1]),
        resize=resize,
        inverted=polarity is not None and polarity != samples.polarity,
    )


def preprocessed(samples: Samples, steps: Steps) -> Samples:
    """The samples with ``steps`` done to their images; ``Images`` are still read later."""
    images = samples.images
    if steps == Steps():
        return samples
    shape = steps.shape(images.shape)
    if isinstance(images, Images):
        images = replace(images, shape=shape, read=partial(_read, images.read, steps))
    else:
        done = np.empty(shape, np.uint8)
        for start in range(0, len(images), BLOCK):
            done[start : start + BLOCK] = steps(images[start : start + BLOCK])
        images = done
    polarity = samples.polarity
    if steps.inverted:
        polarity = {"dark-on-light": "light-on-dark", "light-on-dark": "dark-on-light"}[polarity]
    return replace(samples, images=images, polarity=polarity)


def _read(
    read: Callable[[Any], Blocks], steps: Steps, part: Any
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    return ((rows, steps(images)) for rows, images in read(part))


def chosen_range(
    pixel_range: tuple[float, float] | None, standardise: bool
) -> tuple[float, float] | None:
    """(low, high) that training scales 0 and 255 to, None where the pixels are to tell it.

    Raises InputError unless low < high, and for both flags at once.
    """
    if pixel_range is None:
        return None if standardise else (0, 1)
    low, high = pixel_range
    if standardise:
        raise InputError(
            f"--pixel-range {low:g} {high:g} and --standardise exclude each other; leave one out"
        )
    if not low < high:
        raise InputError(f"--pixel-range {low:g} {high:g}: expected LOW < HIGH")
    return low, high
