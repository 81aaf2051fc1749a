"""What the data tests share: stages by their commands, and small stores on disk."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from autoprune.data.prepare.write import write_store
from stages import run_here

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def stage():
    """What ``python -m autoprune.<name> flags...`` comes to: its code, its lines, its files."""

    return lambda name, *flags: run_here(f"autoprune.{name}", *flags)


@pytest.fixture(scope="session")
def refused():
    """Check that a process failed with one line on stderr, and return that line."""

    def check(process):
        assert process.returncode == 1, process.stderr
        lines = process.stderr.strip().splitlines()
        assert len(lines) == 1, process.stderr
        assert lines[0].startswith("error: ")
        return lines[0]

    return check


@pytest.fixture(scope="session")
def real_leaf():
    """Folder of the 16 real FEMNIST writers; skips where it is absent."""
    data = Path(os.environ.get("AUTOPRUNE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    folder = data / "femnist-leaf"
    if not list(folder.glob("*.json")):
        pytest.skip(f"no real FEMNIST writers at {folder}; set AUTOPRUNE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def leaf_shard():
    """Write a LEAF shard of ``{user: labels}``; every pixel of a sample is its label over 61."""

    def write(path, users, **changes):
        data = {u: {"x": [[y / 61] * 784 for y in ys], "y": list(ys)} for u, ys in users.items()}
        counts = [len(labels) for labels in users.values()]
        shard = {"users": list(users), "num_samples": counts, "user_data": data, **changes}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(shard))
        return path

    return write


@pytest.fixture(scope="session")
def make_store():
    """Write a store with these training ``labels`` and ``clients``, and two held-out rows."""

    def make(folder, labels, clients=None, classes=10, name="made", kind="real"):
        labels = np.concatenate([labels, [0, 1]])
        owners = np.zeros(len(labels), int) if clients is None else np.append(clients, [0, 0])
        write_store(
            folder,
            name=name,
            source="test",
            kind=kind,
            images=np.arange(1, len(labels) + 1).astype(">u4").view(np.uint8).reshape(-1, 2, 2, 1),
            labels=labels[:, None],
            clients=owners,
            splits=np.array([0] * (len(labels) - 2) + [1, 2]),
            client_ids=[f"c{number}" for number in range(owners.max() + 1)],
            targets=[{"name": "kind", "classes": [f"k{number}" for number in range(classes)]}],
            dropped=[{"client": "gone", "samples": 1, "reason": "fewer than 2 samples"}],
            polarity="dark-on-light",
            natural_clients=clients is not None,
        )
        return folder

    return make
