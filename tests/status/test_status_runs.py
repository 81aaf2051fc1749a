"""The states of runs, told from the files of real runs; the configuration is Snakemake's."""

import json
import os
import signal
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from snakemake.utils import update_config

from autoprune.check.status_runs import SILENT, Status, time_left
from autoprune.core.errors import InputError
from autoprune.federation.progress import PROGRESS, machine
from autoprune.study.config import resolve
from autoprune.study.grid import Run, read_config, runs_of

LONG = 4000  # rounds; minutes, where one takes milliseconds
STORE = "nowhere/store"


def first(study, since=None):
    return study.look(since)[0]


OVERLAYS = ["ci", "controls", "paper", "mnist methods", "femnist-leaf femnist-ablations"]


@pytest.mark.parametrize("names", OVERLAYS)
def test_the_configuration_is_the_one_that_snakemake_makes(root, names):
    files = [root / f"config/{name}.yaml" for name in names.split()]
    merged = yaml.safe_load((root / "config/config.yaml").read_text())
    for overlay in files:
        update_config(merged, yaml.safe_load(overlay.read_text()))
    resolve(merged)
    assert read_config(files, root / "config/config.yaml") == merged


def test_wrong_configurations_are_one_line(folder):
    for name, text, words in [
        ("absent.yaml", None, "absent.yaml: No such file"),
        ("list.yaml", "[1]", "list.yaml: expected keys"),
        ("broken.yaml", "a: [", "broken.yaml: not valid YAML"),
        ("seeds.yaml", "seeds: []", "seeds.yaml: seeds"),
    ]:
        if text is not None:
            (folder / name).write_text(text)
        with pytest.raises(InputError, match=words):
            read_config([name])


def test_runs_that_left_nothing_wait(study):
    assert [status.run.path for status in study.look()] == [
        "tiny/cnn/dense/fedavg/seed-0",
        "tiny/cnn/dense/fedavg/seed-1",
        "tiny/cnn/autoprune/reinit/seed-0",
        "tiny/cnn/autoprune/reinit/seed-1",
    ]
    assert {status.state for status in study.look()} == {"waiting"}
    assert first(study).rounds == 4


def test_a_run_is_seen_running_then_stopped_then_going_on(study, start, until):
    """Killed so that it can say nothing itself, and then told to stop."""
    process = start(rounds=LONG, child=True)
    assert until(lambda: first(study).state == "running")
    until(lambda: first(study).round >= 3)
    seen = first(study)
    assert seen.rounds == LONG
    assert 0 <= seen.accuracy <= 1
    assert seen.parameters > 1000
    assert seen.clients_per_second > 0
    # three clients a round: what the two speeds are made of is the same
    pace = 3 / seen.clients_per_second
    assert seen.seconds_left == pytest.approx((LONG - seen.round) * pace, rel=0.05)
    assert seen.seconds == pytest.approx(LONG * pace)
    assert seen.resumed_after == 0
    process.send_signal(signal.SIGKILL)
    until(lambda: first(study).state == "stopped")  # before it is reaped, too
    process.wait()
    stopped = first(study)
    assert stopped.round >= 3
    assert stopped.seconds_left is None
    again = start(rounds=LONG)
    until(lambda: first(study).round > first(study).resumed_after >= stopped.round - 1 > 0)
    assert first(study).state == "running"
    again.send_signal(signal.SIGTERM)
    assert again.wait(60) == 1
    assert first(study).state == "stopped"
    assert "stopped by SIGTERM" in first(study).reason


def test_a_run_that_ends_well_leaves_its_outputs_alone(study, start, folder):
    assert start(rounds=2).wait(90) == 0
    done = first(study)
    assert (done.state, done.round, done.rounds) == ("done", 2, 2)
    output = study.folder(done.run)
    assert not (output / PROGRESS).exists()
    found = json.loads((output / "evaluation.json").read_text())["validation_accuracy"]
    assert done.accuracy == found
    assert done.seconds is None
    table = folder / f"results/benchmarks/runs/{done.run.path}.tsv"
    table.parent.mkdir(parents=True)
    table.write_text("s\th:m:s\n12.5\t0:00:12\n")
    assert first(study).seconds == 12.5
    # a run.json and a killed process' progress: the files are whole, so it is done
    (output / PROGRESS).write_text("not JSON")
    assert first(study).state == "done"


