"""A measured side, as a command of its own that imports no more than it needs.

`plain DATABASE OUTPUT` is the simplest reader of TensorFlow Federated's examples; `read STORE`
prints what opening a store and reading clients from it took.
"""

import json
import os
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

COHORT = 50  # clients read, as in a round of the paper


def plain(database: str, output: str) -> None:
    """The simplest reader: everything in memory, in the file's order, and no checksum."""
    import sqlite3

    from autoprune.data.prepare.readers.tff_example import example_class

    images, labels, clients = [], [], []
    rows = sqlite3.connect(database).execute("SELECT * FROM examples")
    for _, client, serialized in rows:
        feature = example_class().FromString(serialized).features.feature
        if "pixels" in feature:
            pixels = np.array(feature["pixels"].float_list.value)
            images.append((pixels * 255).round().astype(np.uint8))
            labels.append(feature["label"].int64_list.value[0])
        else:
            images.append(np.array(feature["image"].int64_list.value, np.uint8))
            labels.append(feature["male"].int64_list.value[0])
        clients.append(client)
    folder = Path(output)
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", np.stack(images))
    np.save(folder / "labels.npy", labels)
    np.save(folder / "clients.npy", clients)


def forget(path: Path) -> None:
    """Drop a file from the page cache, so that what is read of it comes from the disk (Linux)."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(folder: str) -> None:
    """Open a store and read a cohort's training images; print milliseconds and bytes."""
    import psutil

    from autoprune.data.store import ClientStore

    started = time.perf_counter()
    store = ClientStore.open(folder)
    first = time.perf_counter() - started
    again = []
    for _ in range(20):
        started = time.perf_counter()
        store = ClientStore.open(folder)
        again.append(time.perf_counter() - started)
    clients = np.asarray(store.clients[store.rows("train")])
    cohort = np.random.default_rng(0).choice(np.unique(clients), COHORT, replace=False)
    forget(store.folder / "images.npy")
    before = psutil.Process().io_counters().read_bytes
    wanted, started = 0, time.perf_counter()
    for client in cohort:
        start, end = np.searchsorted(clients, [client, client + 1])
        wanted += store.images[np.arange(start, end)].nbytes
    seconds = time.perf_counter() - started
    disk = psutil.Process().io_counters().read_bytes - before
    found = {"first": first, "again": median(again), "seconds": seconds}
    print(json.dumps(found | {"wanted": wanted, "disk": disk}))


if __name__ == "__main__":
    {"plain": plain, "read": read}[sys.argv[1]](*sys.argv[2:])
