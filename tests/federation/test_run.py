"""Whole runs as processes: the same bytes again, with more workers, and after a kill."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
import torch

from autoprune import methods
from autoprune.core.errors import InputError
from autoprune.core.files import check_noted, claimed, digest_of, sha256_file
from autoprune.federation import client_app, simulation
from autoprune.federation.__main__ import CLIENT_APP, settings_of
from autoprune.federation.checkpoint import Checkpoint, save
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.run import CHECKPOINT, Run
from autoprune.federation.settings import Settings
from autoprune.federation.training import to_input
from autoprune.federation.wire import arrays
from autoprune.models import Architecture, new_network
from autoprune.pruning.plan import Plan
from copies import ROOT
from stages import run_here

LONG = 60  # rounds; seconds, where one takes milliseconds


def history(folder):
    with (folder / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_what_a_run_leaves(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {
        "architecture.json",
        "evaluation.json",
        "history.csv",
        "plan.json",
        "run.json",
        "units.csv",
        "weights.safetensors",
    }
    noted = json.loads((finished / "run.json").read_text())["files"]
    assert noted == {name: sha256_file(finished / name) for name in names - {"run.json"}}
    rows = history(finished)
    assert [int(row["round"]) for row in rows] == list(range(6))
    assert [bool(row["validation_accuracy"]) for row in rows] == [1, 0, 1, 0, 1, 1]
    assert [int(row["searching"]) for row in rows] == [0, 0, 1, 1, 1, 0]
    assert all(int(row["bytes_down"]) > 0 for row in rows[1:])
    plan = Plan.from_json(json.loads((finished / "plan.json").read_text()))
    widths = json.loads((finished / "architecture.json").read_text())["widths"]
    assert list(plan.shrinks[-1].widths) == widths
    assert rows[-1]["widths"].split() == [str(width) for width in widths]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_same_seed_gives_the_same_bytes(train, finished, tmp_path, workers, contents):
    """History, plan, weights and provenance, whatever the number of worker processes."""
    done = train(tmp_path, "autoprune", "inherit", workers=workers)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(finished)


def test_pixels_are_scaled_to_the_stores_range(train, finished, tiny, tmp_path, contents):
    """0 and 255 become its ends, and a run trains on what comes out."""
    images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
    assert to_input(images).flatten().tolist() == [0, 1]
    assert to_input(images, (-1, 3)).flatten().tolist() == [-1, 3]
    shutil.copytree(tiny / "store", tmp_path / "store")
    header = json.loads((tmp_path / "store/header.json").read_text())
    (tmp_path / "store/header.json").write_text(json.dumps(header | {"pixel_range": [-1, 1]}))
    done = train(tmp_path / "run", "autoprune", "inherit", store=tmp_path / "store")
    assert done.returncode == 0, done.stderr
    here, there = contents(tmp_path / "run"), contents(finished)
    assert here["weights.safetensors"] != there["weights.safetensors"]


@pytest.mark.parametrize(
    ("file", "words"),
    [("store/images.npy", "header.json says"), ("partition/indices.npy", "partition.json says")],
)
def test_data_that_changed_since_they_were_prepared_are_not_trained_on(
    train, tiny, tmp_path, file, words
):
    """A run notes the checksums of its data, so it has seen that they are right."""
    shutil.copytree(tiny, tmp_path / "data")
    array = np.load(tmp_path / "data" / file, mmap_mode="r+")
    array.reshape(-1)[0] ^= 1
    array.flush()
    places = {name: tmp_path / "data" / name for name in ("store", "partition")}
    done = train(tmp_path / "run", **places)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert not (tmp_path / "run").exists()


def test_another_seed_gives_others(train, finished, tmp_path, contents):
    done = train(tmp_path, "autoprune", "inherit", seed=4)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path)["weights.safetensors"] != contents(finished)["weights.safetensors"]


@pytest.fixture(scope="module")
def finished_long(train, tmp_path_factory):
    """A run with rounds enough that a signal sent in the third one finds it running."""
    folder = tmp_path_factory.mktemp("long")
    done = train(folder, "autoprune", "inherit", rounds=LONG)
    assert done.returncode == 0, done.stderr
    return folder


def stopped_in_round_3(command, number):
    """stderr's lines and the exit code of a command that gets a signal in its third round."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("round 2/"):
            process.send_signal(number)
    code = process.wait()
    process.stderr.close()
    return lines, code


