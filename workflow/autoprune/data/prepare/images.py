"""A source's samples, and images that are read part by part to their rows of a file."""

import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare import workers as processes

BLOCK = 4096  # rows moved at once, so that sorting images never needs a second copy of them all


class Expected(NamedTuple):
    """How large data will be: clients, images, (height, width, channels), classes of the target.

    A source says it in ``expected(options)``, where it is known before anything is read.
    """

    clients: int
    train: int
    held_out: int
    shape: tuple[int, int, int]
    classes: int


@dataclass(frozen=True, eq=False)
class Images:
    """N images that are read only while the store is written, one part at a time.

    ``shape`` is (N, H, W, C). ``parts`` are small picklable values, one a unit of work, e.g.
    (path, [client ids], first row). ``read(part)`` (picklable: a module-level function, or a
    functools.partial of one) yields blocks (rows, images): row numbers (n,) int64 of the source's
    order and their images (n, H, W, C) uint8, some MB a block. Every row comes exactly once over
    all parts. ``read`` may run in another process, and may raise InputError. ``file(part)`` is the
    file that a part is of, where the data are few large ones. ``places`` is for ``take``: where
    each row of the source's order stands here, -1 for one that was left out.
    """

    shape: tuple[int, int, int, int]
    parts: Sequence[Any]
    read: Callable[[Any], Iterable[tuple[np.ndarray, np.ndarray]]]
    file: Callable[[Any], Path] | None = None
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: np.ndarray) -> "Images":
        """The images of these distinct rows (n,) int64, in this order; reads no pixel."""
        here = np.full(len(self), -1)
        here[rows] = np.arange(len(rows))
        return replace(self, shape=(len(rows), *self.shape[1:]), places=self.moved(here))

    def moved(self, here: np.ndarray) -> np.ndarray:
        """``here`` (N,), a new place or -1 for each row, as (M,) for the source's M rows."""
        if self.places is None:
            return here
        return np.where(self.places >= 0, here[self.places], -1)


@dataclass(frozen=True, eq=False)
class Job:
    """What a worker needs to know to bring any part's images to their places in the file."""

    read: Callable[[Any], Iterable[tuple[np.ndarray, np.ndarray]]]
    places: np.ndarray  # of each row of the source's order in the file, or -1
    path: Path
    offset: int  # bytes before the first image
    shape: tuple[int, ...]  # of one image


def write_images(path: Path, images: Images, order: np.ndarray, workers: int) -> np.ndarray:
    """Write image ``order[i]`` as row i of a .npy file, parts read by ``workers`` processes.

    Returns the number (N,) of the part that each row of the file is of. The bytes do not depend on
    ``workers``; with 1 no process is started. Raises InputError when a part cannot be read or
    written or a worker is killed, ValueError unless every row comes exactly once and with its
    shape (a source's mistake).
    """
    from tqdm import tqdm

    row = np.empty(len(order), np.int64)
    row[order] = np.arange(len(order))
    with open(path, "wb") as stream:
        form = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
        np.lib.format.write_array_header_1_0(stream, form)
        offset = stream.tell()
        stream.truncate(offset + math.prod(images.shape))
    job = Job(images.read, images.moved(row), path, offset, images.shape[1:])
    seen = np.zeros(len(job.places), bool)
    part_of = np.empty(len(job.places), np.int32)
    with (
        tqdm(total=len(seen), desc="images", unit="", disable=None, leave=False) as bar,
        closing(processes.each(write_part, job, images.parts, workers)) as arrivals,
    ):
        for part, rows in enumerate(arrivals):
            found, times = np.unique(rows, return_counts=True)
            again = found[(times > 1) | seen[found]]
            if len(again):
                raise ValueError(f"row {again[0]} of the source came more than once")
            seen[rows] = True
            part_of[rows] = part
            bar.update(len(rows))
    if not seen.all():
        raise ValueError(f"row {np.argmin(seen)} of the source never came")
    kept = job.places >= 0
    found = np.empty(len(order), np.int32)
    found[job.places[kept]] = part_of[kept]
    return found


def write_part(job: Job, part: Any) -> np.ndarray:
    """Write one part's images and return the rows (n,) int64 of the source that it held."""
    done = [np.empty(0, np.int64)]
    with open(job.path, "r+b", buffering=0) as stream:
        for rows, images in _blocks(job, part):
            if processes.stopped():
                break
            if images.dtype != np.uint8 or images.shape != (len(rows), *job.shape):
                raise ValueError(
                    f"{images.dtype} images {images.shape} came for {len(rows)} rows of {job.shape}"
                )
            if len(rows) and not 0 <= rows.min() <= rows.max() < len(job.places):
                raise ValueError(f"rows beyond 0..{len(job.places) - 1} came from the source")
            try:
                _write_block(stream.fileno(), job.offset, job.places[rows], images)
            except OSError as error:
                raise InputError(
                    f"{job.path.parent}: cannot write there ({error.strerror or error})"
                ) from None
            done.append(rows)
    return np.concatenate(done)


def _blocks(job: Job, part: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    try:
        yield from job.read(part)
    except OSError as error:
        where = repr(part) if len(repr(part)) <= 200 else repr(part)[:197] + "..."
        raise InputError(f"images cannot be read ({error.strerror or error}): {where}") from None


def _write_block(file: int, offset: int, places: np.ndarray, images: np.ndarray) -> None:
    """Write each image at its place, runs of neighbours at once; none where the place is -1."""
    order = np.argsort(places, kind="stable")
    order = order[np.searchsorted(places[order], 0) :]
    if not len(order):
        return
    places, images = places[order], images[order]
    size = images[0].nbytes
    ends = [*(np.flatnonzero(np.diff(places) != 1) + 1), len(places)]
    for first, end in zip([0, *ends], ends, strict=False):
        rest = images[first:end].data.cast("B")
        at = offset + int(places[first]) * size
        while rest:  # a nearly full disk takes less than it is given, before it refuses
            written = os.pwrite(file, rest, at)
            rest, at = rest[written:], at + written


def need_space(folder: Path, needed: int) -> None:
    """Raise InputError unless ``needed`` bytes are free where ``folder`` is to be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(
            f"{folder}: the store needs {needed} bytes, {free} are free; make room or choose "
            "another folder"
        )


def write_array(path: Path, values: np.ndarray, order: np.ndarray) -> None:
    """Write ``values[order]`` as .npy block by block."""
    with open(path, "wb") as stream:
        shape = (len(order), *values.shape[1:])
        form = {"descr": values.dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(stream, form)
        for start in range(0, len(order), BLOCK):
            stream.write(values[order[start : start + BLOCK]].tobytes())


@dataclass(frozen=True, eq=False)
class Samples:
    """What a source hands over: N samples in any order.

    images (N, H, W, C) uint8, an array or read later; labels (N, T), one column a target; clients
    (N,) numbers into ``client_ids``; splits (N,) with 0 train, 1 validation, 2 test; targets a
    list of ``{"name", "classes"}``, no classes for numbers; dropped a list of ``{"client",
    "samples", "reason"}``.
    """

    images: np.ndarray | Images
    labels: np.ndarray
    clients: np.ndarray
    splits: np.ndarray
    client_ids: Sequence[str]
    targets: Sequence[Mapping[str, Any]]
    dropped: Sequence[Mapping[str, Any]]
    polarity: str
    natural_clients: bool
    kind: str
