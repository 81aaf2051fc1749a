"""Stages as processes that begin with the libraries loaded, which takes longer than small work.

Each is a process of its own, forked by a server in which nothing but other people's libraries is
imported: a stage imports its own code, and begins and ends as `python -m` does.
"""

import atexit
import importlib
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

TRAINING = ("torch", "flwr.serverapp", "flwr.clientapp", "fvcore.nn", "safetensors.torch", "pandas")
EXPORTING = (*TRAINING, "torch.export", "torch._dynamo", "onnxscript", "onnxruntime.quantization")
PUBLISHING = ("pandas", "scipy.special", "seaborn", "tabulate", "yaml")
WORKFLOW = ("snakemake.cli", "snakemake.dag", "yaml")


def run_stage(module, *words, libraries=PUBLISHING, cwd=None, env=None, strict=False, timeout=120):
    """``python -m module words...``, finished, begun with ``libraries`` loaded.

    ``strict`` is ``-W error``; the rest is as of ``subprocess.run``, TimeoutExpired too.
    """
    command = [module, *map(str, words)]
    with tempfile.TemporaryDirectory() as folder:
        streams = [Path(folder, name) for name in ("stdout", "stderr")]
        request = {
            "libraries": libraries,
            "command": command,
            "place": str(cwd or Path.cwd()),
            "variables": dict(os.environ if env is None else env),
            "streams": [str(path) for path in streams],
        }
        server = _server(strict)
        print(json.dumps(request), file=server.stdin, flush=True)
        in_time = select.select([server.stdout], [], [], timeout)[0]
        reply = server.stdout.readline() if in_time else ""
        if not reply:
            _end(server)
            _server.cache_clear()
        out, err = (path.read_text() if path.exists() else "" for path in streams)
    if not in_time:
        raise subprocess.TimeoutExpired(command, timeout, out, err)
    assert reply, "the server of stages has died"
    return subprocess.CompletedProcess(command, int(reply), out, err)


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
def _server(strict):
    """This process's server, which lives as long as it; one that is strict is another."""
    server = subprocess.Popen(
        [sys.executable, *(["-W", "error"] if strict else []), __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that it can be killed with what it started
    )
    atexit.register(_end, server)
    return server


def _end(server):
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    for stream in (server.stdin, server.stdout):
        stream.close()


def serve():
    """Answer requests with exit codes; returns the module to run, in a process that is to be it."""
    for line in sys.stdin:
        request = json.loads(line)
        for name in request["libraries"]:
            importlib.import_module(name)
        child = os.fork()
        if child == 0:
            return _become(**request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def _become(libraries, command, place, variables, streams):
    """Make this process what ``python -m`` begins with."""
    for number, name in enumerate((os.devnull, *streams)):
        descriptor = os.open(name, os.O_RDWR | (os.O_CREAT if number else 0))
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = command
    asked = [path for path in variables.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:1] = [place, *asked]
    return command[0]


def _live(module):
    """Run the module; end as the interpreter does, but for freeing torch, which takes a second."""
    code = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
        if not isinstance(code, int):
            print(code or "", file=sys.stderr, end="\n" if code else "")
            code = int(code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__" and (module := serve()):
    _live(module)
