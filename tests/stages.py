"""Stages by the workflow's own server: processes that begin with the libraries loaded."""

import atexit
import importlib
import io
import json
import os
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from functools import cache

from autoprune.core.errors import run_main
from autoprune.study import stages

# another in each test, or set by grpc and sklearn once they are loaded here: the server, which has
# one environment, would refuse all that is asked after them
CHANGING = {"PYTEST_CURRENT_TEST", "GRPC_VERBOSITY", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}


def run_stage(module, *words, cwd=None, env=None, strict=False, timeout=120):
    """``python -m module words...``, finished; ``strict`` is ``-W error``.

    The rest is as of ``subprocess.run``, TimeoutExpired too.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = begin_stage(module, *words, cwd=cwd, env=env, strict=strict, **pipes)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise subprocess.TimeoutExpired(process.args, timeout, out, err) from None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def begin_stage(module, *words, env=None, strict=False, **how):
    """The Popen of ``python -m module words...``; a signal to it reaches the stage.

    ``how`` is Popen's. Of one that is killed the stage may live for some milliseconds more.
    """
    flags = ("-W", "error") if strict else ()
    variables = {k: v for k, v in (os.environ if env is None else env).items() if k not in CHANGING}
    return subprocess.Popen(
        [*python(flags, variables.get("PATH")), *flags, "-m", module, *map(str, words)],
        env=variables,
        stdin=subprocess.DEVNULL,
        process_group=0,  # so that it can be killed with what it started
        **how,
    )


def run_here(module, *words, cwd="."):
    """What ``python -W error -m module words...`` comes to, in this process.

    Its code, lines and files; a fork takes longer to import the package than most stages to work.
    Each is a process of its own in the study of ci.yaml, and where being one is what is tested.
    """
    found = importlib.import_module(module)
    if hasattr(found, "__path__"):
        found = importlib.import_module(f"{module}.__main__")
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    code = 0
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err):
        try:
            run_main(lambda _: found.main([*map(str, words)]))
        except SystemExit as end:
            code = end.code
    if isinstance(code, str):  # as the interpreter tells it
        code, _ = 1, err.write(f"{code}\n")
    for stream in (out, err):
        stream.seek(0)
    return subprocess.CompletedProcess(words, code or 0, out.read(), err.read())


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
