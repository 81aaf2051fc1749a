"""Damaged files of every kind: each is refused in one line or read, and nothing else happens.

A fixed corpus of them is part of every test run; `make soak` draws as many as AUTOPRUNE_SOAK_INPUTS
says, 20,000 by default.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import warnings
from pathlib import Path

import files
import pytest
from damage import damaged

from autoprune.core.errors import InputError
from autoprune.federation.checkpoint import Checkpoint, save
from autoprune.models.weights import load_weights
from stages import run_flags, run_stage

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("data", "android", "federation")]

LONGEST = 60  # seconds that one file may take
CORPUS = 12  # damaged files of each kind in every test run


class TooLong(BaseException):
    """A reader did not come back in time."""


@pytest.fixture(scope="module")
def readers(tmp_path_factory, tiny):
    """Every kind of file, by name."""
    import tff_files
    from made_lab import results, times
    from made_sessions import tflite_log, write_manifests, write_session

    folder = tmp_path_factory.mktemp("soak")
    data, run = folder / "tiny", folder / "run"
    shutil.copytree(tiny, data)
    told = {
        "dataset": "tiny", "store": data / "store", "partition": data / "partition",
        "target": "character", "model": "cnn", "widths": [12, 14], "method": "autoprune",
        "variant": "inherit", "seed": 3, "rounds": 4, "clients_per_round": 3, "batch_size": 8,
        "learning_rate": 0.003, "evaluate_every": 2, "k": 1.5, "patience": 3, "cap": 3,
        "output": run,
    }  # fmt: skip
    for stage, flags in (
        ("federation", run_flags(**told)),
        (
            "measure.complexity",
            ["--architecture", run / "architecture.json", "--output", run / "complexity.json"],
        ),
    ):
        done = run_stage(f"autoprune.{stage}", *map(str, flags))
        assert done.returncode == 0, done.stderr
    architecture, state, _ = load_weights(run / "weights.safetensors")
    after = Checkpoint(2, architecture, state, json.loads((run / "plan.json").read_text()), [])
    save(run / "checkpoint.safetensors", "mark", after)
    logs = folder / "logs"
    logs.mkdir()
    (logs / "tflite.txt").write_text(tflite_log("a.tflite", 2000))
    for name in ("tables", "study", "phones", "sources"):
        (folder / name).mkdir()
    session = write_session(folder / "session")
    manifest = Path(write_manifests(folder / "manifests")[0])
    return {
        **files.of_run(run, data),
        **files.of_tables(folder / "tables", run),
        **files.of_study(folder / "study", run),
        **files.of_phones(folder / "phones", session, logs, results(times(2000)), manifest),
        **files.of_sources(folder / "sources", tff_files.write_sqlite, tff_files.femnist),
    }


def try_one(read, content):
    """Read a damaged file: "read" or "refused"; whatever else is raised goes on."""
    whole = read.file.read_bytes()
    read.file.write_bytes(content)
    try:
        signal.alarm(LONGEST)
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            read.call()
        return "read"
    except InputError:  # of which run_main makes one line
        if read.output and (read.output / "header.json").exists():
            raise ValueError("half a store") from None
        return "refused"
    finally:
        signal.alarm(0)
        read.file.write_bytes(whole)
        if read.output:
            shutil.rmtree(read.output, ignore_errors=True)


def attack(readers, each, seed, folder):
    """Damage each kind of file so often; how many were read and refused, by kind."""

    def late(number, frame):
        raise TooLong(f"no answer in {LONGEST} s")

    before, found, faults = signal.signal(signal.SIGALRM, late), {}, {}
    try:
        for name, read in readers.items():
            counts = found.setdefault(name, {"read": 0, "refused": 0})
            whole = read.file.read_bytes()
            read.call()  # undamaged, it is read
            if read.output:
                shutil.rmtree(read.output)
            for number in range(each):
                content = damaged(whole, random.Random(f"{seed}/{name}/{number}"))
                try:
                    counts[try_one(read, content)] += 1
                except (Exception, SystemExit, TooLong) as error:
                    kept = folder / f"{name.replace('/', '_')}-{number}"
                    kept.write_bytes(content)
                    kind = f"{name}: {type(error).__name__}: {str(error)[:60]}"
                    faults.setdefault(kind, []).append(str(kept))
    finally:
        signal.signal(signal.SIGALRM, before)
    said = [f"{len(kept)} x {kind} ({kept[0]})" for kind, kept in faults.items()]
    assert not faults, "\n".join(said)
    return found


def test_a_fixed_corpus_of_damaged_files_is_refused_or_read(readers, tmp_path):
    found = attack(readers, CORPUS, 0, tmp_path)
    assert len(found) >= 28
    assert sum(counts["refused"] for counts in found.values()) > 0.5 * CORPUS * len(found)


@pytest.mark.soak
def test_thousands_of_damaged_files(readers, tmp_path):
    inputs = int(os.environ.get("AUTOPRUNE_SOAK_INPUTS", "20000"))
    each = -(-inputs // len(readers))
    found = attack(readers, each, os.environ.get("AUTOPRUNE_SOAK_SEED", "soak"), tmp_path)
    for name, counts in found.items():
        print(f"{name:32}{counts['read']:7} read {counts['refused']:7} refused")
    print(f"{sum(map(sum, (c.values() for c in found.values())))} inputs, no other end")
