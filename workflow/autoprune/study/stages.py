"""Stages as forks of a server that has the libraries loaded, which takes longer than small work.

A job of `snakemake` finds here, before the interpreter, a `python` that hands `python -m MODULE`
to the server (``stage_client``), whose fork takes over the job's streams, folder, variables and
process group, and imports its own code. What it cannot do as `python -m` would, it leaves to that.
Only a socket in the user's own folder listens. The server ends with Snakemake, were it killed.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

TRAINING = ("torch", "flwr.serverapp", "flwr.clientapp", "safetensors.torch", "fvcore.nn", "numba")
ONNX = ("torch.onnx._internal.exporter._core", "onnxscript.function_libs.torch_lib.ops")
EXPORTING = (*ONNX, "torch.export._trace", "networkx")
TABLES = ("pandas", "pydantic.main", "scipy.special", "tabulate")
FILES = ("matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "fontTools.subset")
DRAWING = ("seaborn", *FILES)
# What is loaded before a stage is forked, by the longest name that its module begins with: what
# `python -X importtime -m` of the stages names, and other people's alone. Not onnxruntime, which
# starts a thread: only the thread that forks lives on in the fork.
LIBRARIES: dict[str, tuple[str, ...]] = {
    "autoprune.check": TABLES,
    "autoprune.evidence": (*TABLES, "scipy.stats"),
    "autoprune.federation": TRAINING,
    "autoprune.measure": TRAINING,
    "autoprune.measure.export": (*TRAINING, *EXPORTING),
    "autoprune.measure.latency_host": ("onnx", "torch"),
    "autoprune.measure.metrics": ("pandas", "pydantic.main"),
    "autoprune.phone": TABLES,
    "autoprune.publish": (*TABLES, *DRAWING),
    "snakemake": ("snakemake.cli", "snakemake.dag", "yaml"),
}
# in these the jobs of one workflow differ; any other may say how a library is loaded
OWN = {"_", "PWD", "OLDPWD", "SHLVL", "PYTHONPATH", "TMPDIR", "TMP", "TEMPDIR", "TEMP"}
LONGEST = 100  # bytes of a socket's path; Linux takes 107
PATIENCE = 60.0  # seconds in which a stage that is told to stop may write its checkpoint


def start(flags: tuple[str, ...] = ()) -> "Server | None":
    """Start a server that ends with this process; None where there can be none.

    Other systems than Linux have libraries that do not survive a fork. ``flags`` are the
    interpreter's, for the stages too. AUTOPRUNE_STAGE_SERVER=0 in the environment turns it off.
    """
    if sys.platform != "linux" or os.environ.get("AUTOPRUNE_STAGE_SERVER") == "0":
        return None
    try:
        return Server(flags)
    except OSError:
        return None


class Server:
    """A server of stages, seen by the process that it ends with."""

    def __init__(self, flags: tuple[str, ...]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="stages-"))
        if len(os.fsencode(self.folder)) > LONGEST - len("/socket"):
            self.folder.rmdir()
            self.folder = Path(tempfile.mkdtemp(prefix="stages-", dir="/tmp"))
        client = Path(__file__).with_name("stage_client.py")
        self.client = [sys.executable, "-I", "-S", str(client), str(self.folder / "socket")]
        try:
            python = self.folder / "python"
            python.write_text(f'#!/bin/sh\nexec {shlex.join(self.client)} "$@"\n')
            python.chmod(0o700)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(self.folder / "socket"))
                listener.listen(1024)
                self.process = subprocess.Popen(
                    [sys.executable, *flags, __file__, str(listener.fileno()), *flags],
                    env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},  # a stage's own
                    stdin=subprocess.PIPE,  # closed when this process ends, however it does
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[listener.fileno()],
                    process_group=0,  # Ctrl-C is for the stages
                )
        except OSError:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def stop(self) -> None:
        """End it, and what it runs; the folder goes with it."""
        self.process.communicate()
        shutil.rmtree(self.folder, ignore_errors=True)  # where it was killed


class Stages:
    """The server's side: stages by the connection of the client that waits for each."""

    def __init__(self, listener: socket.socket, flags: list[str]) -> None:
        self.listener, self.flags = listener, flags
        self.folder = Path(listener.getsockname()).parent
        self.running: dict[socket.socket, tuple[int, Path]] = {}
        self.variables: dict[str, str] | None = None  # those that the libraries were loaded with
        self.loaded: set[str] = set()
        self.child_ended, alarm = socket.socketpair()
        self.own = [listener, self.child_ended, alarm]
        for end in (self.child_ended, alarm):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(alarm.fileno())
        self.selector = selectors.DefaultSelector()
        for source in (0, listener, self.child_ended):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Fork stages until standard input ends; returns the request in a fork, None in the end."""
        while True:
            for key, _ in self.selector.select():
                if key.fd == 0:
                    self.end()
                    return None
                if key.fileobj is self.child_ended:
                    self.child_ended.recv(4096)
                    self.reap()
                elif key.fileobj is self.listener:
                    if request := self.accept():
                        return request
                else:
                    self.hear(key.fileobj)  # type: ignore[arg-type]

    def accept(self) -> dict[str, Any] | None:
        """Fork what a client asks for, or hang up on it; returns the request in the fork."""
        link, _ = self.listener.accept()
        streams: list[int] = []
        try:
            link.settimeout(10)
            size, streams, *_ = socket.recv_fds(link, 8, 3)
            with link.makefile("rb") as body:
                request = json.loads(body.read(int.from_bytes(size, "big")))
            if self.fits(request) and self.fork(request, [*streams, link]):
                return request
        except (OSError, ValueError):  # a client that is no more
            pass
        finally:
            for stream in streams:
                os.close(stream)
        if link not in self.running:
            link.close()
        return None

    def fork(self, request: dict[str, Any], given: list[Any]) -> bool:
        """Start a stage for the client at the end of ``given``; whether this is the fork."""
        link = given[-1]
        child = os.fork()
        if child == 0:
            self.become(request, given)
            return True
        try:
            # before the client hears of it: from then on a Ctrl-C is for the fork
            os.setpgid(child, request["group"])
        except OSError:  # of another session
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        self.running[link] = child, self.folder / "-".join(map(str, request["client"]))
        self.selector.register(link, selectors.EVENT_READ)
        self.note(link, {"pid": child})
        with suppress(OSError):
            link.send(f"{child}\n".encode())
        return False

    def fits(self, request: dict[str, Any]) -> bool:
        """Whether a fork would be as `python -m`; loads the libraries where it would."""
        variables = {k: v for k, v in request["variables"].items() if k not in OWN}
        # how many threads a library has is settled when it is loaded
        if request["flags"] != self.flags or variables.get("OMP_NUM_THREADS") != "1":
            return False
        if self.variables is None:
            self.variables = variables
            os.environ.clear()
            os.environ.update(variables)
        if variables != self.variables:
            return False
        names = [n for n in LIBRARIES if f"{request['command'][0]}.".startswith(f"{n}.")]
        missing = set(LIBRARIES[max(names, key=len)] if names else ()) - self.loaded
        for library in sorted(missing):
            with suppress(Exception):  # the stage will say what is wrong with it
                importlib.import_module(library)
        if missing:
            self.loaded |= missing
            gc.collect()
            gc.freeze()  # forks share the pages of what is never looked at
        return True

    def become(self, request: dict[str, Any], given: list[Any]) -> None:
        """Make this fork what `python -m` begins with."""
        with suppress(OSError):  # as the server does, whoever is first; if neither can, it kills us
            os.setpgid(0, request["group"])
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in request["ignored"]:
            signal.signal(number, signal.SIG_IGN)
        if signal.SIGINT not in request["ignored"]:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        out: Any = sys.stdout  # errors as run_main wants them, which cannot set them for a pipe
        out.reconfigure(errors="backslashreplace", line_buffering=os.isatty(given[1]))
        for number, stream in enumerate(given[:3]):
            os.dup2(stream, number)
        self.selector.close()
        for link in (*self.own, *self.running, given[3]):
            link.close()
        os.umask(request["umask"])
        os.chdir(request["place"])
        os.environ.clear()
        os.environ.update(request["variables"])
        tempfile.tempdir = None
        asked = request["variables"].get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [request["place"], *filter(None, asked)]
        sys.argv = request["command"]

    def hear(self, link: socket.socket) -> None:
        """Pass on the signal that a client got; of a client that was killed, kill the stage."""
        if link not in self.running:  # it ended in this very moment
            return
        try:
            number = link.recv(1)
        except OSError:
            number = b""
        os.kill(self.running[link][0], number[0] if number else signal.SIGKILL)
        if not number:
            self.selector.unregister(link)

    def reap(self) -> None:
        """Tell clients how their stages ended."""
        for link, (child, _) in list(self.running.items()):
            ended, status, used = os.wait4(child, os.WNOHANG)
            if not ended:
                continue
            self.note(link, {"cpu": used.ru_utime + used.ru_stime, "rss": used.ru_maxrss / 1024})
            del self.running[link]
            with suppress(KeyError, ValueError):
                self.selector.unregister(link)
            with suppress(OSError):
                link.send(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            link.close()

    def note(self, link: socket.socket, facts: dict[str, Any]) -> None:
        """Leave for Snakemake's benchmark what a client's stage is, or what it used."""
        with suppress(OSError):
            new = self.running[link][1].with_suffix(".new")
            new.write_text(json.dumps(facts), encoding="utf-8")
            new.replace(self.running[link][1])

    def end(self) -> None:
        """Snakemake has ended: so do its stages, in their own way while there is time."""
        for number, seconds in ((signal.SIGTERM, PATIENCE), (signal.SIGKILL, 5.0)):
            for child, _ in self.running.values():
                os.kill(child, number)
            until = time.monotonic() + seconds
            while self.running and time.monotonic() < until:
                time.sleep(0.02)
                self.reap()
        shutil.rmtree(self.folder, ignore_errors=True)


def main() -> None:
    """The server: its listening socket's number, then the flags that this interpreter has."""
    del sys.path[0]  # this folder: the modules here are not for others to find
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = [1]
    atexit.register(leave, code)  # first, so that it comes last
    request = Stages(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]).serve()
    if request:
        try:
            runpy.run_module(request["command"][0], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code[0] = end.code if isinstance(end.code, int) else int(end.code is not None)
            raise
    code[0] = 0


def leave(code: list[int]) -> None:
    """End without freeing the libraries object by object, which takes as long as to load them."""
    with suppress(OSError):  # the interpreter says it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code[0] & 0xFF)


if __name__ == "__main__":
    main()
