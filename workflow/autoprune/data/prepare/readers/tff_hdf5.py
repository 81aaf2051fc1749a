"""TensorFlow Federated's older container: HDF5 files with a group of arrays for each client."""

import functools
import itertools
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare import sources, workers
from autoprune.data.prepare.images import Images
from autoprune.data.prepare.readers.tff_layout import (
    Examples,
    Layout,
    as_pixels,
    first_bytes,
    layout_of,
)

if TYPE_CHECKING:
    import h5py

MAGIC = b"\x89HDF\r\n\x1a\n"
GROUP = "examples"  # HDF5ClientData of TensorFlow Federated: examples/<client>/<feature>
SHARE = 64  # clients that one process reads at a time
FAULTS = (OSError, RuntimeError, KeyError)  # of h5py for a damaged file

Sizes = list[tuple[str, int]]  # of each client in order, its examples
Part = tuple[Path, int, list[tuple[str, int, int]]]  # file, first row, (client, start, stop)s


def read_hdf5(train: Path, test: Path, processes: int = 1) -> Examples:
    """Read the labels of a training and a test file; InputError names file, client and row.

    ``processes`` share the clients; what comes out does not depend on their number.
    """
    found = (_read_labels(path, processes) for path in (train, test))
    layouts, labels, sizes = zip(*found, strict=True)
    if layouts[0] != layouts[1]:
        raise InputError(
            f"{train} holds {layouts[0].name} but {test} holds {layouts[1].name}; give the two "
            "files of one data set"
        )
    layout = layouts[0]
    counts = [len(part) for part in labels]
    if counts[0] < counts[1]:
        raise InputError(
            f"{train} has {counts[0]} examples and {test} has {counts[1]}, expected more for "
            "training; swap the two files"
        )
    ids = sorted({client for split in sizes for client, _ in split})
    number = {client: place for place, client in enumerate(ids)}
    order = [(number[client], size) for split in sizes for client, size in split]
    parts = [
        *_parts(train, sizes[0], 0, layout.rows),
        *_parts(test, sizes[1], counts[0], layout.rows),
    ]
    return Examples(
        layout=layout,
        labels=np.concatenate(labels),
        clients=np.repeat(*np.array(order, np.int64).T),
        client_ids=ids,
        test=np.repeat([False, True], counts),
        images=Images(
            (sum(counts), *layout.shape),
            parts,
            functools.partial(read_part, layout),
            itemgetter(0),
        ),
    )


