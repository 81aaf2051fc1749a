"""MNIST, FashionMNIST and KMNIST as torchvision has them: one pool, or MNIST's writers."""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from autoprune.core import seeds
from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Expected, Samples
from autoprune.data.prepare.readers import idx

KIND = "real"
TARGETS = {"MNIST": "digit", "FashionMNIST": "article", "KMNIST": "syllable"}
DRAWN = (
    "images that are drawn by seed, class by class, for a smaller study; the others are counted."
)
# of a row of QMNIST's labels: digit, NIST's series, writer, and where it lies there
CLASS, WRITER, COLUMNS = 0, 2, 8


class Options(sources.Seeded):
    """What may be set."""

    dataset: Literal["MNIST", "FashionMNIST", "KMNIST"] = Field(description="Which data set.")
    folder: Path = sources.reads(
        ".gz",
        "",
        default=...,
        description="Folder of the four idx files, .gz as they are distributed or unpacked; or "
        "torchvision's root.",
    )
    samples: int | None = Field(None, ge=1, description=f"Training {DRAWN} Without it all.")
    test_samples: int | None = Field(None, ge=1, description=f"Test {DRAWN} Without it all.")
    writers: Path | None = sources.reads(
        ".gz",
        "",
        description="Folder of QMNIST's labels, which say who wrote each image of MNIST: clients "
        "for the scheme `natural`. The test images are of other people, who never train.",
    )

    @model_validator(mode="after")
    def _writers_of_mnist(self) -> Self:
        if self.writers and self.dataset != "MNIST":
            raise ValueError(
                f"writers: QMNIST says who wrote the images of MNIST alone; leave it out for "
                f"dataset {self.dataset}"
            )
        return self


def expected(options: Options) -> Expected:
    """How large the data will be: 60,000 and 10,000 images, one pool but for QMNIST's writers."""
    train, test = options.samples or 60_000, options.test_samples or 10_000
    return Expected(539 if options.writers else 1, train, test, (28, 28, 1), 10)


def prepare(options: Options, processes: int = 1) -> Samples:
    """Images (N, H, W, 1), light on dark, in the data set's own split, its test images halved.

    With ``writers`` each image belongs to who wrote it: MNIST's test images to people of whom no
    image is trained on, so they have clients of their own, held out altogether. Raises InputError
    naming the file of a fault.
    """
    from autoprune.core.vision import torchvision

    # "0 - zero"
    known = getattr(torchvision.datasets, options.dataset).classes
    classes = [name.split(" - ")[0] for name in known]
    parts, dropped = [], []
    for split, number in (("train", options.samples), ("test", options.test_samples)):
        images, labels, wrote = _read_split(options, split, len(classes))
        rows = np.arange(len(labels))
        if number is not None:
            rows, lost = _drawn(labels, number, split, options.seed)
            dropped += lost
        parts.append((images[rows], labels[rows], wrote[rows]))
    sizes = ["x".join(map(str, part[0].shape[1:])) for part in parts]
    if sizes[0] != sizes[1]:
        raise InputError(
            f"{options.folder}: training images of {sizes[0]}, test images of {sizes[1]}; "
            f"{idx.AGAIN}"
        )
    images, labels, writers = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    ids, clients = np.unique(writers, return_inverse=True)
    named = options.writers is not None
    held_out = np.repeat([False, True], [len(part[1]) for part in parts])
    return Samples(
        images=images[..., None],
        labels=labels[:, None],
        clients=clients,
        splits=sources.halved(held_out, options.seed),
        client_ids=[f"writer-{number:04d}" for number in ids] if named else ["pool"],
        targets=[{"name": TARGETS[options.dataset], "classes": classes}],
        dropped=dropped,
        polarity="light-on-dark",
        natural_clients=named,
        kind=KIND,
    )


def _read_split(
    options: Options, split: str, classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A split's images (N, H, W) uint8, their classes (N,) and writers (N,), 0 if unknown."""
    name = "t10k" if split == "test" else split
    raw = options.folder / options.dataset / "raw"
    path, label_path = (
        _find((options.folder, raw), f"{name}-{what}-ubyte")
        for what in ("images-idx3", "labels-idx1")
    )
    _check_origin(path, options.dataset)
    images = idx.read(path, idx.IMAGES)
    labels = idx.read(label_path, idx.LABELS).astype(np.int64)
    if len(labels) != len(images):
        raise InputError(
            f"{path}: {len(images)} images, but {len(labels)} labels in {label_path}; fetch both "
            "again"
        )
    wrong = np.flatnonzero(labels >= classes)
    if len(wrong):
        raise InputError(
            f"{label_path}, row {wrong[0]}: label {labels[wrong[0]]}, expected 0..{classes - 1}; "
            f"{idx.AGAIN}"
        )
    if options.writers is None:
        return images, labels, np.zeros(len(labels), np.int64)
    return images, labels, _writers(options.writers, split, labels, label_path)


def _writers(folder: Path, split: str, labels: np.ndarray, label_path: Path) -> np.ndarray:
    """NIST's number (N,) of the writer of each image of MNIST's "train" or "test".

    From QMNIST's extended labels (Yadav and Bottou, arXiv 1905.10498), which keep MNIST's order
    and go on after its 10,000 test images with the 50,000 that were lost. Raises InputError naming
    the first row whose class is not that of ``labels`` (N,).
    """
    path = _find((folder, folder / "QMNIST" / "raw"), f"qmnist-{split}-labels-idx2-int")
    found = idx.read(path, idx.TABLE)
    if found.shape[1] != COLUMNS or len(found) < len(labels):
        raise InputError(
            f"{path}: {len(found)} rows of {found.shape[1]} columns, expected {COLUMNS} columns "
            f"and a row for each of the {len(labels)} labels of {label_path}; {idx.AGAIN}"
        )
    found = found[: len(labels)]
    wrong = np.flatnonzero(found[:, CLASS] != labels)
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"{path}, row {row}: class {found[row, CLASS]}, but {label_path} has {labels[row]}; "
            "give QMNIST's labels of the same images in the same order"
        )
    return found[:, WRITER].astype(np.int64)


def _find(folders: tuple[Path, Path], name: str) -> Path:
    """A file by its name, packed or not, in the first of these folders that has it."""
    for folder in folders:
        for path in (folder / f"{name}.gz", folder / name):
            if path.is_file():
                return path
    raise InputError(
        f"{folders[0]}: neither {name}.gz nor {name} in it or in "
        f"{folders[1].relative_to(folders[0])}; put the data set's files there"
    )


def _check_origin(path: Path, dataset: str) -> None:
    """Raise InputError for images of another of the data sets, which name their files alike."""
    from autoprune.core.vision import torchvision

    if path.suffix != ".gz":
        return
    with open(path, "rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    for other in TARGETS:
        published = dict(getattr(torchvision.datasets, other).resources)
        if other != dataset and found in published.values():
            raise InputError(f"{path}: this is {other}'s, not {dataset}'s; give {dataset}'s folder")


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
