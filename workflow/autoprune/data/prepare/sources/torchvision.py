"""MNIST, EMNIST, FashionMNIST and KMNIST by torchvision's reader: one pool, or MNIST's writers."""

import argparse
import hashlib
import string
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core import seeds
from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Images, Samples
from autoprune.data.prepare.readers import idx, mnist_writers

KIND = "real"
TARGETS = {"MNIST": "digit", "EMNIST": "character", "FashionMNIST": "article", "KMNIST": "syllable"}
EMNIST_SPLITS = ("byclass", "bymerge", "balanced", "letters", "digits", "mnist")

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
    parser.add_argument(
        "--writers",
        type=Path,
        help="folder of QMNIST's two files of labels, which say who wrote each image of MNIST: a "
        "writer is then a client; the test images are of other people, who never train",
    )
    sources.add_seed(parser)


def prepare(args: argparse.Namespace) -> Samples:
    """Read the labels; images (N, H, W, 1), light on dark, in the data set's own split.

    Its test images are halved into validation and test. With ``--writers`` each image belongs to
    who wrote it: MNIST's test images to people of whom no image is trained on, so they have
    clients of their own, held out altogether. EMNIST's files hold each image with rows and columns
    swapped (pytorch/vision, issue 8783), which is undone. Raises InputError naming the file of a
    fault.
    """
    if (args.dataset == "EMNIST") != (args.emnist_split is not None):
        raise InputError(
            f"--dataset {args.dataset} "
            + ("needs" if args.emnist_split is None else "does not use")
            + f" --emnist-split; it is one of {', '.join(EMNIST_SPLITS)} and for EMNIST alone"
        )
    if args.writers is not None and args.dataset != "MNIST":
        raise InputError(
            f"--writers {args.writers}: QMNIST says who wrote the images of MNIST alone; leave it "
            f"out for --dataset {args.dataset}"
        )
    classes = class_names(args.dataset, args.emnist_split)
    first_class = 1 if args.emnist_split == "letters" else 0  # its labels count from 1
    labels, writers, parts, sizes, dropped = [], [], [], {}, []
    for split, number in (("train", args.samples), ("test", args.test_samples)):
        images, found, wrote = _read_split(args, split, first_class, len(classes))
        _, height, width = sizes[images] = idx.shape(images, 3)
        rows = np.arange(len(found))
        if number is not None:
            rows, lost = _drawn(found, number, split, args.seed)
            dropped += lost
        before = sum(map(len, labels))
        parts.append((images, rows, before, args.dataset == "EMNIST"))
        labels.append(found[rows])
        writers.append(wrote[rows])
    (a, shape), (b, other) = sizes.items()
    if shape[1:] != other[1:]:
        raise InputError(
            f"{b}: images of {other[1]}x{other[2]}, but {a} has {shape[1]}x{shape[2]}; {idx.AGAIN}"
        )
    test = np.repeat([False, True], [len(part) for part in labels])
    if args.dataset == "EMNIST":
        height, width = width, height
    ids, clients = np.unique(np.concatenate(writers), return_inverse=True)
    named = args.writers is not None
    return Samples(
        images=Images((len(test), height, width, 1), parts, read, itemgetter(0)),
        labels=np.concatenate(labels)[:, None],
        clients=clients,
        splits=sources.halved(test, args.seed),
        client_ids=[f"writer-{number:04d}" for number in ids] if named else ["pool"],
        targets=[{"name": TARGETS[args.dataset], "classes": classes}],
        dropped=dropped,
        polarity="light-on-dark",
        natural_clients=named,
        kind=KIND,
    )


def class_names(dataset: str, emnist_split: str | None) -> list[str]:
    """The classes by number, as torchvision names them; of MNIST only the digit."""
    from autoprune.data.prepare.vision import torchvision

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
    for images in idx.arrays(path, 3):
        low, high = np.searchsorted(wanted, [start, start + len(images)])
        block = images[wanted[low:high] - start]
        if swapped:
            block = np.ascontiguousarray(block.swapaxes(1, 2))
        yield np.arange(first + low, first + high), block[..., None]
        start += len(images)


def _read_split(
    args: argparse.Namespace, split: str, first_class: int, classes: int
) -> tuple[Path, np.ndarray, np.ndarray]:
    """The file of a split's images, and each image's class (N,) and writer (N,), 0 if unknown."""
    images, label_file = (_find(args, split, what) for what in ("images-idx3", "labels-idx1"))
    number = idx.shape(images, 3)[0]
    labels = _read_labels(label_file, first_class, classes)
    if len(labels) != number:
        raise InputError(
            f"{images}: {number} images, but {len(labels)} labels in {label_file}; fetch both again"
        )
    if args.writers is None:
        return images, labels, np.zeros(number, np.int64)
    return images, labels, mnist_writers.read(args.writers, split, labels, label_file)


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
    from autoprune.data.prepare.vision import torchvision

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
    labels = np.concatenate([np.empty(0, np.int64), *idx.arrays(path, 1)]) - first_class
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise InputError(
            f"{path}, row {wrong[0]}: label {labels[wrong[0]] + first_class}, expected "
            f"{first_class}..{first_class + classes - 1}; {idx.AGAIN}"
        )
    return labels