def test_a_killed_run_goes_on_and_ends_in_the_same_bytes(
    flags, train, finished_long, tmp_path, contents
):
    words = flags(tmp_path, "autoprune", "inherit", rounds=LONG)
    _, code = stopped_in_round_3(
        [sys.executable, "-m", "autoprune.federation", *words], signal.SIGKILL
    )
    assert code == -signal.SIGKILL
    assert not (tmp_path / "history.csv").exists()
    assert (tmp_path / CHECKPOINT).exists()
    done = train(tmp_path, "autoprune", "inherit", workers=2, rounds=LONG)
    assert done.returncode == 0, done.stderr
    assert "going on after round" in done.stderr
    assert "round 1/" not in done.stderr
    assert contents(tmp_path) == contents(finished_long)


def test_a_checkpoint_of_other_settings_is_passed_over(train, finished, tmp_path, contents):
    """One of a run with another mark, and one that is no checkpoint: both start from round 1."""
    architecture = Architecture("cnn", (12, 14), (1, 28, 28), 5)
    other = Checkpoint(2, architecture, new_network(architecture, 0).state_dict(), {}, [])
    save(tmp_path / CHECKPOINT, "another run", other)
    done = train(tmp_path, "autoprune", "inherit")
    assert done.returncode == 0
    assert "of other settings, data or code; starting from round 1" in done.stderr
    assert contents(tmp_path) == contents(finished)


def test_a_damaged_checkpoint_is_set_aside_with_one_line(train, finished, tmp_path, contents):
    (tmp_path / CHECKPOINT).write_bytes((finished / "weights.safetensors").read_bytes())
    done = train(tmp_path, "autoprune", "inherit")
    assert done.returncode == 0
    first = done.stderr.splitlines()[0]
    assert f"{CHECKPOINT}: damaged (it is not what its own digest says); set aside as" in first
    assert first.endswith("starting from round 1")
    assert contents(tmp_path) == contents(finished)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_checkpoint_that_is_no_file_is_set_aside(train, finished, tmp_path, contents, kind):
    {"folder": os.mkdir, "pipe": os.mkfifo}[kind](tmp_path / CHECKPOINT)
    done = train(tmp_path, "autoprune", "inherit")
    assert done.returncode == 0
    assert f"{CHECKPOINT}: a {kind}, expected a file; set aside as" in done.stderr.splitlines()[0]
    assert (tmp_path / "checkpoint.damaged").exists() == (kind == "folder")  # with what is in it
    if kind == "folder":
        (tmp_path / "checkpoint.damaged").rmdir()
    assert contents(tmp_path) == contents(finished)


def test_reinit_draws_its_network_anew(train, finished, tmp_path, contents):
    done = train(tmp_path, "autoprune", "reinit")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "plan.json").read_text())["weights"] == "reinit"
    assert contents(tmp_path)["history.csv"] != contents(finished)["history.csv"]


def test_methods_at_one_seed_see_the_same_cohorts(train, finished, tmp_path):
    """Round 1 comes before any shrink: dense and pruned have the same loss there, to the bit."""
    done = train(tmp_path, "dense", "fedavg")
    assert done.returncode == 0, done.stderr
    dense, pruned = history(tmp_path), history(finished)
    assert dense[1]["train_loss"] == pruned[1]["train_loss"]
    assert not (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("method", "variant", "changes", "words"),
    [
        ("dense", "inherit", {}, "method dense has no 'inherit'"),
        ("magic", "fedavg", {}, "unknown 'magic'; known are autoprune, dense, dense-int8"),
        ("autoprune", "inherit", {"k": 0}, "above 0"),
        ("autoprune", "inherit", {"k": -2}, "above 0"),
        ("autoprune", "inherit", {"patience": 0}, "at least 1"),
        ("dense", "fedavg", {"widths": [12, 0]}, "widths.1: found 0, expected at least 1"),
        ("dense", "fedavg", {"widths": "12"}, "expects 2"),
        ("dense", "fedavg", {"widths": [10**9, 64]}, "found 1000000000, expected at most 65536"),
        ("dense", "fedavg", {"widths": [2**16, 2**16]}, "8.6 GB; make it narrower"),
        ("dense", "fedavg", {"k": 2}, "--settings: unknown key 'k'; known are dataset, stands_for"),
        ("autoprune", "inherit", {"tails": "high"}, "tails: found 'high'; known are both, low"),
        ("dense", "fedavg", {"model": "vgg"}, "unknown 'vgg'"),
        ("dense", "fedavg", {"target": "Male"}, "Male"),
        ("dense", "fedavg", {"rounds": 0}, "at least 1"),
        ("dense", "fedavg", {"min-clients": 0}, "at least 1"),
        ("dense", "fedavg", {"precision": "fp8"}, "precision: found 'fp8'; known are fp32, bf16"),
        ("dense", "fedavg", {"learning-rate": 0}, "above 0"),
        ("dense", "fedavg", {"store": "nowhere"}, "nowhere"),
        ("dense", "fedavg", {"learning-rate": 1e30}, "not finite"),
    ],
)
def test_wrong_input_is_one_line_and_leaves_nothing(
    train, tmp_path, method, variant, changes, words
):
    done = train(tmp_path / "out", method, variant, **changes)
    assert done.returncode != 0
    last = [line for line in done.stderr.splitlines() if not line.startswith("round ")]
    assert len(last) == 1, done.stderr
    assert words in last[0]
    left = [path.name for path in (tmp_path / "out").glob("*")]
    # a run that got as far as its rounds says there how it ended
    assert left == (["progress.json"] if words == "not finite" else [])


