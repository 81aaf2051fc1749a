"""The held-out images by unit, which a bootstrap draws: their owners, or blocks of images."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoprune.core.files import write_text
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore

HELD_OUT = ("validation", "test")
BLOCKS = 100  # enough for an interval, few enough for a table; images of a block share nothing
COLUMNS = ("unit", "examples", "right")


def units_of(store: ClientStore, partition: Partition) -> dict[str, np.ndarray]:
    """Of each held-out split the unit of each image (image,): its client in the natural partition.

    Where images belong to nobody, image n is of block n modulo BLOCKS.
    """
    if partition.header["scheme"] == "natural":
        return {split: np.asarray(store.clients[store.rows(split)]) for split in HELD_OUT}
    numbers = {split: len(store.labels[store.rows(split)]) for split in HELD_OUT}
    return {split: np.arange(number) % BLOCKS for split, number in numbers.items()}


def counted(
    units: dict[str, np.ndarray], right: dict[str, np.ndarray] | None = None
) -> dict[int, int]:
    """Images of each unit, of both splits together, or of them those that are ``right``."""
    both = np.concatenate([units[split] for split in HELD_OUT])
    if right is None:
        numbers = np.bincount(both)
    else:
        numbers = np.bincount(both, weights=np.concatenate([right[s] for s in HELD_OUT]))
    return {int(unit): int(numbers[unit]) for unit in np.unique(both)}


def write_units(path: Path, examples: dict[int, int], recent: Sequence[Sequence[int]]) -> None:
    """A row for each unit: its images, and how many were right, mean over ``recent`` evaluations.

    Each of ``recent`` has the right ones in the order of ``examples``.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for place, (unit, number) in enumerate(examples.items()):
        right = sum(evaluation[place] for evaluation in recent) / len(recent)
        writer.writerow((unit, number, repr(right)))
    write_text(path, stream.getvalue())
