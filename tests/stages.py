"""Stages by the workflow's own server: processes that begin with the libraries loaded."""

import atexit
import json
import os
import signal
import subprocess
import sys
from functools import cache

from autoprune.study import stages


def run_stage(module, *words, cwd=None, env=None, strict=False, timeout=120):
    """``python -m module words...``, finished; ``strict`` is ``-W error``.

    The rest is as of ``subprocess.run``, TimeoutExpired too.
    """
    flags = ("-W", "error") if strict else ()
    command = [*flags, "-m", module, *map(str, words)]
    variables = dict(os.environ if env is None else env)
    variables.pop("PYTEST_CURRENT_TEST", None)  # another in each test: the server would refuse
    process = subprocess.Popen(
        [*python(flags, variables.get("PATH")), *command],
        cwd=cwd,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,  # so that it can be killed with what it started
    )
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise subprocess.TimeoutExpired(command, timeout, out, err) from None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


# of a run, where a test does not say otherwise
USUAL = {
    "stands_for": "none",
    "local_epochs": 1,
    "epsilon": 1e-7,
    "precision": "fp32",
    "optimizer_state": "fresh",
    "batch_norm": "refreshed",
    "min_clients": 1,
    "checkpoint_every": 1,
}
FILES = ("store", "partition", "output", "plan", "dense", "backend", "workers")


def run_flags(**values):
    """The command line of a run: its files as flags, all else as settings."""
    values = USUAL | {name.replace("-", "_"): value for name, value in values.items()}
    words = [w for name in FILES if name in values for w in (f"--{name}", str(values[name]))]
    settings = {name: value for name, value in values.items() if name not in FILES}
    return ["--settings", json.dumps(settings), *words]


@cache
def python(flags, path):
    """What stands for the interpreter: the client of this process's server with these flags.

    A server has one environment; of PATH, in which tests differ, each has its own.
    """
    server = stages.start(flags)
    if server is None:
        return [sys.executable]
    atexit.register(server.stop)
    return server.client
