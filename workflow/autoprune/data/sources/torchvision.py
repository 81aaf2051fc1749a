"""MNIST, EMNIST, FashionMNIST and KMNIST by torchvision's reader: one pool, no writers."""

import argparse
import gzip
import hashlib
import string
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from autoprune import seeds
from autoprune.data import sources
from autoprune.data.images import Images
from autoprune.data.store import Samples
from autoprune.errors import InputError

KIND = "real"
TARGETS = {"MNIST": "digit", "EMNIST": "character", "FashionMNIST": "article", "KMNIST": "syllable"}
EMNIST_SPLITS = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")
UBYTE = 0x0800  # magic number of an idx file of bytes; its lowest byte counts the dimensions
CHUNK = 1 << 24  # bytes of a file that torchvision is given at once
AGAIN = "fetch the file again"

Part = tuple[Path, np.ndarray, int, bool]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this source's flags."""
    parser.add_argument("--dataset", choices=TARGETS, required=True, help="which of them")
    parser.add_argument(
        "--emnist-split", choices=EMNIST_SPLITS, help="which part of EMNIST; only with EMNIST"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        help="folder of the four idx files, .gz as they are distributed or unpacked; or "
        "torchvision's root, which has them in DATASET/raw",
    )
    for flag, what in (("--samples", "training"), ("--test-samples", "test")):
        parser.add_argument(
            flag,
            type=sources.count,
            help=f"{what} images drawn by seed, class by class, for a smaller study; the others "
            "are dropped and counted (default: all)",
        )
    sources.add_seed(parser)


def prepare(args: argparse.Namespace) -> Samples:
    """Read the labels; images (N, H, W, 1), light on dark, in the data set's own split.

    Its test images are halved into validation and test. EMNIST's files hold each image with rows
    and columns swapped (pytorch/vision, issue 8783), which is undone. Raises InputError naming
    the file of a fault.
    """
    if (args.dataset == "EMNIST") != (args.emnist_split is not None):
        raise InputError(
            f"--dataset {args.dataset} "
            + ("needs" if args.emnist_split is None else "does not use")
            + f" --emnist-split; it is one of {', '.join(EMNIST_SPLITS)} and for EMNIST alone"
        )
    classes = class_names(args.dataset, args.emnist_split)
    first_class = 1 if args.emnist_split == "letters" else 0  # its labels count from 1
    labels, parts, sizes, dropped = [], [], {}, []
    for split, number in (("train", args.samples), ("test", args.test_samples)):
        images, label_file = (_find(args, split, what) for what in ("images-idx3", "labels-idx1"))
        _, height, width = sizes[images] = _shape(images, 3)
        found = _read_labels(label_file, first_class, len(classes))
        if len(found) != sizes[images][0]:
            raise InputError(
                f"{images}: {sizes[images][0]} images, but {len(found)} labels in {label_file}; "
                "fetch both again"
            )
        rows = np.arange(len(found))
        if number is not None:
            rows, lost = _drawn(found, number, split, args.seed)
            dropped += lost
        before = sum(map(len, labels))
        parts.append((images, rows, before, args.dataset == "EMNIST"))
        labels.append(found[rows])
    (a, shape), (b, other) = sizes.items()
    if shape[1:] != other[1:]:
        raise InputError(
            f"{b}: images of {other[1]}x{other[2]}, but {a} has {shape[1]}x{shape[2]}; {AGAIN}"
        )
    test = np.repeat([False, True], [len(part) for part in labels])
    if args.dataset == "EMNIST":
        height, width = width, height
    return Samples(
        images=Images((len(test), height, width, 1), parts, read),
        labels=np.concatenate(labels)[:, None],
        clients=np.zeros(len(test), np.int64),
        splits=sources.halved(test, args.seed),
        client_ids=["pool"],
        targets=[{"name": TARGETS[args.dataset], "classes": classes}],
        dropped=dropped,
        polarity="light-on-dark",
        natural_clients=False,
        kind=KIND,
    )


def class_names(dataset: str, emnist_split: str | None) -> list[str]:
    """The classes by number, as torchvision names them; of MNIST only the digit."""
    from autoprune.vision import torchvision

    if emnist_split == "letters":  # torchvision has a class "N/A" for the 0 that does not occur
        return list(string.ascii_lowercase)
    if emnist_split:
        return list(torchvision.datasets.EMNIST.classes_split_dict[emnist_split])
    # "0 - zero"
    return [name.split(" - ")[0] for name in getattr(torchvision.datasets, dataset).classes]


