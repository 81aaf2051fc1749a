"""A tiny federation on disk, and real training processes on it."""

import subprocess
import sys

import pytest

from autoprune.core.files import sha256_file
from autoprune.study.methods import follows_dense
from stages import run_flags, run_here

ROUNDS = 5


@pytest.fixture(scope="session")
def flags(tiny):
    """Flags of a run on ``tiny``: ``flags(output, method, variant, extra=value, ...)``."""

    def build(output, method="dense", variant="fedavg", **changes):
        values = {
            "dataset": "tiny",
            "store": tiny / "store",
            "partition": tiny / "partition",
            "target": "character",
            "model": "cnn",
            "widths": [12, 14],
            "method": method,
            "variant": variant,
            "seed": 3,
            "rounds": ROUNDS,
            "clients_per_round": 3,
            "local_epochs": 1,
            "batch_size": 8,
            "learning_rate": 0.003,
            "min_clients": 2,
            "evaluate_every": 2,
            "output": output,
        }
        if method == "autoprune":
            values |= {"k": 1.5, "patience": 3, "cap": 3}
        return run_flags(**values | changes)

    return build


@pytest.fixture(scope="session")
def train(flags):
    """Run the stage in this process; returns its code and lines."""
    return lambda output, *args, **changes: run_here(
        "autoprune.federation", *flags(output, *args, **changes)
    )


@pytest.fixture(scope="session")
def finished(flags, tmp_path_factory):
    """The folder of a finished inherit run with one worker: what others are compared with."""
    output = tmp_path_factory.mktemp("finished")
    command = [sys.executable, "-m", "autoprune.federation", *flags(output, "autoprune", "inherit")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="session")
def follow(finished, tmp_path_factory):
    """The flags of a method that follows ``finished``; ``follow(method)``.

    Where it prunes trained networks, that is from round 2 on, by a history written by hand.
    """
    history = tmp_path_factory.mktemp("dense") / "history.csv"
    rows = [f"{server_round},0.5" for server_round in range(1, ROUNDS + 1)]
    history.write_text("\n".join(["round,validation_accuracy", *rows]) + "\n")

    def flags_of(method):
        plan = {"plan": finished / "plan.json"}
        return plan | ({"dense": history, "prune-at": 0.9} if follows_dense(method) else {})

    return flags_of


@pytest.fixture(scope="session")
def contents():
    """All files of a run by name, as checksums: long bytes that differ take minutes to show."""

    def read(folder):
        return {path.name: sha256_file(path) for path in sorted(folder.iterdir())}

    return read
