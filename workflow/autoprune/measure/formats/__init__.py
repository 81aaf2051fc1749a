"""File formats of networks for devices, one module a format, named by the files' ending.

A format is a module of this package that defines

- ``ENGINE``: the distribution whose version is noted, and that runs the files here;
- ``LAYOUT``: NCHW or NHWC, what the file's input is;
- ``export_fp32(network, input_shape, path)``, which writes a file for one image, and
  ``export_int8(network, input_shape, images, fp32, path)``, which writes the quantised one, by the
  ranges that calibration ``images`` reach; ``fp32`` is the other's file;
- ``infer(path)``: a function from one image (1, channel, height, width) to logits (1, class);
- ``timed(path, image)``: a function without arguments, one inference on one thread;
- perhaps ``facts(path)``, what the manifest says of a file besides.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from autoprune.core.errors import InputError

# what `make` installs on demand for a format: the target, and the packages that its module imports
EXTRAS = {
    "tflite": ("litert", ("litert_torch", "ai_edge_quantizer", "ai_edge_litert")),
    "pte": ("executorch", ("executorch", "torchao")),
}


def formats() -> list[str]:
    """The names of the formats, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def lacking(name: str) -> str | None:
    """What to install before a format can be written, in one line; None when all is there."""
    extra, packages = EXTRAS.get(name, ("", ()))
    for package in packages:
        if importlib.util.find_spec(package) is None:
            return f"format {name}: package {package} is not installed; run `make {extra}`"
    return None


def load(name: str) -> ModuleType:
    """The module of a format; raises InputError when it is unknown or its packages are absent."""
    if name not in formats():
        raise InputError(f"format: unknown {name!r}; known are {', '.join(formats())}")
    if reason := lacking(name):
        raise InputError(reason)
    return importlib.import_module(f"{__name__}.{name}")


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
