"""A study that is killed again and again, as a power cut would, ends with the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from autoprune.core.files import sha256_file
from copies import copy_of_the_repository, environment

pytestmark = pytest.mark.soak

KILLS = int(os.environ.get("AUTOPRUNE_SOAK_KILLS", "30"))
LONGEST = 12  # seconds until a kill; the shorter, the more of them fall into a step
# made anew each time: logs, and what was timed
TIMED = ("logs", "benchmarks", "latency")


def bytes_of(folder):
    """Every result by its path: its checksum, without logs and times and what is made of those."""
    base = folder / "results/ci"
    return {
        str(path.relative_to(base)): sha256_file(path)
        for path in base.rglob("*")
        if path.is_file()
        and path.relative_to(base).parts[0] not in TIMED
        and "latency" not in path.name
        and path.suffix not in (".html", ".zip")  # the report shows times
    }


def unplug(process):
    """Kill a command and all that it has started, its stages first, at once."""
    everybody = [process, *psutil.Process(process.pid).children(recursive=True)]
    for one in reversed(everybody):
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()


def test_a_study_that_is_killed_thirty_times_ends_with_the_same_bytes(studied, tmp_path):
    folder = copy_of_the_repository(tmp_path / "an unlucky study")
    draw, kills, starts = random.Random("kills"), 0, 0
    python = [sys.executable, "-m"]
    command = ["snakemake", "--cores", "2", "all", "--configfile", "config/ci.yaml"]
    told = {"cwd": folder, "env": environment(folder), "stdout": subprocess.DEVNULL}
    while True:
        starts += 1
        unlock = [*python, "autoprune.check.unlock"]
        subprocess.run(unlock, check=True, cwd=folder, env=environment(folder))
        process = subprocess.Popen([*python, *command], stderr=subprocess.PIPE, text=True, **told)
        until = time.monotonic() + draw.uniform(4, LONGEST)
        while kills < KILLS and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if kills < KILLS and process.poll() is None:
            unplug(process)
            process.stderr.close()
            kills += 1
            continue
        said = process.stderr.read()
        process.stderr.close()
        assert process.wait() == 0, said[-3000:]
        if kills >= KILLS:
            break
        # finished before the last kill: the study begins again
        subprocess.run(["rm", "-rf", str(folder / "results")], check=True)
    print(f"{kills} kills in {starts} starts")
    found, expected = bytes_of(folder), bytes_of(studied)
    assert found.keys() == expected.keys()
    assert {path for path in found if found[path] != expected[path]} == set()
