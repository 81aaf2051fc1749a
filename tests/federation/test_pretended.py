"""Whole runs as on a GPU, on a device that only says it is one: no tensor is where it must not be.

And the bits are the processor's, since its values are. What CUDA does itself (kernels, graphs,
memory, its own sums) is nothing that this can find.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RESNET = {"model": "resnet", "widths": [6, 5, 7]}
RUNS = {
    "search": {"method": "autoprune", "variant": "inherit", "rounds": 3},
    "resnet": RESNET | {"rounds": 2},
    "sgd": {"optimizer": {"name": "SGD", "momentum": 0.9}, "rounds": 2},
    "carried": {"optimizer_state": "carried", "rounds": 2},
    "proximal": {"proximal_mu": 0.1, "rounds": 2},
    "augmented": {"augmentation": [{"RandomCrop": {"size": 28, "padding": 1}}], "rounds": 2},
    "int8": {"method": "dense-int8", "rounds": 2},
    "sensitivity": {"method": "ssfl", "variant": "one-shot"},
    "gradients": {"method": "prunefl", "variant": "adaptive"},
    "taylor": {"method": "taylor", "variant": "one-shot"},
    "gates": {"method": "l0-gates", "variant": "joint"},
    "bits": {"method": "geta", "variant": "joint"},
}
LONG = [pytest.param(name, marks=pytest.mark.long) for name in list(RUNS)[1:]]


def run(where, flags):
    """A finished run of these flags in a process of its own."""
    command = [sys.executable, "-W", "ignore", str(HERE / "on_pretended.py"), where, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("name", ["search", *LONG])
def test_a_run_on_another_device_has_the_processors_bytes(name, flags, request, tmp_path):
    """In all it leaves but run.json, which says that it was told another device."""
    how = {"method": "dense", "variant": "fedavg"} | RUNS[name]
    if how["method"] not in ("dense", "dense-int8", "autoprune"):
        how |= request.getfixturevalue("follow")(how["method"])
    run("cpu", flags(tmp_path / "cpu", **how))
    run("pretended", flags(tmp_path / "device", **how, device="cuda"))
    left = [path.name for path in sorted((tmp_path / "cpu").iterdir())]
    assert left == [path.name for path in sorted((tmp_path / "device").iterdir())]
    for file in left:
        one, other = (tmp_path / where / file for where in ("cpu", "device"))
        if file == "run.json":
            told = [
                json.loads(path.read_text(encoding="utf-8"))["settings"] for path in (one, other)
            ]
            assert told[0] | {"device": "cuda"} == told[1]
        else:
            assert one.read_bytes() == other.read_bytes(), file
