"""The benchmarks run, at a hundredth of their size; their numbers are no business of tests."""

import csv
import os
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
