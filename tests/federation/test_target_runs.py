"""Whole runs with a target in place of k: bytes again, after a kill, from their own notes."""

import csv
import json
import signal
import subprocess
import sys

import pytest

from autoprune.core.files import sha256_file
from autoprune.measure.latency_table import Row, designed, table_of
from autoprune.models import Architecture
from autoprune.models.counts import Counts
from autoprune.pruning.plan import Plan

AIMED = {"target_parameters": 4000, "cap": 20, "rounds": 24, "checkpoint_every": 1}
NETWORK = Architecture("cnn", (12, 14), (1, 28, 28), 62)


@pytest.fixture(scope="module")
def aimed(train, tmp_path_factory):
    """The folder of a finished run with a target; the k that the flags have gives way."""
    folder = tmp_path_factory.mktemp("aimed")
    done = train(folder, "autoprune", "inherit", **AIMED)
    assert done.returncode == 0, done.stderr
    return folder


def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def test_what_it_leaves(aimed):
    about, evaluation = read(aimed, "run"), read(aimed, "evaluation")
    assert about["settings"]["target-parameters"] == 4000
    assert "k" not in about["settings"]
    assert evaluation["target_reached"] == evaluation["nonzeros"]
    assert evaluation["target_reached"] == pytest.approx(4000, rel=0.05)
    assert evaluation["target_dense"] == Counts(NETWORK).parameters(NETWORK.widths)
    plan = Plan.from_json(read(aimed, "plan"))
    assert plan.shrinks[-1].cost == evaluation["target_reached"]
    assert plan.stopped["reason"] == "target"
    assert list(plan.shrinks[-1].widths) == read(aimed, "architecture")["widths"]


def test_bytes_of_a_round_are_those_that_are_aimed_at(train, tmp_path):
    """Of a round without an evaluation, a client's numbers both ways, as the wire counts them."""
    given = {"target_bytes": 30_000, "cap": 3, "rounds": 5, "evaluate_every": 5}
    done = train(tmp_path, "autoprune", "inherit", **given)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "history.csv").open() as stream:
        row = list(csv.DictReader(stream))[4]
    sent = (int(row["payload_down"]) + int(row["payload_up"])) / int(row["clients"])
    assert sent == read(tmp_path, "evaluation")["target_reached"]
    assert sent == pytest.approx(30_000, rel=0.05)


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(flags, train, aimed, tmp_path, contents):
    command = [sys.executable, "-m", "autoprune.federation"]
    words = flags(tmp_path, "autoprune", "inherit", **AIMED)
    process = subprocess.Popen([*command, *words], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("round 6/"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "history.csv").exists()
    done = train(tmp_path, "autoprune", "inherit", workers=2, **AIMED)
    assert done.returncode == 0, done.stderr
    assert "going on after round" in done.stderr
    assert contents(tmp_path) == contents(aimed)


def test_a_run_that_aims_at_a_latency_notes_its_table(train, tmp_path, contents):
    rows = [
        Row(widths, 0.01 + Counts(NETWORK).macs(widths) * 1e-7)
        for widths in (NETWORK.widths, *designed(NETWORK, 12, 0))
    ]
    given = {"target_latency_ms": 0.03, "cap": 3, "latency_table": str(tmp_path / "t.json")}
    (tmp_path / "t.json").write_text(json.dumps(table_of(NETWORK, rows, {})))
    done = train(tmp_path / "one", "autoprune", "inherit", **given)
    assert done.returncode == 0, done.stderr
    about = read(tmp_path / "one", "run")
    assert about["latency_table_checksum"] == sha256_file(tmp_path / "t.json")
    assert "t.json" not in json.dumps(about)
    assert read(tmp_path / "one", "evaluation")["target_reached"] == pytest.approx(0.03, rel=0.05)
    (tmp_path / "elsewhere.json").write_bytes((tmp_path / "t.json").read_bytes())
    again = {**given, "latency_table": str(tmp_path / "elsewhere.json")}
    assert train(tmp_path / "two", "autoprune", "inherit", **again).returncode == 0
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


def test_a_target_that_cannot_be_reached_is_one_line_before_training(train, tmp_path):
    done = train(tmp_path / "out", "autoprune", "inherit", **{**AIMED, "target_parameters": 9})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "target_parameters: found 9, expected" in line
    assert "(the dense network, 12 14)" in line
    assert not list((tmp_path / "out").glob("*"))
