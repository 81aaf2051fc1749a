"""Latency of a network at any widths, by a table that was measured once: ``measure.latency_table``.

Nothing is timed while a run trains, so the same table gives the same bytes again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.models import Architecture
from autoprune.models.counts import Counts, Widths

SCHEMA_VERSION = 1


def parts(counts: Counts, widths: Widths, lanes: int) -> list[np.ndarray]:
    """What a network's time is made of: 1, then of each layer its multiply-adds and its outputs.

    Both in millions and with widths rounded up to ``lanes`` filters, as kernels compute them. None
    falls when a layer gets wider.
    """
    ones = np.ones(np.asarray(widths).shape[:-1])
    found = [ones]
    for name, positions in counts.positions.items():
        found.append(ones * positions * counts.numbers(name, widths, lanes) / 1e6)
        found.append(ones * positions * counts.sides(name, widths, lanes)[0] / 1e6)
    return found


def added(of: Sequence[np.ndarray], milliseconds: Sequence[float]) -> np.ndarray:
    """The sum of parts, each times its milliseconds; in one order, so that no processor differs."""
    total = np.zeros_like(of[0])
    for part, each in zip(of, milliseconds, strict=True):
        total = total + part * each
    return total


@dataclass(frozen=True)
class Latency:
    """A table as a function of widths, in ms; ``milliseconds`` are those of each of ``parts``."""

    counts: Counts
    lanes: int
    milliseconds: tuple[float, ...]

    def __call__(self, widths: Widths) -> np.ndarray:
        """Milliseconds of one image."""
        return added(parts(self.counts, widths, self.lanes), self.milliseconds)

    @staticmethod
    def read(path: str, counts: Counts, multiple: int) -> "Latency":
        """From a file of ``measure.latency_table``, for widths that are multiples of ``multiple``.

        Raises InputError when it is none, is of another network or of multiples that these are not.
        """
        found = read_json(path)
        keys = ("schema_version", "network", "multiple", "lanes", "milliseconds")
        missing = [key for key in keys if not isinstance(found, dict) or key not in found]
        if missing:
            raise InputError(f"{path}: {missing[0]} is missing; make the latency table again")
        if found["schema_version"] != SCHEMA_VERSION:
            raise InputError(
                f"{path}: schema_version is {found['schema_version']!r}, expected "
                f"{SCHEMA_VERSION}; make the latency table again"
            )
        of = Architecture.from_json(found["network"], path)
        if of != counts.base:
            raise InputError(
                f"{path}: is of {_named(of)}, the run trains {_named(counts.base)}; make a table "
                "of that network"
            )
        if type(found["multiple"]) is not int or multiple % found["multiple"]:
            raise InputError(
                f"width_multiple: found {multiple}, expected a multiple of {found['multiple']}, as "
                f"all widths that {path} was measured at"
            )
        return Latency(counts, *_numbers(found, path, 1 + 2 * len(counts.positions)))


def _named(of: Architecture) -> str:
    sides = "x".join(map(str, of.input_shape))
    return f"{of.family} of widths {list(of.widths)}, input {sides}, {of.classes} classes"


def _numbers(found: Mapping[str, Any], path: str, number: int) -> tuple[int, tuple[float, ...]]:
    """The lanes and as many milliseconds as there are parts; raises InputError."""
    lanes, each = found["lanes"], found["milliseconds"]
    if type(lanes) is not int or lanes < 1:
        raise InputError(f"{path}: lanes: found {lanes!r}, expected at least 1 filter")
    fits = isinstance(each, list) and len(each) == number
    if not fits or not all(isinstance(n, int | float) and 0 <= n < 1e9 for n in each):
        raise InputError(f"{path}: milliseconds: expected {number} numbers of at least 0")
    return lanes, tuple(map(float, each))
