"""The partition: which training rows of a store each federated client has."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.core.files import read_array, read_json
from autoprune.data.store import ClientStore

SCHEMA_VERSION = 3
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
        offsets, indices = (read_array(folder / f"{name}.npy") for name in ("offsets", "indices"))
        whole = all(array.ndim == 1 and array.dtype == np.int64 for array in (offsets, indices))
        if (
            not whole
            or not isinstance(header.get("clients"), int)
            or len(offsets) != header["clients"] + 1
            or offsets[-1] != len(indices)
        ):
            raise InputError(f"{folder}: its arrays contradict partition.json; make it again")
        return cls(folder=folder, header=header, offsets=offsets, all_indices=indices)

    @property
    def checksum(self) -> str:
        """Hex SHA-256 of which row is with which client; reads all indices."""
        return checksum(self.offsets, self.all_indices)

    def verify(self, store: ClientStore) -> None:
        """Read all indices and raise InputError unless they divide this store's training rows.

        The arrays must be those that partition.json was written with, made of this very store, and
        hand each row to one client: a training row, and of the scheme "natural" the client's own.
        """
        for fault in self._faults(store):
            raise InputError(f"{self.folder}: {fault}; partition again")

    def _faults(self, store: ClientStore) -> Iterator[str]:
        """What is wrong, one after the other; none of it can be said without what came before."""
        offsets, rows, header = self.offsets, self.all_indices, self.header
        if (found := self.checksum) != header.get("checksum"):
            yield f"its arrays have checksum {found}, partition.json says {header.get('checksum')}"
        told = header.get("store")
        made_of = told.get("checksum") if isinstance(told, dict) else None
        if made_of != store.checksum:
            yield f"made of a store of checksum {made_of}, {store.folder} has {store.checksum}"
        if offsets[0] != 0 or (np.diff(offsets) < 1).any():
            yield "offsets.npy does not rise from 0"
        wrong = np.flatnonzero((rows < 0) | (rows >= store.samples["train"]))
        if len(wrong):
            client = int(np.searchsorted(offsets, wrong[0], side="right")) - 1
            yield (
                f"client {client} has row {rows[wrong[0]]} of the store, expected training rows, "
                f"which are 0..{store.samples['train'] - 1}"
            )
        owners = np.bincount(rows, minlength=store.samples["train"])
        if (owners > 1).any():
            yield f"row {int(np.argmax(owners > 1))} of the store is handed out twice"
        names = header.get("client_ids")
        ids = [str(name) for name in names] if isinstance(names, list) else []
        if len(ids) != self.clients:
            yield f"partition.json names {len(ids)} clients, its arrays have {self.clients}"
        if header.get("scheme") == "natural":
            own = np.repeat(np.arange(self.clients), np.diff(offsets))
            numbers = {name: number for number, name in enumerate(store.client_ids)}
            named = np.array([numbers.get(name, -1) for name in ids])
            wrong = np.flatnonzero(store.clients[rows] != named[own])
            if len(wrong):
                whose = store.client_ids[store.clients[rows[wrong[0]]]]
                yield f"client {ids[own[wrong[0]]]!r} has row {rows[wrong[0]]}, one of {whose!r}"

    @property
    def whole(self) -> str:
        """Checksums of the store and the partition; a share says those that it was taken from."""
        return self.header.get("share_of") or f"{self.header['store']['checksum']} {self.checksum}"

    @property
    def held(self) -> list[int]:
        """The clients that have rows here: all but in a share."""
        return np.flatnonzero(np.diff(self.offsets)).tolist()

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


def checksum(offsets: np.ndarray, indices: np.ndarray) -> str:
    """Hex SHA-256 of a partition's arrays."""
    digest = hashlib.sha256(np.ascontiguousarray(offsets).data)
    digest.update(np.ascontiguousarray(indices).data)
    return digest.hexdigest()
