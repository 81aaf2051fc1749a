"""Whole runs with gates: what travels and is counted, what is left, the same bytes after a kill."""

import csv
import json
import signal
import subprocess
import sys

import pytest

from autoprune.models import Architecture, build, cost
from autoprune.models.attached import folded
from autoprune.models.gates import Part
from autoprune.models.weights import load_weights

OWN = {"model": "cnn1d", "widths": [8, 9, 10], "rounds": 7}
FIRST, LAST = 2, 4  # of the rounds in which clients train gates; filters go in the next


@pytest.fixture(scope="module")
def more(train, follow, tmp_path_factory):
    """The flags of a run that follows one of the same network, which kept weights."""
    folder = tmp_path_factory.mktemp("reference")
    done = train(folder, "autoprune", "inherit", **OWN)
    assert done.returncode == 0, done.stderr
    return OWN | follow("l0-gates") | {"plan": folder / "plan.json", "evaluate-every": 1}


@pytest.fixture(scope="module")
def gated(train, more, tmp_path_factory):
    """A finished run with gates, with two workers."""
    folder = tmp_path_factory.mktemp("gated")
    done = train(folder, "l0-gates", "joint", workers=2, **more)
    assert done.returncode == 0, done.stderr
    return folder


def test_killed_and_with_one_worker_it_ends_in_the_same_bytes(
    gated, more, flags, train, tmp_path, contents
):
    """Killed while gates are trained: they, their multipliers and the dense network come back."""
    words = flags(tmp_path, "l0-gates", "joint", **more)
    command = [sys.executable, "-m", "autoprune.federation", *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("round 3/"):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "history.csv").exists()
    done = train(tmp_path, "l0-gates", "joint", **more)
    assert done.returncode == 0, done.stderr
    assert "going on after round" in done.stderr
    assert contents(tmp_path) == contents(gated)


def test_gates_and_the_dense_network_travel_while_they_are_trained(gated):
    """Each number counted: gates and their rate both ways, the dense network down alone."""
    plan = json.loads((gated / "plan.json").read_text())
    base = Architecture.from_json(plan["base"])
    budget = plan["budget"]
    gates = sum(base.widths) + 1
    with (gated / "history.csv").open() as stream:
        rows = {int(row["round"]): row for row in csv.DictReader(stream)}
    assert [n for n, row in rows.items() if int(row["shrunk"])] == [LAST + 1]
    assert [one["round"] for one in plan["gates"]] == list(range(FIRST, LAST + 1))
    for server_round in range(1, 8):
        row, clients = rows[server_round], int(rows[server_round]["clients"])
        size = int(row["parameters_with_statistics"])
        assert size == int(row["nonzeros"])
        assert size == cost(base) if server_round <= LAST else size <= budget
        # each round is evaluated: the plain network goes out once more, its statistics come back
        statistics = 2 * sum(map(int, row["widths"].split()))
        trained = size + gates if FIRST <= server_round <= LAST else size
        dense = size if FIRST <= server_round <= LAST else 0
        assert int(row["payload_down"]) == 4 * clients * (trained + dense + size)
        assert int(row["payload_up"]) == 4 * clients * (trained + statistics)


def test_nothing_is_attached_to_what_is_saved(gated):
    architecture, state, _ = load_weights(gated / "weights.safetensors")
    assert architecture.attached == ""
    assert state.keys() == build(architecture).state_dict().keys()
    assert "attached" not in json.loads((gated / "architecture.json").read_text())
    assert folded(architecture, network := build(architecture))[1] is network
    plan = json.loads((gated / "plan.json").read_text())
    assert list(architecture.widths) == plan["shrinks"][-1]["widths"]
    assert not isinstance(network.attached, Part)


def test_without_distillation_no_dense_network_travels(gated, more, train, tmp_path):
    done = train(tmp_path, "l0-gates", "joint", **more, distil=0)
    assert done.returncode == 0, done.stderr

    def payloads(folder):
        with (folder / "history.csv").open() as stream:
            return [int(row["payload_down"]) for row in csv.DictReader(stream)]

    size = cost(Architecture.from_json(json.loads((gated / "plan.json").read_text())["base"]))
    less = [one - other for one, other in zip(payloads(gated), payloads(tmp_path), strict=True)]
    assert less[: LAST + 1] == [0, 0, *[4 * 3 * size] * (LAST + 1 - FIRST)]
