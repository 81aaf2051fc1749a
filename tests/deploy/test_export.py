"""Files for devices: they compute what PyTorch does, the same bytes again, nothing local."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch

from autoprune import exports
from autoprune.data import partition, prepare
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.errors import InputError
from autoprune.export import calibration_rows
from autoprune.federation.training import to_input
from autoprune.models import Architecture, new_network

PACKAGES = {"tflite": ["litert_torch"], "pte": ["executorch"]}
EXTRAS = any(importlib.util.find_spec(p) for names in PACKAGES.values() for p in names)
NETWORKS = [
    Architecture("cnn", (17, 43), (1, 28, 28), 62),
    Architecture("cnn", (14, 9, 14, 9), (3, 84, 84), 2),
    Architecture("resnet", (9, 11, 22), (3, 84, 84), 2),
    Architecture("inception", (21, 11, 13, 13, 20, 16, 18, 48, 53), (1, 28, 28), 62),
    Architecture("inception", (8, 4, 5, 6, 7, 8, 9, 10, 11), (3, 84, 84), 2),
]


def format_or_skip(name):
    """A format's module; skips, saying which package is absent, where it cannot be loaded."""
    try:
        return exports.load(name)
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", exports.formats())
@pytest.mark.parametrize("architecture", NETWORKS, ids=str)
@pytest.mark.filterwarnings("ignore" if EXTRAS else "default")  # of the converters' own packages
def test_every_family_runs_in_the_formats_engine(architecture, name, tmp_path, root):
    files = format_or_skip(name)
    network = new_network(architecture, 0).eval()
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.add_(0.01)  # batch-norm statistics that are not the initial ones
    stream = np.random.default_rng(0)
    images = stream.random((6, *architecture.input_shape), dtype=np.float32)
    written = {}
    for turn in ("one", "two"):
        (tmp_path / turn).mkdir()
        fp32, int8 = tmp_path / turn / f"a.{name}", tmp_path / turn / f"b.{name}"
        files.export_fp32(network, architecture.input_shape, fp32)
        files.export_int8(network, architecture.input_shape, images, int8)
        written[turn] = (fp32.read_bytes(), int8.read_bytes())
    assert written["one"] == written["two"]
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    found = exports.logits(files.infer(tmp_path / f"one/a.{name}"), images)
    assert np.abs(found - expected).max() <= 1e-4 * max(1, np.abs(expected).max())
    rough = exports.logits(files.infer(tmp_path / f"one/b.{name}"), images)
    assert not np.array_equal(rough, found)
    # untrained, and calibrated on six images: rough, but the same function
    assert np.abs(rough - expected).max() <= 0.4 * np.abs(expected).max()
    files.timed(tmp_path / f"one/b.{name}", images[:1])()
    for content in written["one"]:
        assert str(root).encode() not in content
        assert b".py" not in content


def test_onnx_holds_nothing_of_the_exporter(tmp_path):
    architecture = NETWORKS[0]
    images = np.random.default_rng(0).random((2, *architecture.input_shape), dtype=np.float32)
    onnx_files = exports.load("onnx")
    onnx_files.export_int8(
        new_network(architecture, 0), architecture.input_shape, images, tmp_path / "b.onnx"
    )
    model = onnx.load(tmp_path / "b.onnx")
    onnx.checker.check_model(model)
    assert not any(node.metadata_props for node in model.graph.node)
    assert {n.op_type for n in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize("name", ["tflite", "pte"])
def test_a_format_without_its_packages_says_what_to_install(run, name, tmp_path):
    if not any(importlib.util.find_spec(p) is None for p in PACKAGES[name]):
        pytest.skip(f"the packages of {name} are installed")
    _, flags = run
    done = command("export", *flags, "--output", str(tmp_path), "--format", name, check=False)
    assert done.returncode == 1
    assert f"run `make {exports.EXTRAS[name]}`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


LENGTH = "--rounds 2 --clients-per-round 2 --local-epochs 1 --batch-size 8 "
LENGTH += "--learning-rate 0.003 --epsilon 1e-7 --evaluate-every 1 --checkpoint-every 1"
PRUNED = "--dataset g --model cnn --widths 24 32 --method autoprune --variant inherit --seed 1 "
PRUNED += f"--k 1.5 --patience 2 --cap 2 {LENGTH}"


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
    settings += LENGTH
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


def test_rounded_widths_compute_the_same_and_say_so(run, tmp_path):
    """Rounded up, the network has more filters and the very same accuracy."""
    folder, flags = run
    settings = [*PRUNED.split(), "--store", str(folder / "store"), "--target", "character"]
    settings += ["--partition", str(folder / "partition"), "--output", str(tmp_path / "run")]
    command("train", *settings)
    found = {}
    for name, more in (("exact", []), ("up", ["--round-widths-to", "8", "--round-widths", "up"])):
        options = [*flags[:-1], str(tmp_path / "run"), "--output", str(tmp_path / name), *more]
        command("export", *options)
        found[name] = json.loads((tmp_path / name / "manifest.json").read_text())["models"]
    exact, rounded = found["exact"][0], found["up"][0]
    assert rounded["widths"] == [-(-width // 8) * 8 for width in exact["widths"]]
    assert rounded["widths"] != exact["widths"]
    assert rounded["test_accuracy"] == exact["test_accuracy"]
    assert rounded["macs"] > exact["macs"]
    assert (exact["round_widths_to"], rounded["round_widths_to"]) == (None, 8)
    assert rounded["model_id"].endswith("-s1-r8-fp32.onnx")
    done = command("export", *flags, "--round-widths-to", "8", "--output", "x", check=False)
    assert "plan.json" in done.stderr  # a dense run has none
    assert done.returncode == 1


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