def test_workers_end_with_a_killed_run(flags, tmp_path):
    """Workers end with the run, also when it is killed."""
    command = [
        sys.executable,
        "-m",
        "autoprune.federation",
        *flags(tmp_path, rounds=400, workers=2),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0)
    for line in process.stderr:
        if line.startswith("round 2/"):
            break
    process.kill()
    process.wait()
    process.stderr.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and _group(process.pid):
        time.sleep(0.1)
    assert _group(process.pid) == []


def _group(leader):
    """Process ids that are left in a process group."""
    listing = subprocess.run(["ps", "-eo", "pid,pgid,stat"], capture_output=True, text=True)
    rows = [line.split() for line in listing.stdout.splitlines()[1:]]
    return [
        int(pid)
        for pid, group, state in rows
        if int(group) == leader and not state.startswith("Z") and int(pid) != os.getpid()
    ]


def test_sigterm_writes_a_checkpoint_and_says_so(flags, train, finished_long, tmp_path, contents):
    rare = {"checkpoint_every": 10 * LONG, "rounds": LONG}
    words = flags(tmp_path, "autoprune", "inherit", **rare)
    command = [sys.executable, "-m", "autoprune.federation", *words]
    lines, code = stopped_in_round_3(command, signal.SIGTERM)
    assert code == 1
    assert "written after round" in lines[-2]
    assert "stopped by SIGTERM" in lines[-1]
    done = train(tmp_path, "autoprune", "inherit", **rare)
    assert done.returncode == 0, done.stderr
    assert "going on after round" in done.stderr
    there = contents(finished_long)
    names = there.keys() - {"run.json"}  # which names checkpoint_every
    assert all(contents(tmp_path)[name] == there[name] for name in names)


def test_a_failed_client_is_left_out_and_recorded(train, tmp_path, monkeypatch):
    """A client that raises; the rounds go on without it."""
    begin = client_app.begin

    def broken(message, context):
        task = begin(message, context)
        return [][2] if task.client == 2 else task

    monkeypatch.setattr(client_app, "begin", broken)
    done = train(tmp_path / "run", clients_per_round=6)
    assert done.returncode == 0, done.stderr
    rows = history(tmp_path / "run")
    assert all(row["failures"].startswith("2: IndexError") for row in rows[1:])
    assert rows[0]["failures"] == ""
    counts = ("clients", "usable", "late", "raised", "refused")
    assert [rows[1][name] for name in counts] == ["6", "5", "0", "1", "0"]
    done = train(tmp_path / "stopped", clients_per_round=6, min_clients=6)
    assert done.returncode == 1
    assert "5 usable replies of 6, min_clients is 6; client 2: IndexError" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    os.environ.get("AUTOPRUNE_TEST_RAY") != "1",
    reason="starts Ray, which can hang; set AUTOPRUNE_TEST_RAY=1 to run it",
)
def test_flowers_simulation_gives_the_same_bytes(train, finished, tmp_path, contents):
    done = train(tmp_path, "autoprune", "inherit", backend="simulation", workers=2)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(finished)


def test_the_flower_app_knows_every_setting(flags):
    """`flwr run workflow` starts from these, and a run refuses to start without one of them."""
    app = tomllib.loads((ROOT / "workflow/pyproject.toml").read_text())["tool"]["flwr"]["app"]
    settings = Settings.from_run_config(app["config"])
    own = methods.read_settings(settings.method, settings.told())
    assert settings.with_own(own).run_config() == app["config"]
    # Flower adds to these and takes none away: what is of another method is left out
    dense = Settings.from_run_config(app["config"] | {"method": "dense", "variant": "fedavg"})
    told = dense.with_own(methods.read_settings("dense", dense.told())).run_config()
    assert app["config"].keys() - told.keys() == {"k", "patience", "cap", "tails", "statistics"}


