"""Runs whose clients remember: the same bytes with more workers and after a kill; the scores."""

import csv
import json
import signal
import subprocess
import sys

import pytest

ENCODED = [
    ("l1-int8", "iterative"),
    ("geta", "joint"),
    pytest.param("fedmap", "global", marks=pytest.mark.long),
    pytest.param("ssfl", "one-shot", marks=pytest.mark.long),
]


@pytest.mark.parametrize(("method", "variant"), ENCODED)
def test_killed_or_with_two_workers_the_bytes_are_the_same(
    follow, flags, train, tmp_path, contents, method, variant
):
    more = follow(method)
    whole = train(tmp_path / "whole", method, variant, workers=2, **more)
    assert whole.returncode == 0, whole.stderr
    broken = tmp_path / "broken"
    command = [
        sys.executable,
        "-m",
        "autoprune.federation",
        *flags(broken, method, variant, **more),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("round 2/"):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()
    assert not (broken / "history.csv").exists()
    done = train(broken, method, variant, **more)
    assert done.returncode == 0, done.stderr
    assert "going on after round" in done.stderr
    assert contents(broken) == contents(tmp_path / "whole")


@pytest.mark.long
def test_a_carried_optimizer_is_another_run_and_the_same_again(train, tmp_path, contents):
    for name, state, workers in (("a", "carried", 1), ("b", "carried", 2), ("c", "fresh", 1)):
        more = {"optimizer-state": state, "workers": workers}
        done = train(tmp_path / name, "dense", "fedavg", **more)
        assert done.returncode == 0, done.stderr
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a["weights.safetensors"] != c["weights.safetensors"]


def test_the_accuracies_of_a_run_are_those_of_its_history(train, tmp_path):
    done = train(tmp_path, rounds=8, evaluate_every=1, learning_rate=0.01)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))[1:]
    accuracies = [float(row["test_accuracy"]) for row in rows]
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["test_accuracy"] == pytest.approx(sum(accuracies[-5:]) / 5)
    assert accuracies[:3] != accuracies[-3:]
    assert found["test_accuracy_last"] == accuracies[-1]
    best = max(rows, key=lambda row: float(row["validation_accuracy"]))
    assert found["test_accuracy_best"] == float(best["test_accuracy"])
    assert found["test_clients_by"] == "own images"
    assert 0 <= found["test_accuracy_worst_decile"] <= found["test_accuracy_last"]


@pytest.mark.parametrize("name", ["plan", "dense"])
def test_a_file_to_follow_that_is_not_there_is_one_line(train, follow, tmp_path, name):
    more = follow("fedmap") | {name: tmp_path / "nowhere.json"}
    done = train(tmp_path / "out", "fedmap", "global", **more)
    assert done.returncode == 1
    assert done.stderr.strip() == f"error: {tmp_path}/nowhere.json: no such file"
