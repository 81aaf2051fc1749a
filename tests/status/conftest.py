"""A study of two variants and two seeds in a folder of its own, and real runs in it."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from autoprune.check.status_runs import Study
from autoprune.study.grid import read_config
from stages import begin_stage, run_flags

ROOT = Path(__file__).resolve().parents[2]
DENSE = "tiny/cnn/dense/fedavg/seed-0"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a study in which nothing has run; the working directory."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    overlay = {
        "study": ["tiny-cnn"],
        "seeds": [0, 1],
        "methods": {"dense": ["fedavg"], "autoprune": ["reinit"]},
        "datasets": {
            "tiny": {
                "source": "glyphs",
                "stands_for": "none",
                "target": "character",
                "options": {
                    "seed": 0,
                    "clients": 6,
                    "samples": 20,
                    "test_fraction": 0.2,
                    "difficulty": 1.0,
                },
                "partition": {"scheme": "natural", "seed": 0, "min_samples": 2},
            }
        },
        "pairs": {
            "tiny-cnn": {
                "dataset": "tiny",
                "model": "cnn",
                "widths": [12, 14],
                "rounds": 4,
                "autoprune": {"k": 1.5, "patience": 3, "cap": 3},
            }
        },
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(overlay))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study(folder):
    """The study of that folder."""
    return Study(read_config(["tiny.yaml"]))


@pytest.fixture
def start(folder, tiny):
    """Start the dense run of seed 0 as a job does: ``start(rounds=4, log=True, ...)``.

    As a child of this process with ``child=True``, else of the server of stages.
    """
    started = []

    def run(log=True, child=False, **changes):
        values = {
            "dataset": "tiny",
            "store": tiny / "store",
            "partition": tiny / "partition",
            "target": "character",
            "model": "cnn",
            "widths": [12, 14],
            "method": "dense",
            "variant": "fedavg",
            "seed": 0,
            "rounds": 4,
            "clients_per_round": 3,
            "local_epochs": 1,
            "batch_size": 8,
            "learning_rate": 0.003,
            "epsilon": 1e-7,
            "min_clients": 2,
            "evaluate_every": 2,
            "checkpoint_every": 1,
            "output": f"results/runs/{DENSE}",
        }
        words = run_flags(**values | changes)
        path = folder / f"results/logs/runs/{DENSE}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path if log else os.devnull, "w") as stream:
            streams = {"stdout": stream, "stderr": stream}
            command = [sys.executable, "-m", "autoprune.federation", *words]
            process = (
                subprocess.Popen(command, **streams)
                if child
                else begin_stage("autoprune.federation", *words, **streams)
            )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def until():
    """Wait for a condition; fails after five minutes, which a busy machine may need."""

    def wait(condition):
        deadline = time.monotonic() + 300
        while not (found := condition()):
            assert time.monotonic() < deadline, condition
            time.sleep(0.05)
        return found

    return wait


class Terminal:
    """A process on a pseudo-terminal of its own, whose Ctrl-C reaches it as a user's does."""

    def __init__(self, command, folder, columns=100, lines=40, **variables):
        variables |= {"TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": str(lines)}
        self.process, self._master = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.environ.pop("NO_COLOR", None)
            os.environ.update(variables)
            os.execv(command[0], command)
        self.text = ""

    def read(self, condition=lambda text: False, seconds=300):
        """Read until a condition of the text holds, or the end; the exit code at the end."""
        deadline = time.monotonic() + seconds
        while not condition(self.text):
            assert time.monotonic() < deadline, self.text[-3000:]
            if not select.select([self._master], [], [], 0.2)[0]:
                continue
            try:
                block = os.read(self._master, 1 << 16)
            except OSError:  # Linux: the other side is closed
                block = b""
            if not block:
                return os.waitstatus_to_exitcode(os.waitpid(self.process, 0)[1])
            self.text += block.decode(errors="replace")
        return None

    def press(self, key):
        """Type a key, such as Ctrl-C."""
        os.write(self._master, key)


@pytest.fixture
def terminal(folder):
    """Start a module on a terminal in the study's folder: ``terminal(module, *words)``."""
    return lambda module, *words, **how: Terminal(
        [sys.executable, "-m", module, *words], folder, **how
    )
