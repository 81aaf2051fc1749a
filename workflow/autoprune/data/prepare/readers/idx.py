"""idx files, the format of MNIST: images, labels and tables of whole numbers, packed or not."""

import gzip
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from autoprune.core.errors import InputError

# magic numbers: the kind of the values, whose lowest byte counts the dimensions
UBYTE, INT = 0x0800, 0x0C00
CONTENTS = {UBYTE + 1: "labels", UBYTE + 3: "images", INT + 2: "a table of whole numbers"}
CHUNK = 1 << 24  # bytes of a file that torchvision is given at once
AGAIN = "fetch the file again"


def shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """The shape of an idx file of bytes; InputError for another file or number of dimensions."""
    with _opened(path) as stream:
        return _read_shape(path, stream, UBYTE + dimensions)


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")


def _read_shape(path: Path, stream: BinaryIO, expected: int) -> tuple[int, ...]:
    """The shape at the beginning of a file whose magic number is to be ``expected``."""
    dimensions = expected & 0xFF
    head = _take_all(path, stream, 4 * (1 + dimensions))
    magic, *sizes = struct.unpack(f">{1 + dimensions}I", head)
    if magic != expected:
        raise InputError(
            f"{path}: magic number {magic}, expected {expected} of an idx file of "
            f"{CONTENTS[expected]}; {AGAIN}"
        )
    if 0 in sizes:
        raise InputError(f"{path}: it holds {' x '.join(map(str, sizes))} values; {AGAIN}")
    return tuple(sizes)


def _take(path: Path, stream: BinaryIO, size: int) -> bytes:
    """Up to ``size`` bytes; InputError when the file is broken."""
    try:
        return stream.read(size)
    except (EOFError, OSError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise InputError(f"{path}: cannot be read ({error}); {AGAIN}") from None


def _take_all(path: Path, stream: BinaryIO, size: int) -> bytes:
    data = _take(path, stream, size)
    if len(data) < size:
        raise InputError(f"{path}: it ends too early; {AGAIN}")
    return data


def arrays(path: Path, dimensions: int) -> Iterator[np.ndarray]:
    """The file's images (n, H, W) uint8 or labels (n,) int64, some MB at a time.

    torchvision reads a plain file, and all of it twice over: EMNIST's 550 MB would take 1.1 GB.
    So it is given idx files of some rows each.
    """
    from autoprune.data.prepare.vision import torchvision

    reader = torchvision.datasets.mnist
    convert = reader.read_image_file if dimensions == 3 else reader.read_label_file
    with tempfile.TemporaryDirectory() as scratch, _opened(path) as stream:
        rows, *sizes = _read_shape(path, stream, UBYTE + dimensions)
        size = int(np.prod(sizes))
        step = max(1, CHUNK // size)
        for start in range(0, rows, step):
            number = min(step, rows - start)
            head = struct.pack(f">{1 + dimensions}I", UBYTE + dimensions, number, *sizes)
            piece = Path(scratch) / "piece"
            piece.write_bytes(head + _take_all(path, stream, number * size))
            yield convert(str(piece)).numpy()
        _end(path, stream, rows)


def table(path: Path) -> np.ndarray:
    """The whole numbers (rows, columns) int32 of an idx file; InputError when it is not one."""
    with _opened(path) as stream:
        rows, columns = _read_shape(path, stream, INT + 2)
        values = np.frombuffer(_take_all(path, stream, 4 * rows * columns), ">i4")
        _end(path, stream, rows)
    return values.reshape(rows, columns).astype(np.int32)


def _end(path: Path, stream: BinaryIO, rows: int) -> None:
    """Raise InputError unless nothing follows; gzip checks its own sum only here."""
    if _take(path, stream, 1):
        raise InputError(f"{path}: it goes on after {rows} rows; {AGAIN}")
