"""Files for devices: they compute what PyTorch does, the same bytes again, nothing local."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from autoprune.core.errors import InputError
from autoprune.data.partition import Partition
from autoprune.data.prepare import __main__ as prepare
from autoprune.data.prepare import partition
from autoprune.data.store import ClientStore
from autoprune.federation.training import to_input
from autoprune.measure import formats as exports
from autoprune.measure.complexity import complexity
from autoprune.measure.export import calibration_rows, compared
from autoprune.measure.program import save_program
from autoprune.models import Architecture, new_network
from stages import run_flags, run_here, run_stage

EXTRAS = any(exports.lacking(name) is None for name in exports.EXTRAS)
NETWORKS = [
    Architecture("cnn", (17, 43), (1, 28, 28), 62),
    Architecture("cnn", (14, 9, 14, 9), (3, 84, 84), 2),
    Architecture("resnet", (9, 11, 22), (3, 84, 84), 2),
    Architecture("inception", (21, 11, 13, 13, 20, 16, 18, 48, 53), (1, 28, 28), 62),
    Architecture("inception", (8, 4, 5, 6, 7, 8, 9, 10, 11), (3, 84, 84), 2),
    Architecture("cnn1d", (21, 34, 17), (1, 40, 64), 20),
    Architecture("conformer", (21, 34, 5, 30, 17), (1, 40, 64), 20),
]


def format_or_skip(name):
    """A format's module; skips, saying which package is absent."""
    if reason := exports.lacking(name):
        pytest.skip(reason)
    return exports.load(name)


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
        files.export_int8(network, architecture.input_shape, images, fp32, int8)
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
    network, shape = new_network(architecture, 0), architecture.input_shape
    onnx_files.export_fp32(network, shape, tmp_path / "a.onnx")
    onnx_files.export_int8(network, shape, images, tmp_path / "a.onnx", tmp_path / "b.onnx")
    model = onnx.load(tmp_path / "b.onnx")
    onnx.checker.check_model(model)
    assert not any(node.metadata_props for node in model.graph.node)
    assert {n.op_type for n in model.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize("name", ["tflite", "pte"])
def test_a_format_without_its_packages_says_what_to_install(run, name, tmp_path):
    if exports.lacking(name) is None:
        pytest.skip(f"the packages of {name} are installed")
    _, flags = run
    done = command("measure.export", *flags, "--output", tmp_path, "--format", name, check=False)
    assert done.returncode == 1
    assert f"run `make {exports.EXTRAS[name][0]}`" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


RUN = {
    "dataset": "g", "model": "cnn", "target": "character", "seed": 1, "rounds": 2,
    "clients_per_round": 2, "batch_size": 8, "learning_rate": 0.003, "evaluate_every": 1,
}  # fmt: skip
DENSE = RUN | {"widths": [9, 10], "method": "dense", "variant": "fedavg"}
PRUNED = RUN | {"widths": [24, 32], "method": "autoprune", "variant": "inherit"}
PRUNED |= {"k": 1.5, "patience": 2, "cap": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short real run, and the flags of its export."""
    folder = tmp_path_factory.mktemp("run")
    options = ["--clients", "4", "--samples", "20", "--seed", "0"]
    prepare.main(["glyphs", "--name", "g", "--output", str(folder / "store"), *options])
    common = ["--store", str(folder / "store"), "--target", "character"]
    partition.main([*common, "--scheme", "natural", "--output", str(folder / "partition")])
    common += ["--partition", str(folder / "partition")]
    train(folder, DENSE, "run")
    return folder, [*common, "--run", str(folder / "run")]


@pytest.fixture(scope="module")
def pruned(run):
    """A short run of autoprune on the same data, and the flags of its export."""
    folder, flags = run
    train(folder, PRUNED, "pruned")
    return folder / "pruned", [*flags[:-1], str(folder / "pruned")]


def train(folder, settings, name):
    files = {of: folder / of for of in ("store", "partition")}
    command("federation", *run_flags(**settings, **files, output=folder / name))


def command(stage, *flags, check=True):
    done = run_here(f"autoprune.{stage}", *flags)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The folder of that run's export."""
    folder = tmp_path_factory.mktemp("exported")
    command("measure.export", *run[1], "--output", folder)
    return folder


def test_the_manifest_says_what_the_files_are(run, exported):
    folder, _ = run
    manifest = json.loads((exported / "onnx/manifest.json").read_text())
    weights = (folder / "run/weights.safetensors").read_bytes()
    assert manifest["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert manifest["code"] == json.loads((folder / "run/run.json").read_text())["code"]
    assert (manifest["engine"], manifest["engine_version"]) == exports.engine("onnx")
    assert [m["precision"] for m in manifest["models"]] == ["fp32", "int8"]
    counts = complexity(Architecture("cnn", (9, 10), (1, 28, 28), 62))
    said = {
        "dataset": "g", "data_kind": "stand-in", "model": "cnn", "method": "dense",
        "run_variant": "fedavg", "seed": 1, "variant": "dense", "format": "onnx", "family": "cnn",
        "widths": [9, 10], "round_widths_to": None, "round_widths": None,
        "parameters": counts["parameters"], "macs": counts["macs"],
        "input_layout": "NCHW", "input_shape": [1, 1, 28, 28],
    }  # fmt: skip
    for model in manifest["models"]:
        name = f"g-cnn-dense-fedavg-s1-{model['precision']}.onnx"
        assert model["file"] == model["model_id"] == name
        content = (exported / "onnx" / name).read_bytes()
        assert model["sha256"] == hashlib.sha256(content).hexdigest()
        assert {key: model[key] for key in said} == said
    fp32, int8 = manifest["models"]
    trained = json.loads((folder / "run/evaluation.json").read_text())
    assert fp32["test_accuracy"] == pytest.approx(trained["test_accuracy_last"])
    assert fp32["argmax_agreement"] == 1
    assert fp32["max_abs_difference"] <= fp32["tolerance"]
    assert int8["tolerance"] is None
    assert int8["max_abs_difference"] > fp32["max_abs_difference"]
    assert 0.5 < int8["argmax_agreement"] <= 1
    assert abs(int8["test_accuracy"] - fp32["test_accuracy"]) < 0.2


@pytest.mark.parametrize("name", exports.formats())
def test_an_export_is_the_same_again_and_holds_no_local_path(pruned, name, tmp_path, root):
    """Of every format, exact and rounded, in another process; no folder that it could name."""
    if reason := exports.lacking(name):
        pytest.skip(reason)
    _, flags = pruned
    found = []
    for turn, export in (("one", run_here), ("another", run_stage)):
        folder = tmp_path / turn
        words = ["--format", name, "--round-widths-to", "4", "--output", folder]
        done = export("autoprune.measure.export", *flags, *words)
        assert done.returncode == 0, done.stderr
        found.append({p.relative_to(folder): p.read_bytes() for p in folder.glob("*/*")})
    assert found[0] == found[1]
    assert len(found[0]) == 8
    places = (root, tmp_path.parent, Path.home(), Path(sys.prefix), Path(tempfile.gettempdir()))
    for path, content in found[0].items():
        for place in places:
            assert f"{place}/".encode() not in content, (path, place)


PLAIN = """
import sys, numpy, torch

for name in sys.argv[1:]:
    images = torch.from_numpy(numpy.load(f"{name}-images.npy"))
    network = torch.export.load(f"{name}.pt2").module()
    numpy.save(f"{name}-logits.npy", network(images).detach().numpy())
assert "autoprune" not in sys.modules
"""


def test_pruned_networks_reload_in_plain_pytorch(tmp_path):
    """Without this package: epsilon, padding and statistics are in the file, for any batch."""
    expected = {}
    for number, architecture in enumerate(NETWORKS):
        network = new_network(architecture, 0).eval()
        for buffer in network.buffers():
            buffer.add_(0.01)  # batch-norm statistics that are not the initial ones
        images = np.random.default_rng(0).random((5, *architecture.input_shape), dtype=np.float32)
        np.save(tmp_path / f"{number}-images.npy", images)
        save_program(network, architecture.input_shape, tmp_path / f"{number}.pt2")
        with torch.no_grad():
            expected[number] = network(torch.from_numpy(images)).numpy()
    without = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-W", "error::UserWarning:torch", "-c", PLAIN, *map(str, expected)],
        check=True, cwd=tmp_path, env=without,
    )  # fmt: skip
    for number, logits in expected.items():
        assert np.array_equal(np.load(tmp_path / f"{number}-logits.npy"), logits), NETWORKS[number]


def test_onnx_files_suit_onnx_runtime_1_17(exported):
    """It loads operator sets up to 20 and file versions up to 9; 1.17.3 was seen to run them."""
    for model in json.loads((exported / "onnx/manifest.json").read_text())["models"]:
        written = onnx.load(exported / "onnx" / model["file"])
        found = {name.domain: name.version for name in written.opset_import}
        assert (found[""], written.ir_version) == (model["opset"], model["ir_version"])
        assert model["opset"] <= 20
        assert model["ir_version"] <= 9


def test_the_rounded_variants_stand_beside_the_exact_one(pruned, tmp_path):
    """Rounded up, a network has more filters and the very same accuracy; down, fewer."""
    folder, flags = pruned
    found = {}
    for direction in ("up", "down"):
        flags_of = ["--round-widths-to", "8", "4", "--round-widths", direction]
        command("measure.export", *flags, *flags_of, "--output", str(tmp_path / direction))
        for name in ("onnx", "onnx-r8", "onnx-r4"):
            manifest = json.loads((tmp_path / direction / name / "manifest.json").read_text())
            found[direction, name] = manifest["models"][0]
    exact = found["up", "onnx"]
    trained = json.loads((folder / "architecture.json").read_text())["widths"]
    assert exact["widths"] == trained
    assert any(width % 4 for width in trained)
    assert found["down", "onnx"] == exact
    for multiple in (8, 4):
        up, down = (found[direction, f"onnx-r{multiple}"] for direction in ("up", "down"))
        assert up["widths"] == [-(-width // multiple) * multiple for width in trained]
        assert down["widths"] == [width // multiple * multiple for width in trained]
        assert up["test_accuracy"] == exact["test_accuracy"]
        assert down["macs"] < exact["macs"] < up["macs"]
        assert (up["round_widths_to"], up["round_widths"]) == (multiple, "up")
        assert up["model_id"].endswith(f"-s1-r{multiple}-fp32.onnx")
        assert up["sha256"] != exact["sha256"]


def test_what_cannot_be_rounded_writes_nothing(run, tmp_path):
    _, flags = run
    for wrong, message in (
        (["--round-widths-to", "8"], "run/plan.json: no such file"),  # a dense run has none
        (["--format", "coreml"], "format: unknown 'coreml'; known are onnx, pte, tflite"),
    ):
        done = command(
            "measure.export", *flags, *wrong, "--output", str(tmp_path / "x"), check=False
        )
        assert done.returncode == 1
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert not (tmp_path / "x").exists()


def test_a_file_that_computes_something_else_is_refused():
    logits = np.array([[1.0, -30.0], [2.0, 3.0]], dtype=np.float32)
    near, far = logits + 0.002, logits[:, ::-1] + 0.004
    found = compared("a.onnx", "fp32", near, logits)
    assert found["tolerance"] == pytest.approx(0.003)
    assert found["argmax_agreement"] == 1
    with pytest.raises(InputError, match=r"a.onnx: differs from PyTorch by 31 on 2 test images"):
        compared("a.onnx", "fp32", far, logits)
    with pytest.raises(InputError, match="differs from PyTorch by nan"):
        compared("a.onnx", "fp32", logits * np.nan, logits)
    assert compared("a.onnx", "int8", far, logits)["argmax_agreement"] == 0


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
        "measure.export", *flags[:-1], str(tmp_path / "no"), "--output", tmp_path, check=False
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
