"""What may be done to every image between its source and training: crop, resize, invert, scale."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.data.prepare.images import BLOCK, Images, Samples

Blocks = Iterable[tuple[np.ndarray, np.ndarray]]
Pixel = Annotated[int, Field(ge=0)]
Level = Annotated[float, Field(ge=-1e6, le=1e6)]


class Preprocessing(Block):
    """What is done to every image when the store is written, in this order."""

    crop: tuple[Pixel, Pixel] | None = Field(
        None,
        description="Keeps pixel rows and columns from the first number up to, not including, the "
        "second; the notebooks crop FEMNIST to `[5, 20]`.",
    )
    resize: int | None = Field(
        None, ge=1, description="Pixels a side afterwards, bilinear, averaging when it shrinks."
    )
    polarity: Literal["dark-on-light", "light-on-dark"] | None = Field(
        None, description="Inverts grey images that have the other."
    )
    pixel_range: tuple[Level, Level] | None = Field(
        None,
        description="What training scales the stored 0 and 255 to, instead of `standardise`; "
        "without either `[0, 1]`.",
    )
    standardise: bool = Field(
        False,
        description="Scales pixels so that those of the training images have mean 0 and standard "
        "deviation 1; without it they are from 0 to 1, and where most are paper filters die.",
    )

    @model_validator(mode="after")
    def _one_range(self) -> Self:
        if self.pixel_range is not None:
            low, high = self.pixel_range
            if self.standardise:
                raise ValueError(
                    f"pixel_range {low:g} {high:g} and standardise exclude each other; leave one "
                    "out"
                )
            if not low < high:
                raise ValueError(f"pixel_range {low:g} {high:g}: expected LOW < HIGH")
        return self

    @property
    def range(self) -> tuple[float, float] | None:
        """What training scales 0 and 255 to, None where the pixels are to tell it."""
        return self.pixel_range or (None if self.standardise else (0, 1))


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


def chosen(samples: Samples, asked: Preprocessing) -> Steps:
    """The steps that these settings mean for these samples; InputError when they do not fit."""
    _, height, width, _ = samples.images.shape
    crop, polarity = asked.crop, asked.polarity
    if crop is not None and not crop[0] < crop[1] <= min(height, width):
        raise InputError(
            f"crop {crop[0]} {crop[1]}: the images have {height} rows and {width} columns; "
            f"expected FIRST < END <= {min(height, width)}"
        )
    if polarity is not None and samples.polarity == "colour":
        raise InputError(f"polarity {polarity}: the images are in colour; leave it out")
    return Steps(
        crop=crop,
        resize=asked.resize,
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
