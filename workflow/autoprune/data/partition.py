"""The partition: which training rows of a store each federated client has."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.core.files import read_json

SCHEMA_VERSION = 2
FILES = ("partition.json", "offsets.npy", "indices.npy", "label_counts.csv")


@dataclass(frozen=True, eq=False)
class Partition:
    """An opened partition: ``header`` is partition.json, clients are numbered from 0."""

    folder: Path
    header: dict[str, Any]
    offsets: np.ndarray
    all_indices: np.ndarray

    @classmethod
    def open(cls, folder: str | Path) -> "Partition":
        """Open a partition, its indices memory-mapped; InputError when it is not a whole one."""
        folder = Path(folder)
        path = folder / "partition.json"
        if not path.is_file():
            raise InputError(
                f"{folder}: not a partition (no partition.json); "
                "make one with python -m autoprune.data.prepare.partition"
            )
        header = read_json(path)
        if not isinstance(header, dict) or header.get("schema_version") != SCHEMA_VERSION:
            raise InputError(
                f"{path}: not a partition of schema_version {SCHEMA_VERSION}; partition again"
            )
        try:
            offsets = np.load(folder / "offsets.npy", allow_pickle=False)
            indices = np.load(folder / "indices.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{folder}: not a whole partition ({error}); make it again") from None
        if len(offsets) != header.get("clients", -1) + 1 or offsets[-1] != len(indices):
            raise InputError(f"{folder}: its arrays contradict partition.json; make it again")
        return cls(folder=folder, header=header, offsets=offsets, all_indices=indices)

    @property
    def checksum(self) -> str:
        """Hex SHA-256 of which row is with which client; reads all indices."""
        digest = hashlib.sha256(np.ascontiguousarray(self.offsets).data)
        digest.update(np.ascontiguousarray(self.all_indices).data)
        return digest.hexdigest()

    @property
    def clients(self) -> int:
        """The number of clients."""
        return len(self.offsets) - 1

    def indices(self, client: int) -> np.ndarray:
        """The store rows (n,) int64 of one client, ascending, as a read-only view of the file.

        Raises InputError unless ``0 <= client < clients``.
        """
        if not 0 <= client < self.clients:
            raise InputError(f"{self.folder}: no client {client}; it has 0..{self.clients - 1}")
        return self.all_indices[self.offsets[client] : self.offsets[client + 1]]
