"""File formats of networks for devices, one module a format, named by the files' ending.

A format is a module of this package that defines

- ``ENGINE``: the distribution whose version is noted, and that runs the files here;
- ``LAYOUT``: NCHW or NHWC, what the file's input is;
- ``export_fp32(network, input_shape, path)`` and
  ``export_int8(network, input_shape, images, path)``, which write a file for one image;
- ``infer(path)``: a function from one image (1, channel, height, width) to logits (1, class);
- ``timed(path, image)``: a function without arguments, one inference on one thread.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from autoprune.errors import InputError

# what `make` installs beside the rest on demand
EXTRAS = {"tflite": "litert", "pte": "executorch"}


def formats() -> list[str]:
    """The names of the formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> ModuleType:
    """The module of a format; raises InputError when it is unknown or its packages are absent."""
    if name not in formats():
        raise InputError(f"format: unknown {name!r}; known are {', '.join(formats())}")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(name)
        if extra is None or str(error.name).startswith("autoprune"):
            raise
        raise InputError(
            f"format {name}: package {error.name} is not installed; run `make {extra}`"
        ) from None


def engine(name: str) -> tuple[str, str]:
    """The engine that runs a format here, and its version."""
    package = load(name).ENGINE
    return package, metadata.version(package)


def logits(infer: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Logits (image, class) of float32 images (image, channel, height, width), one at a time."""
    return np.concatenate([infer(image[None]) for image in images])


def channels_last(image: np.ndarray) -> np.ndarray:
    """(image, channel, height, width) -> (image, height, width, channel), contiguous."""
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1))


def sole(found: Sequence[Any], what: str, path: str | Path) -> Any:
    """The one element; raises InputError when a file has another number of inputs or outputs."""
    if len(found) != 1:
        raise InputError(f"{path}: {len(found)} {what}, expected 1; export it again")
    return found[0]