@pytest.mark.parametrize("log", [True, False])
def test_a_run_that_diverges_has_failed_and_says_why(study, start, log):
    assert start(log=log, learning_rate=1e30, clients_per_round=6).wait(90) == 1
    failed = first(study)
    assert failed.state == "failed"
    assert "usable replies of 6" in failed.reason
    assert "results/" not in failed.reason
    # a Snakemake that began later is going to run it again
    assert first(study, since=time.time() + 1).state == "waiting"
    assert first(study, since=time.time() - 3600).state == "failed"


def test_a_run_that_fails_before_its_rounds_is_known_by_its_log(study, start):
    assert start(store=STORE).wait(90) != 0
    assert not study.folder(first(study).run).exists()
    assert first(study).state == "failed"
    assert STORE in first(study).reason


def test_a_job_that_loads_libraries_is_running(study, folder):
    log = study.log(study.runs[0])
    log.parent.mkdir(parents=True)
    log.write_text("")
    assert first(study).state == "running"
    os.utime(log, (0, 0))
    assert first(study).state == "waiting"


def test_on_another_machine_the_file_is_touched_or_the_run_is_dead(study, start, until):
    process = start(rounds=LONG)
    path = study.folder(study.runs[0]) / PROGRESS
    until(lambda: first(study).round >= 1)
    process.kill()
    process.wait()
    until(lambda: first(study).state == "stopped")  # it writes no more
    path.write_text(json.dumps(json.loads(path.read_text()) | {"machine": "elsewhere"}))
    assert first(study).state == "running"
    silent = time.time() - SILENT - 1
    os.utime(path, (silent, silent))
    assert first(study).state == "stopped"
    # on this one, a process that is younger than the run is another's
    here = json.loads(path.read_text()) | {"process": os.getpid(), "started": time.time()}
    path.write_text(json.dumps(here | {"machine": machine()}))
    assert first(study).state == "running"
    path.write_text(json.dumps(here | {"machine": machine(), "started": 1.0}))
    assert first(study).state == "stopped"


def status(seed, state, method="dense", pair=("tiny", "cnn"), **known):
    return Status(Run(*pair, method, "fedavg", seed), state, 10, **known)


def test_time_left_is_that_of_the_likes_shared_by_what_runs_now():
    running = status(0, "running", round=5, seconds=100.0, seconds_left=50.0)
    assert time_left([running]) == (50.0, 0)
    assert time_left([running, status(1, "waiting")]) == (150.0, 0)
    other = status(2, "running", round=5, seconds=100.0, seconds_left=50.0)
    assert time_left([running, other, status(1, "waiting")]) == (100.0, 0)
    # half of it is in the checkpoint
    assert time_left([running, status(1, "stopped", round=5)]) == (100.0, 0)
    # another method of the pair serves where its own was not measured; another pair does not
    assert time_left([running, status(1, "waiting", method="narrow")]) == (150.0, 0)
    unlike = status(1, "waiting", pair=("faces", "cnn"))
    assert time_left([running, unlike]) == (50.0, 1)
    assert time_left([status(1, "waiting")]) == (None, 1)
    assert time_left([status(1, "done", seconds=3.0)]) == (None, 0)


@given(st.lists(st.floats(1, 1e5), min_size=1, max_size=8), st.integers(0, 20))
def test_more_runs_ahead_never_take_less_time(lefts, ahead):
    running = [
        status(i, "running", seconds=left, seconds_left=left) for i, left in enumerate(lefts)
    ]
    waiting = [status(100 + i, "waiting") for i in range(ahead)]
    shorter = time_left(running + waiting)[0]
    longer = time_left([*running, *waiting, status(200, "waiting")])[0]
    assert max(lefts) <= shorter <= longer


def test_every_run_of_the_configuration_is_looked_at(study):
    assert [status.run for status in study.look()] == runs_of(study.config)