def read_part(layout: Layout, part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows (n,) and images (n, H, W, C) of one part, as ``Images`` wants them."""
    path, first, pieces = part
    sizes = [stop - start for _, start, stop in pieces]
    images = np.empty((sum(sizes), *layout.shape), np.uint8)
    done = 0
    with _opened(path) as group:
        for (client, start, stop), size in zip(pieces, sizes, strict=True):
            with _named(path, client):
                values = group[client][layout.image][start:stop]
            images[done : done + size] = as_pixels(
                values, layout, functools.partial(_where, path, client, start)
            )
            done += size
    yield np.arange(first, first + done), images


def _where(path: Path, client: str, start: int, row: int) -> str:
    return f"{path}: client {client}, row {start + row}"


def _parts(path: Path, sizes: Sizes, first: int, limit: int) -> Iterator[Part]:
    """Cut a file's examples into runs of ``limit``; a client may go on in the next part."""
    pieces, held = [], 0
    for client, size in sizes:
        start = 0
        while start < size:
            stop = min(size, start + limit - held)
            pieces.append((client, start, stop))
            held += stop - start
            start = stop
            if held == limit:
                yield path, first, pieces
                first += held
                pieces, held = [], 0
    if pieces:
        yield path, first, pieces


@contextmanager
def _opened(path: Path) -> Iterator["h5py.Group"]:
    """The group of all clients of a file."""
    import h5py

    if first_bytes(path, len(MAGIC)) != MAGIC:
        raise InputError(f"{path}: not an HDF5 file; give TensorFlow Federated's *_train.h5 or so")
    try:
        with h5py.File(path, "r") as file:
            group = file.get(GROUP)
            if not isinstance(group, h5py.Group):
                found = ", ".join(map(str, list(file)[:5])) or "nothing"
                raise InputError(
                    f"{path}: no group `{GROUP}`, but {found}; give one of TensorFlow "
                    "Federated's files"
                )
            yield group
    except FAULTS as error:
        raise InputError(f"{path}: damaged or cut off ({error}); fetch it again") from None


@contextmanager
def _named(path: Path, client: str) -> Iterator[None]:
    """Name file and client when h5py cannot read there."""
    try:
        yield
    except FAULTS as error:
        raise InputError(
            f"{path}: client {client} cannot be read ({error}); fetch the file again"
        ) from None


def _read_labels(path: Path, processes: int) -> tuple[Layout, np.ndarray, Sizes]:
    """The layout, the labels (N, T) uint8 and the clients' sizes of one file, clients sorted."""
    with _opened(path) as group:
        clients = list(group)
        for client in clients:
            if not isinstance(client, str):  # h5py gives bytes for what is not UTF-8
                raise InputError(f"{path}: client {client!r} is not UTF-8; fetch the file again")
        clients.sort()
        if not clients:
            raise InputError(f"{path}: no client in `{GROUP}`; fetch the file again")
        with _named(path, clients[0]):
            first = _datasets(path, clients[0], group[clients[0]])
        layout = layout_of(f"{path}: client {clients[0]}", first)
    # a client of CelebA is some forty small arrays: opening them is all the work
    shares = [clients[start : start + SHARE] for start in range(0, len(clients), SHARE)]
    labels = []
    with closing(workers.each(_labels_of_clients, (path, layout), shares, processes)) as found:
        bar = sources.progress(clients, f"reading labels of {path.name}")
        labels = [
            of_client
            for (of_client, _) in zip(itertools.chain.from_iterable(found), bar, strict=True)
        ]
    return (
        layout,
        np.concatenate(labels),
        [(client, len(some)) for client, some in zip(clients, labels, strict=True)],
    )


def _labels_of_clients(shared: tuple[Path, Layout], clients: list[str]) -> list[np.ndarray]:
    """The labels (n, T) uint8 of each of some clients."""
    path, layout = shared
    labels = []
    with _opened(path) as group:
        for client in clients:
            with _named(path, client):
                found = _datasets(path, client, group[client])
                labels.append(_client_labels(f"{path}: client {client}", found, layout))
    return labels


def _datasets(path: Path, client: str, group: Any) -> "dict[str, h5py.Dataset]":
    import h5py

    if not isinstance(group, h5py.Group):
        raise InputError(f"{path}: client {client} is not a group of arrays; fetch the file again")
    return {name: found for name, found in group.items() if isinstance(found, h5py.Dataset)}


def _client_labels(where: str, found: "dict[str, h5py.Dataset]", layout: Layout) -> np.ndarray:
    """The labels (n, T) uint8 of one client, whose arrays must fit the layout and each other."""
    for name in (layout.image, *layout.labels.values()):
        if name not in found:
            raise InputError(f"{where} has no `{name}`; fetch the file again")
    image = found[layout.image]
    kinds = "f" if layout.white == 1 else "iu"
    if image.ndim == 0 or image.shape[1:] != layout.stored or image.dtype.kind not in kinds:
        raise InputError(
            f"{where}: `{layout.image}` is {image.dtype} of shape {image.shape}, expected "
            f"{'floats' if layout.white == 1 else 'whole numbers'} of shape "
            f"(n, {', '.join(map(str, layout.stored))}); fetch the file again"
        )
    labels = np.empty((len(image), len(layout.labels)), np.uint8)
    for column, name in enumerate(layout.labels.values()):
        if found[name].shape not in ((len(image),), (len(image), 1)):
            raise InputError(
                f"{where}: {len(image)} images but `{name}` of shape {found[name].shape}; fetch "
                "the file again"
            )
        labels[:, column] = _checked(where, name, found[name][()].reshape(-1), layout)
    return labels


def _checked(where: str, name: str, values: np.ndarray, layout: Layout) -> np.ndarray:
    """Labels (n,) of one feature; InputError names the first row that is no class."""
    good: Iterable[bool] | np.ndarray = np.zeros(len(values), bool)
    if values.dtype.kind in "biu":
        good = (values >= 0) & (values < len(layout.classes))
    if not np.all(good):
        row = int(np.argmin(good))
        raise InputError(
            f"{where}, row {row}: `{name}` is {values[row]!s:.40}, expected a whole number in "
            f"0..{len(layout.classes) - 1}; fetch the file again"
        )
    return values
