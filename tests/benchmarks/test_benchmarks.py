"""The benchmarks run, at a hundredth of their size; their numbers are no business of tests."""

import csv
import os
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("name", "parts", "rows"),
    [
        ("preparation", ["femnist"], {"femnist/throughput", "femnist/worker memory"}),
        ("federation", ["loop", "workers", "startup"], {"loop/28x28 pruned fp32", "startup"}),
        pytest.param(
            *("federation", ["overhead", "flower"], {"overhead/in process", "flower/28x28 dense"}),
            marks=pytest.mark.skipif(
                os.environ.get("AUTOPRUNE_TEST_RAY") != "1",
                reason="starts Ray, which can hang; set AUTOPRUNE_TEST_RAY=1 to run it",
            ),
        ),
    ],
)
def test_a_smoke_run_measures_every_row(root, tmp_path, name, parts, rows):
    output = tmp_path / name
    script = [sys.executable, root / f"benchmarks/{name}.py", "--smoke", "--only", *parts]
    done = subprocess.run(
        [*script, "--output", output],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    with output.with_suffix(".csv").open(newline="") as stream:
        measured = {row["name"]: row for row in csv.DictReader(stream)}
    assert rows <= {row.removesuffix("/our client") for row in measured}
    assert all(row["median_A"] for row in measured.values())
    assert "A smoke run: the numbers mean nothing." in output.with_suffix(".md").read_text()


def gpu(root, output, *flags):
    """`benchmarks/gpu.py`, finished; on a machine with a GPU as if it had none."""
    script = [sys.executable, root / "benchmarks/gpu.py", "--output", output, *flags]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(script, capture_output=True, text=True, timeout=900, env=hidden)


def test_without_a_gpu_nothing_of_one_is_measured(root, tmp_path):
    done = gpu(root, tmp_path / "gpu")
    assert done.returncode == 2
    assert re.fullmatch("gpu.py: device: found 'cuda', but .*; nothing was measured\n", done.stderr)
    assert not list(tmp_path.iterdir())


def test_the_gpus_script_runs_through_on_a_processor(root, tmp_path):
    """Each side's clients, the bytes of two runs, the hours; Flower's side where Ray may start."""
    alone = [] if os.environ.get("AUTOPRUNE_TEST_RAY") == "1" else ["--without-flower"]
    only = ["--only", "femnist-cnn", "--workers", "2"]
    done = gpu(root, tmp_path / "gpu", "--device", "cpu", "--quick", *only, *alone)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "gpu.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    sides = ["local grid"] if alone else ["local grid", "Flower"]
    assert [row["side"] for row in rows] == sides
    assert all(float(row["clients_per_second"]) > 0 for row in rows)
    page = (tmp_path / "gpu.md").read_text()
    assert "A trial: the numbers mean nothing." in page
    assert re.search(r"^\| femnist-cnn .*\| yes ", page, re.MULTILINE)
