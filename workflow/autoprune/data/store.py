"""The client store: every sample of one data set on disk, its client, labels and split."""

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.core.files import checksum, read_array, read_json

SCHEMA_VERSION = 3
SPLITS = ("train", "validation", "test")
KINDS = ("real", "stand-in")
POLARITIES = ("dark-on-light", "light-on-dark", "colour")
ARRAYS = ("images", "labels", "clients", "splits")
HEADER_KEYS = {
    *("schema_version", "name", "source", "kind", "shape", "targets", "clients", "samples"),
    *("dropped", "polarity", "natural_clients", "checksum"),
    *("repeated", "pixels", "pixel_range", "preprocessing"),
}


@dataclass(frozen=True, eq=False)
class ClientStore:
    """An opened store; N rows sorted by (split, client), arrays memory-mapped and read-only.

    images (N, H, W, C) uint8, labels (N, T), clients (N,) int32, splits (N,) uint8. A target of
    numbers has no ``classes``, but the ``mean`` and ``sd`` of its training labels. ``repeated``
    says how many images of "validation" and of "test" are training images too, and how many of
    them have the same labels there. ``pixels`` has mean and sd of all pixels of the training split,
    in [0, 1]; training scales 0 and 255 to the ends of ``pixel_range``.
    """

    folder: Path
    name: str
    source: str
    kind: str
    shape: tuple[int, int, int]
    targets: list[dict[str, Any]]
    client_ids: list[str]
    samples: dict[str, int]
    dropped: list[dict[str, Any]]
    polarity: str
    natural_clients: bool
    repeated: dict[str, dict[str, int]]
    pixels: dict[str, float]
    pixel_range: tuple[float, float]
    preprocessing: dict[str, Any]
    checksum: str
    images: np.ndarray
    labels: np.ndarray
    clients: np.ndarray
    splits: np.ndarray

    @classmethod
    def open(cls, folder: str | Path) -> "ClientStore":
        """Open a store without reading its arrays; InputError when it is not a whole store."""
        folder = Path(folder)
        header = _read_header(folder)
        arrays = {array: read_array(folder / f"{array}.npy") for array in ARRAYS}
        rows = sum(header["samples"].values())
        expected = {
            "images": (rows, *header["shape"]),
            "labels": (rows, len(header["targets"])),
            "clients": (rows,),
            "splits": (rows,),
        }
        for array, shape in expected.items():
            if arrays[array].shape != shape:
                raise InputError(
                    f"{folder / array}.npy: shape {arrays[array].shape} where header.json says "
                    f"{shape}; prepare the data again"
                )
        read_singly(arrays["images"], header["samples"]["train"])
        known = HEADER_KEYS - {"schema_version", "clients", "shape"}
        fields: dict[str, Any] = {key: header[key] for key in known} | arrays
        return cls(
            folder=folder,
            client_ids=header["clients"],
            shape=tuple(header["shape"]),
            **fields,
        )

    def rows(self, split: str) -> slice:
        """The contiguous rows of "train", "validation" or "test"; InputError for another name."""
        if split not in SPLITS:
            raise InputError(f"no split {split!r}; a store has {', '.join(SPLITS)}")
        before = sum(self.samples[earlier] for earlier in SPLITS[: SPLITS.index(split)])
        return slice(before, before + self.samples[split])

    def target_column(self, target: str) -> int:
        """The column of ``labels`` that holds ``target``; InputError naming the known ones."""
        names = [known["name"] for known in self.targets]
        if target not in names:
            raise InputError(f"{self.folder}: no target {target!r}; it has {', '.join(names)}")
        return names.index(target)

    def classes(self, target: str) -> list[str]:
        """The class names of ``target``, by class number; none for numbers."""
        return self.targets[self.target_column(target)]["classes"]

    def verify(self) -> None:
        """Read every array and raise InputError unless the bytes are those of the header.

        A second for a gigabyte of images; every stage that takes a number from them asks for it.
        """
        found = checksum({array: self.folder / f"{array}.npy" for array in ARRAYS})
        if found != self.checksum:
            raise InputError(
                f"{self.folder}: the arrays have checksum {found}, header.json says "
                f"{self.checksum}; prepare the data again"
            )
        if not np.array_equal(self.splits, np.repeat(range(3), [self.samples[s] for s in SPLITS])):
            raise InputError(
                f"{self.folder}: header.json says {self.samples}, which splits.npy contradicts; "
                "prepare the data again"
            )


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / "header.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: not a client store (no header.json); "
            "make one with python -m autoprune.data.prepare"
        )
    header = read_json(path)
    header = header if isinstance(header, dict) else {}
    version = header.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:  # first: what else an old store lacks is no fault
        raise InputError(
            f"{path}: schema_version {version!r}, this code reads {SCHEMA_VERSION}; prepare the "
            "data again"
        )
    if missing := HEADER_KEYS - header.keys():
        raise InputError(f"{path}: not a client store's header, no {', '.join(sorted(missing))}")
    if set(header["samples"]) != set(SPLITS) or not all(
        isinstance(header[key], list) for key in ("shape", "targets", "clients", "dropped")
    ):
        raise InputError(f"{path}: not a client store's header; prepare the data again")
    return header


def read_singly(images: np.ndarray, rows: int) -> None:
    """Let the kernel read no more of the first ``rows`` images than is asked for.

    They are the training images, of which a round wants some clients'. Otherwise each such read
    brings in its neighbours, up to megabytes, as many as the disk's read-ahead says.
    """
    mapping: Any = images.base
    if isinstance(mapping, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        mapping.madvise(mmap.MADV_RANDOM, 0, len(mapping) * rows // len(images))