def test_a_run_is_repeated_from_its_own_notes(finished, flags, tmp_path, contents):
    """run.json holds all that the stage must be told but files."""
    words = flags(tmp_path, "autoprune", "inherit")
    words[1] = str(finished / "run.json")
    done = run_here("autoprune.federation", *words)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(finished)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "settings.json: not valid JSON"),
        ("[]", "settings.json: expected settings by name, found []"),
        ("{}", "settings.json: key 'dataset' is missing"),
        ('{"k": 1, "k": 2}', "settings.json: key 'k' is given twice"),
    ],
)
def test_a_file_that_holds_no_settings_is_one_line(flags, tmp_path, text, words):
    path = tmp_path / "settings.json"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(words)):
        settings_of(["--settings", str(path), *flags(tmp_path)[2:]])
    if text.startswith("{"):
        with pytest.raises(
            InputError, match=re.escape(words.replace("settings.json", "--settings"))
        ):
            settings_of(["--settings", text, *flags(tmp_path)[2:]])


def test_bf16_is_another_arithmetic(train, tmp_path):
    done = train(tmp_path / "bf16", precision="bf16")
    assert done.returncode == 0, done.stderr
    reference = train(tmp_path / "fp32")
    assert reference.returncode == 0, reference.stderr
    ours, theirs = history(tmp_path / "bf16"), history(tmp_path / "fp32")
    assert ours[1]["train_loss"] != theirs[1]["train_loss"]
    assert float(ours[1]["train_loss"]) == pytest.approx(float(theirs[1]["train_loss"]), rel=0.02)


def test_ray_is_refused_from_a_path_with_a_space(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/my env/bin/python")
    with pytest.raises(InputError, match="path with a space"):
        simulation.run({}, 2, 1)


def test_two_runs_into_one_folder_are_refused(train, tmp_path):
    """The second one, before it writes anything."""
    with claimed(tmp_path):  # as a run does
        second = train(tmp_path, "autoprune", "inherit", rounds=2)
        assert second.returncode == 1
        assert f"{tmp_path}: another process is writing here" in second.stderr
        assert not list(tmp_path.iterdir())
    assert train(tmp_path, "autoprune", "inherit", rounds=2).returncode == 0


def test_a_run_of_another_data_set_than_its_stores_is_refused(train, tmp_path):
    done = train(tmp_path, dataset="femnist")
    assert done.returncode == 1
    assert "dataset: found 'femnist', the store in" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["files", "seed"])
def test_an_edited_run_json_is_refused(finished, tmp_path, key):
    """Also one that says nothing of the other files any more."""
    shutil.copytree(finished, tmp_path / "run")
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["digest"] == digest_of(about)
    del about[key]
    (tmp_path / "run/run.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match="not what its digest says"):
        check_noted(tmp_path / "run/history.csv")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda state: {}, "of another network"),
        (lambda state: {n: t * torch.nan for n, t in state.items()}, "not finite"),
        (lambda state: {n: t.reshape(-1)[:1] for n, t in state.items()}, "of another network"),
        (lambda state: {n: -t for n, t in state.items()}, "squares below 0"),
    ],
)
def test_a_carried_optimizer_of_a_bad_reply_reaches_nobody(
    flags, tmp_path, monkeypatch, damage, words
):
    """Client 1 sends it on; the others of its round go on from the client before."""
    original = client_app.reply
    made = []

    def reply(client, *others):
        made.append(client)
        return original(client, *others)

    def moments(state):
        return arrays(damage(state) if made[-1] == 1 else state)

    monkeypatch.setattr(client_app, "reply", reply)
    monkeypatch.setattr(client_app, "arrays", moments)
    told = {"optimizer_state": "carried", "clients_per_round": 6, "rounds": 2}
    settings, _ = settings_of(flags(tmp_path, **told))
    with LocalGrid(CLIENT_APP, 6, settings.run_config()) as grid:
        Run(settings, grid).execute()
    for row in history(tmp_path)[1:]:
        assert (row["usable"], row["refused"]) == ("5", "1")
        assert row["failures"].startswith("1: ")
        assert words in row["failures"]
