"""ONNX files: they compute what PyTorch does, are the same bytes again and hold nothing local."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from autoprune.data import partition, prepare
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.export import calibration_rows
from autoprune.federation.training import to_input
from autoprune.models import Architecture, new_network
from autoprune.onnx_files import export_fp32, export_int8, logits, session

NETWORKS = [
    Architecture("cnn", (17, 43), (1, 28, 28), 62),
    Architecture("cnn", (14, 9, 14, 9), (3, 84, 84), 2),
    Architecture("resnet", (9, 11, 22), (3, 84, 84), 2),
    Architecture("inception", (21, 11, 13, 13, 20, 16, 18, 48, 53), (1, 28, 28), 62),
    Architecture("inception", (8, 4, 5, 6, 7, 8, 9, 10, 11), (3, 84, 84), 2),
]


@pytest.mark.parametrize("architecture", NETWORKS, ids=str)
def test_every_family_runs_in_onnxruntime(architecture, tmp_path, root):
    network = new_network(architecture, 0).eval()
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.add_(0.01)  # batch-norm statistics that are not the initial ones
    stream = np.random.default_rng(0)
    images = stream.random((6, *architecture.input_shape), dtype=np.float32)
    files = {}
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        fp32, int8 = tmp_path / turn / "a.onnx", tmp_path / turn / "b.onnx"
        export_fp32(network, architecture.input_shape, fp32)
        export_int8(fp32, images, int8)
        files[turn] = (fp32.read_bytes(), int8.read_bytes())
    assert files["one"] == files["two"]
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    found = logits(session(tmp_path / "one/a.onnx"), images)
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
    rough = logits(session(tmp_path / "one/b.onnx"), images)
    assert np.abs(rough - expected).max() <= 0.25 * np.abs(expected).max()
    for name in ("a.onnx", "b.onnx"):
        model = onnx.load(tmp_path / "one" / name)
        onnx.checker.check_model(model)
        assert not any(node.metadata_props for node in model.graph.node)
        content = (tmp_path / "one" / name).read_bytes()
        assert str(root).encode() not in content
        assert b".py" not in content
    assert {n.op_type for n in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short real run, and the flags of its export."""
    folder = tmp_path_factory.mktemp("run")
    options = ["--clients", "4", "--samples", "20", "--seed", "0"]
    prepare.main(["glyphs", "--name", "g", "--output", str(folder / "store"), *options])
    common = ["--store", str(folder / "store"), "--target", "character"]
    partition.main([*common, "--scheme", "natural", "--output", str(folder / "partition")])
    common += ["--partition", str(folder / "partition")]
    settings = "--dataset g --model cnn --widths 9 10 --method dense --variant fedavg --seed 1 "
    settings += "--rounds 2 --clients-per-round 2 --local-epochs 1 --batch-size 8 "
    settings += "--learning-rate 0.003 --epsilon 1e-7 --evaluate-every 1 --checkpoint-every 1"
    command("train", *common, *settings.split(), "--output", str(folder / "run"))
    return folder, [*common, "--run", str(folder / "run")]


def command(stage, *flags, check=True):
    done = subprocess.run(
        [sys.executable, "-m", f"autoprune.{stage}", *flags], capture_output=True, text=True
    )
    assert not check or done.returncode == 0, done.stderr
    return done


def test_the_manifest_says_what_the_files_are(run, tmp_path):
    folder, flags = run
    command("export", *flags, "--output", str(tmp_path))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert [m["precision"] for m in manifest["models"]] == ["fp32", "int8"]
    trained = json.loads((folder / "run/evaluation.json").read_text())
    for model in manifest["models"]:
        assert (tmp_path / model["file"]).exists()
        assert model["widths"] == [9, 10]
        assert model["input_shape"] == [1, 1, 28, 28]
        assert model["variant"] == "dense"
        assert len(model["sha256"]) == 64
    fp32 = manifest["models"][0]
    assert fp32["test_accuracy"] == pytest.approx(trained["test_accuracy_last"])
    assert fp32["argmax_agreement"] == 1
    assert fp32["max_abs_difference"] <= fp32["tolerance"]
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    command("export", *flags, "--output", str(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_calibration_sees_training_images_only(run):
    folder, _ = run
    store, divided = ClientStore.open(folder / "store"), Partition.open(folder / "partition")
    rows = calibration_rows(divided, 0)
    training = store.rows("train")
    assert len(rows) == len(set(rows)) > 10
    assert training.start <= rows.min()
    assert rows.max() < training.stop
    assert not np.array_equal(rows, calibration_rows(divided, 1)) or len(rows) == training.stop


def test_a_run_that_is_not_there_is_one_line(run, tmp_path):
    _, flags = run
    done = command(
        "export", *flags[:-1], str(tmp_path / "no"), "--output", str(tmp_path), check=False
    )
    assert done.returncode == 1
    assert done.stderr == f"error: {tmp_path}/no/run.json: no such file\n"
    assert list(tmp_path.iterdir()) == []


def test_the_stored_range_is_the_networks_input(run):
    """What is exported expects what training saw."""
    folder, _ = run
    store = ClientStore.open(folder / "store")
    images = to_input(np.array(store.images[:3]), store.pixel_range)
    assert float(images.max()) <= 1