def read(part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows (n,) and images (n, H, W, 1) of one file's part.

    A part is (file, its images (n,) that are wanted, ascending, the row of the first of them,
    whether to swap rows and columns).
    """
    path, wanted, first, swapped = part
    start = 0
    for images in _arrays(path, 3):
        low, high = np.searchsorted(wanted, [start, start + len(images)])
        block = images[wanted[low:high] - start]
        if swapped:
            block = np.ascontiguousarray(block.swapaxes(1, 2))
        yield np.arange(first + low, first + high), block[..., None]
        start += len(images)


def _drawn(
    labels: np.ndarray, number: int, split: str, seed: int
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Rows (number,) in which each class has its share to within one row, and the drop entry."""
    flag = "--samples" if split == "train" else "--test-samples"
    if number > len(labels):
        raise InputError(f"{flag} {number} is more than the {len(labels)} {split} images there are")
    sizes = np.bincount(labels)
    exact = number * sizes / len(labels)
    quota = np.floor(exact).astype(int)
    # Largest remainders, so that the quotas sum to the number.
    quota[np.argsort(quota - exact, kind="stable")[: number - quota.sum()]] += 1
    rows = [
        seeds.generator(seed, f"{split}-subset", k).permutation(np.flatnonzero(labels == k))[:most]
        for k, most in enumerate(quota)
    ]
    reason = f"not among the {number} {split} images drawn ({flag})"
    lost = len(labels) - number
    # No client: nobody owns them.
    dropped = [{"client": None, "samples": lost, "reason": reason}] if lost else []
    return np.sort(np.concatenate(rows)), dropped


def _find(args: argparse.Namespace, split: str, what: str) -> Path:
    """The file of one split, e.g. of ``images-idx3``, packed or not."""
    if args.dataset == "EMNIST":
        name = f"emnist-{args.emnist_split}-{split}-{what}-ubyte"
    else:
        name = f"{'t10k' if split == 'test' else split}-{what}-ubyte"
    raw = args.folder / args.dataset / "raw"
    # EMNIST's archive has its files in a folder gzip.
    for folder in (args.folder, raw, args.folder / "gzip", raw / "gzip"):
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                _check_origin(path, args.dataset)
                return path
    raise InputError(
        f"{args.folder}: neither {name}.gz nor {name} in it or in {args.dataset}/raw; "
        "put the data set's files there"
    )


def _check_origin(path: Path, dataset: str) -> None:
    """Raise InputError for a file of another data set: three of them name theirs alike."""
    from autoprune.vision import torchvision

    if path.suffix != ".gz" or dataset == "EMNIST":
        return
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    for other in TARGETS:
        published = getattr(getattr(torchvision.datasets, other), "resources", ())
        if other not in (dataset, "EMNIST") and found in dict(published).values():
            raise InputError(f"{path}: this is {other}'s, not {dataset}'s; give {dataset}'s folder")


def _read_labels(path: Path, first_class: int, classes: int) -> np.ndarray:
    """(N,) class numbers from 0."""
    labels = np.concatenate([np.empty(0, np.int64), *_arrays(path, 1)]) - first_class
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise InputError(
            f"{path}, row {wrong[0]}: label {labels[wrong[0]] + first_class}, expected "
            f"{first_class}..{first_class + classes - 1}; {AGAIN}"
        )
    return labels


def _shape(path: Path, dimensions: int) -> tuple[int, ...]:
    with _opened(path) as stream:
        return _read_shape(path, stream, dimensions)


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")


def _read_shape(path: Path, stream: BinaryIO, dimensions: int) -> tuple[int, ...]:
    head = _take_all(path, stream, 4 * (1 + dimensions))
    magic, *shape = struct.unpack(f">{1 + dimensions}I", head)
    if magic != UBYTE + dimensions:
        kind = {1: "labels", 3: "images"}[dimensions]
        raise InputError(
            f"{path}: magic number {magic}, expected {UBYTE + dimensions} of an idx file of "
            f"{kind}; {AGAIN}"
        )
    if 0 in shape:
        raise InputError(f"{path}: it holds {' x '.join(map(str, shape))} values; {AGAIN}")
    return tuple(shape)


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


def _arrays(path: Path, dimensions: int) -> Iterator[np.ndarray]:
    """The file's images (n, H, W) uint8 or labels (n,) int64, some MB at a time.

    torchvision reads a plain file, and all of it twice over: EMNIST's 550 MB would take 1.1 GB.
    So it is given idx files of some rows each.
    """
    from autoprune.vision import torchvision

    reader = torchvision.datasets.mnist
    convert = reader.read_image_file if dimensions == 3 else reader.read_label_file
    with tempfile.TemporaryDirectory() as scratch, _opened(path) as stream:
        rows, *shape = _read_shape(path, stream, dimensions)
        size = int(np.prod(shape))
        step = max(1, CHUNK // size)
        for start in range(0, rows, step):
            number = min(step, rows - start)
            head = struct.pack(f">{1 + dimensions}I", UBYTE + dimensions, number, *shape)
            piece = Path(scratch) / "piece"
            piece.write_bytes(head + _take_all(path, stream, number * size))
            yield convert(str(piece)).numpy()
        # gzip checks its own sum only at the end.
        if _take(path, stream, 1):
            raise InputError(f"{path}: it goes on after {rows} rows; {AGAIN}")
