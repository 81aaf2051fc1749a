"""idx files, the format of MNIST: images, labels and tables of whole numbers, packed or not."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from autoprune.core.errors import InputError

# magic numbers: the kind of the values, whose lowest byte counts the dimensions
LABELS, IMAGES, TABLE = 0x0801, 0x0803, 0x0C02
CONTENTS = {LABELS: "labels", IMAGES: "images", TABLE: "a table of whole numbers"}
AGAIN = "fetch the file again"


def read(path: Path, magic: int) -> np.ndarray:
    """All of a file: LABELS (N,) or IMAGES (N, H, W) uint8, or TABLE (N, columns) int32.

    Raises InputError for another kind of file, and for one that is broken.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as stream:
            data = stream.read()
    except (EOFError, OSError, zlib.error) as error:  # gzip.BadGzipFile is an OSError
        raise InputError(f"{path}: cannot be read ({error}); {AGAIN}") from None
    head = 4 * (1 + (magic & 0xFF))
    if len(data) < head:
        raise InputError(f"{path}: it ends too early; {AGAIN}")
    found, *shape = struct.unpack(f">{head // 4}I", data[:head])
    if found != magic:
        raise InputError(
            f"{path}: magic number {found}, expected {magic} of an idx file of "
            f"{CONTENTS[magic]}; {AGAIN}"
        )
    form = np.dtype(">i4" if magic == TABLE else np.uint8)
    if 0 in shape or len(data) - head != int(np.prod(shape)) * form.itemsize:
        raise InputError(
            f"{path}: {len(data) - head} bytes, expected {' x '.join(map(str, shape))} values of "
            f"{form.itemsize}, at least one; {AGAIN}"
        )
    values = np.frombuffer(data, form, offset=head).reshape(shape)
    return values.astype(np.int32) if magic == TABLE else values
