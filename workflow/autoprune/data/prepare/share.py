"""A node's share of a data set: the rows of some clients and nothing of the others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from autoprune.core.files import checksum, read_json, whole_folder, write_json
from autoprune.data.partition import SCHEMA_VERSION, Partition
from autoprune.data.prepare.images import write_array
from autoprune.data.store import ARRAYS, SPLITS, ClientStore


def write_share(
    store: ClientStore, partition: Partition, clients: Sequence[int], folder: Path
) -> None:
    """Write ``store`` and ``partition`` in a folder, with the training rows of these clients only.

    Clients keep their numbers and their images' order, so that training gives the same numbers. Of
    the others there are neither rows nor names nor counts; of the whole there are the number of
    clients, the checksums, and the pixels' mean and range, which standardised images need.
    ``clients`` ascend.
    """
    rows = np.unique(np.concatenate([partition.indices(client) for client in clients]))
    owners, numbers = np.unique(store.clients[rows], return_inverse=True)
    header = read_json(store.folder / "header.json")
    names = ["header.json", *(f"{array}.npy" for array in ARRAYS)]
    with whole_folder(folder / "store", names) as scratch:
        for array in ARRAYS:
            write_array(scratch[f"{array}.npy"], getattr(store, array), rows)
        np.save(scratch["clients.npy"], numbers.astype(np.int32))
        header |= {
            "clients": [store.client_ids[owner] for owner in owners],
            "samples": dict.fromkeys(SPLITS, 0) | {"train": len(rows)},
            "dropped": [],
            "repeated": {split: {"images": 0, "same_labels": 0} for split in SPLITS[1:]},
            "checksum": checksum({array: scratch[f"{array}.npy"] for array in ARRAYS}),
        }
        write_json(scratch["header.json"], header)
    own = [partition.indices(client) for client in clients]
    sizes = np.zeros(partition.clients + 1, np.int64)
    sizes[np.array(clients) + 1] = [len(indices) for indices in own]
    names = ["partition.json", "offsets.npy", "indices.npy"]
    with whole_folder(folder / "partition", names) as scratch:
        np.save(scratch["offsets.npy"], np.cumsum(sizes))
        np.save(scratch["indices.npy"], np.searchsorted(rows, np.concatenate(own)).astype(np.int64))
        known = {"schema_version": SCHEMA_VERSION, "clients": partition.clients}
        write_json(scratch["partition.json"], known | {"share_of": partition.whole})
