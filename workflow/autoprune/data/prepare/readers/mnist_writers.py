"""Who wrote each image of MNIST: QMNIST's extended labels (Yadav and Bottou, arXiv 1905.10498)."""

from pathlib import Path

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare.readers import idx

CLASS, WRITER, COLUMNS = 0, 2, 8  # of a row: digit, NIST's series, writer, and where it lies there


def read(folder: Path, split: str, labels: np.ndarray, label_file: Path) -> np.ndarray:
    """NIST's number (N,) of the writer of each image of MNIST's "train" or "test".

    QMNIST keeps MNIST's order, and goes on after its 10,000 test images with the 50,000 that were
    lost. ``labels`` (N,) are MNIST's own, of ``label_file``. Raises InputError naming the file,
    and the first row whose class is not MNIST's.
    """
    path = _find(folder, split)
    found = idx.table(path)
    if found.shape[1] != COLUMNS or len(found) < len(labels):
        raise InputError(
            f"{path}: {len(found)} rows of {found.shape[1]} columns, expected {COLUMNS} columns "
            f"and a row for each of the {len(labels)} labels of {label_file}; {idx.AGAIN}"
        )
    found = found[: len(labels)]
    wrong = np.flatnonzero(found[:, CLASS] != labels)
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"{path}, row {row}: class {found[row, CLASS]}, but {label_file} has {labels[row]}; "
            "give QMNIST's labels of the same images in the same order"
        )
    return found[:, WRITER].astype(np.int64)


def _find(folder: Path, split: str) -> Path:
    """QMNIST's labels of one split, packed or not; in torchvision's root they are in QMNIST/raw."""
    name = f"qmnist-{split}-labels-idx2-int"
    for place in (folder, folder / "QMNIST" / "raw"):
        for path in (place / f"{name}.gz", place / name):
            if path.is_file():
                return path
    raise InputError(
        f"{folder}: neither {name}.gz nor {name} in it or in QMNIST/raw; put QMNIST's labels there"
    )
