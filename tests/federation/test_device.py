"""Where a run computes: what is refused, what `auto` comes to, and that CUDA starts in time."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from autoprune.core.errors import InputError
from autoprune.core.provenance import PACKAGE, ROOT
from autoprune.federation import device
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.resident import Resident
from stages import run_here

app = ClientApp()
sys.path.insert(0, str(Path(__file__).parent))  # so that workers can import this module
APP = "test_device:app"
no_gpu = pytest.mark.skipif(device.visible() > 0, reason="there is a GPU here")


@app.train()
def tell(message: Message, context: Context) -> Message:
    """Says which worker it is and whether CUDA has started in it, or in what it was forked from."""
    begun = torch.cuda.is_initialized() or torch.cuda._is_in_bad_fork()
    numbers = np.array([os.getpid(), device._worker, begun])
    content = RecordDict({"told": ArrayRecord([numbers])})
    return Message(content, reply_to=message)


def told(nodes, workers):
    """What the clients of a grid say."""
    with LocalGrid(APP, nodes, {}, workers=workers) as grid:
        messages = [Message(RecordDict(), node, "train") for node in grid.get_node_ids()]
        replies = list(grid.send_and_receive(messages))
    return [reply.content.array_records["told"].to_numpy_ndarrays()[0] for reply in replies]


def test_each_worker_has_a_number_and_no_cuda_before_it_computes():
    """By which they take the GPUs in turn; a process forked after CUDA began could use none."""
    found = told(12, 3)
    assert {number for _, number, _ in found} == {0, 1, 2}
    assert len({(pid, number) for pid, number, _ in found}) == 3
    assert not any(begun for *_, begun in found)
    assert not torch.cuda.is_initialized()


def test_cuda_is_spoken_of_in_two_modules_and_never_while_they_load():
    """What the server of workers loads before it forks them must not start it."""
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "torch.cuda" not in text:
            continue
        assert path.parent.name == "federation"
        assert path.stem in ("device", "replay")
        tree = ast.parse(text)
        inside = {
            node
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for part in function.body
            for node in ast.walk(part)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("torch.cuda"):
                assert node in inside, f"{path.name}, line {node.lineno}"


@no_gpu
def test_cuda_without_a_gpu_is_one_line_before_anything_runs(flags, tmp_path):
    done = run_here("autoprune.federation", *flags(tmp_path / "run", device="cuda"))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: device: found 'cuda', but torch ")
    assert "envs/requirements-cuda.lock" in line or "nvidia-smi" in line
    assert not (tmp_path / "run").exists()


@no_gpu
def test_what_auto_comes_to_is_what_the_run_says_it_was_told(train, tmp_path):
    """Without a GPU it is the processor's run, in every byte of every file."""
    short = {"rounds": 2, "evaluate_every": 1}
    assert train(tmp_path / "cpu", **short).returncode == 0
    assert train(tmp_path / "auto", **short, device="auto").returncode == 0
    for path in sorted((tmp_path / "cpu").iterdir()):
        if path.name != "progress.json":
            assert path.read_bytes() == (tmp_path / "auto" / path.name).read_bytes()
    assert "device" not in json.loads((tmp_path / "auto/run.json").read_text())["settings"]
    assert device.facts("cpu") == {}


def test_an_unknown_device_is_refused(flags, tmp_path):
    done = run_here("autoprune.federation", *flags(tmp_path / "run", device="gpu"))
    assert done.returncode == 1
    assert "device" in done.stderr
    assert "cuda" in done.stderr


def test_a_gpu_computes_the_same_bits_each_time():
    """What is set before CUDA starts, in a process of its own, and that it does not start it."""
    code = """
import os, torch
from autoprune.federation import device
names = ["NVIDIA A", "NVIDIA A"]
device.visible = lambda: len(names)
torch.cuda.get_device_name = lambda number: names[number]
torch.cuda.set_device = lambda number: None
device.take(5)
assert str(device.start("cuda")) == "cuda:1"
device.take(2)
assert str(device.start("cuda")) == "cuda:0"
assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
assert torch.are_deterministic_algorithms_enabled()
assert not torch.backends.cuda.matmul.allow_tf32
assert not torch.backends.cudnn.allow_tf32
assert not torch.backends.cudnn.benchmark
assert not torch.cuda.is_initialized()
names[1] = "NVIDIA B"
device.take(0)
try:
    device.start("cuda")
except device.InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "several kinds (NVIDIA A, NVIDIA B)" in done.stdout


def test_a_deployment_is_told_cpu_or_cuda(flags, tmp_path):
    """On its nodes `auto` would be as many things as there are nodes."""
    from autoprune.federation.server_app import app as server

    words = [str(word) for word in flags(tmp_path / "run", device="auto")]
    config = json.loads(words[words.index("--settings") + 1])
    config |= {f: words[words.index(f"--{f}") + 1] for f in ("store", "partition", "output")}
    flat = {k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in config.items()}
    with pytest.raises(InputError, match=r"device: found 'auto'.* expected cpu or cuda"):
        server(None, Context(1, 0, {}, RecordDict(), flat))


def test_images_stay_until_others_need_their_place():
    reads = []

    def read(client):
        def images():
            reads.append(client)
            return np.full((10, 2, 5, 1), client, np.uint8), np.zeros(10, np.int64)

        return images

    kept = Resident(device.CPU, limit=400)  # two clients of 180 bytes
    for client in (1, 2, 1, 3, 1, 2):
        pixels, labels = kept.of(client, read(client))
        assert bool((pixels == client).all())
        assert len(labels) == 10
        assert kept.bytes <= 400
    assert reads == [1, 2, 3, 2]
    small = Resident(device.CPU, limit=1)
    assert len(small.of(1, read(1))[0]) == 10
    assert small.bytes == 180
