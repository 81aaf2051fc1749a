"""The benchmarks run, at a hundredth of their size; their numbers are no business of tests."""

import csv
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from importlib.util import find_spec

import pytest
import torch
from flwr.app import Message
from safetensors.torch import load_file

pytestmark = pytest.mark.long


@pytest.mark.parametrize(
    ("name", "parts", "rows"),
    [
        ("preparation", ["femnist"], {"femnist/throughput", "femnist/worker memory"}),
        (
            *("federation", ["peak", "loop", "workers", "startup"]),
            {"loop/28x28 pruned compiled", "loop/84x84 dense fp32", "startup"},
        ),
        pytest.param(
            *("federation", ["overhead", "peers"]),
            {"overhead/in process", "peers/28x28 dense/Flower", "peers/light/BlazeFL threads"},
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
    assert rows <= set(measured)
    for row in measured.values():
        assert row["median_A"] or row["met"].startswith("cannot run: ")
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


@pytest.fixture
def benchmarks(root, monkeypatch):
    """The folder of the benchmarks, whose modules can be imported."""
    monkeypatch.syspath_prepend(root / "benchmarks")
    return root / "benchmarks"


@pytest.mark.skipif(find_spec("pfl") is not None, reason="pfl is installed here")
def test_a_peer_that_is_not_installed_is_said_in_one_line(benchmarks, tmp_path):
    from bench_rounds import NOT_THERE, Request

    asked = json.dumps(asdict(Request("pfl", "", 2, 4, 4, 1, 4, None, {})))
    command = [sys.executable, benchmarks / "bench_peers.py", asked, tmp_path / "found.json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == NOT_THERE
    assert done.stderr == "pfl is not installed; `make peers` installs it\n"


def test_peers_that_nobody_made_are_rows_that_cannot_run(benchmarks, tmp_path, monkeypatch):
    import bench_runtimes as runtimes
    from bench_parts import Bench
    from bench_report import FAILED, measured
    from bench_work import works

    sides = {runtimes.BLAZEFL: 1.0, runtimes.PFL: 1.0}
    monkeypatch.setitem(runtimes.TABLE, "light", sides)
    monkeypatch.setenv("PYTHONPATH", str(benchmarks.parent / "workflow"))
    bench = Bench(works(True), tmp_path, lambda: None, True, str(tmp_path / "python"))
    results = measured(runtimes.runtime_part(bench, "light"), 1)
    expected = f"cannot run: {tmp_path}/python is not there; `make peers` makes it"
    assert [(r.row.name, r.met) for r in results] == [
        ("peers/light/BlazeFL processes", expected),
        ("peers/light/pfl", expected),
    ]
    assert not any(r.trouble.startswith(FAILED) for r in results)


def test_a_client_in_its_turn_elsewhere_answers_as_on_the_local_grid(benchmarks, tmp_path):
    """The same bytes: what other simulators are timed with is the work that ours does."""
    from bench_parts import OURS, Bench
    from bench_rounds import Request, initial
    from bench_turns import Clients
    from bench_work import works

    from autoprune.federation.local_grid import LocalGrid
    from autoprune.federation.messages import instruction
    from autoprune.federation.wire import only
    from autoprune.models import new_network
    from autoprune.models.state import shapes, unflat

    work = works(True)["light"]
    bench = Bench(works(True), tmp_path, lambda: None, True)
    bench.store(work)
    learned = str(bench.state_file(work))
    config = work.settings(tmp_path, "fp32").run_config()
    architecture = work.architecture
    asked = Request(
        *("local", OURS, 1, work.clients, 2, 1, 2, architecture.to_json(), config), state=learned
    )
    weights = initial(asked, architecture)
    state = unflat(weights, shapes(new_network(architecture, 0).state_dict()))
    assert all(torch.equal(state[name], t) for name, t in load_file(learned).items())
    content = instruction(architecture, weights, 3)
    with LocalGrid(OURS, work.clients, config) as grid:
        messages = [Message(content, n, "train", group_id="3") for n in grid.get_node_ids()[:2]]
        replies = list(grid.send_and_receive(messages))
    clients = Clients(asked)
    for reply in replies:
        client = int(reply.content.config_records["client"]["partition-id"])
        found, loss = clients.answer(weights, 3, client)
        assert torch.equal(found, only(reply.content, "arrays"))
        assert loss == reply.content.metric_records["metrics"]["train-loss"]
        assert not torch.equal(found, weights)


def test_achieved_gflops_are_of_a_sample_or_of_a_round(benchmarks):
    from bench_parts import Row
    from bench_report import Result

    rate = Row("loop", "", "", "samples/s", True, gflop=0.5)
    time = Row("peers", "", "", "s/round", False, gflop=30.0)
    assert Result(rate, [(40.0, 20.0)]).work(50.0, "") == ["20", "10", "50", ""]
    assert Result(time, [(2.0, 3.0)]).work(None, "said") == ["15", "10", "", "said"]
    assert Result(Row("startup", "", "", "s", False), [(2.0, None)]).work(50.0, "") == [""] * 4
