"""The SuperLink and the SuperNodes of a prepared folder as processes on this machine."""

import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path

from autoprune.core.errors import InputError
from autoprune.core.files import write_text
from autoprune.federation.submit import QUIET, Answer, flwr

UP = 120.0  # seconds that a SuperLink or a SuperNode may take to start


def split(address: str) -> tuple[str, int]:
    """Host and port; raises InputError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"address: found {address!r}, expected HOST:PORT, such as 127.0.0.1:9092")
    return host, int(port)


class Deployment:
    """The processes of a prepared folder on this machine; a context that ends them.

    With an address that is not of the loopback each runs in a network namespace of its own, linked
    to the SuperLink's alone: nothing that they send can leave the machine.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.nodes = sorted(path.name for path in self.folder.glob("node-*"))
        where = self.folder / "flwr" / "config.toml"
        if not where.is_file():
            raise InputError(f"{where}: no such file; make it with deploy prepare")
        text = where.read_text(encoding="utf-8")
        self.host, self.port = split(text.partition('address = "')[2].partition('"')[0])
        self.isolated = not self.host.startswith(("127.", "localhost"))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._mark = f"autoprune-{zlib.crc32(str(self.folder).encode()):08x}"
        self.environment = os.environ | QUIET | {"FLWR_HOME": str(self.folder / "flwr")}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        self.environment["PATH"] = path
        self._undo = ExitStack()

    def __enter__(self) -> "Deployment":
        if " " in sys.executable:
            # seen with Flower 1.41: its SuperLink answers, but never makes its database's tables
            raise InputError(
                f"Flower's SuperLink does not work from a path with a space ({sys.executable}); "
                "move the environment or use backend local"
            )
        with ExitStack() as undo:
            if self.isolated:
                undo.enter_context(self._namespaces())
            undo.callback(self.stop)
            self.start("superlink")
            self._until("the SuperLink answers", "superlink", self._register)
            for node in self.nodes:
                self.start(node)
            self.wait()
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._undo.close()

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        """A command as it runs on the machine of this name."""
        return [*(("ip", "netns", "exec", self.space(name)) if self.isolated else ()), *command]

    def space(self, name: str) -> str:
        """The network namespace of the SuperLink or of a node."""
        return f"{self._mark}-{name}"

    def start(self, name: str) -> None:
        """Start the SuperLink or a node by its script; its log is beside the script."""
        command = self.inside(name, ["sh", str(self.folder / name / "start.sh")])
        with open(self.folder / name / "log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def end(self, *names: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End some of them with what they started, and wait for that."""
        ending = [self.processes.pop(name) for name in names]
        for process in ending:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, how)
        for process in ending:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def wait(self) -> None:
        """Wait until all nodes are online; raises InputError naming a log when one is not."""
        self._until("all SuperNodes are online", "node-0", self._online)

    def stop(self) -> None:
        """End all, the nodes first: they say goodbye to the SuperLink."""
        self.end(*(name for name in self.processes if name != "superlink"))
        self.end(*self.processes)

    def flwr(self, *words: str) -> Answer:
        """What Flower's command answers on the SuperLink's machine."""
        return flwr(*words, inside=self.inside("superlink", ()), env=self.environment)

    def run(self, command: Sequence[str]) -> int:
        """A command on the SuperLink's machine, which submits to it; its exit code."""
        return subprocess.run(self.inside("superlink", command), env=self.environment).returncode

    def _until(self, what: str, name: str, happens: Callable[[], bool]) -> None:
        deadline = time.monotonic() + UP
        while not happens():
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                log = self.folder / (ended[0] if ended else name) / "log"
                raise InputError(f"{log}: it ended, or {UP:g} s passed, before {what}; see there")
            time.sleep(1)

    def _listed(self) -> dict[str, str] | None:
        """The state of each node that the SuperLink knows; None while it does not answer."""
        found = self.flwr("supernode", "list")
        if "nodes" not in found:
            return None
        return {node["node-id"]: node["status"] for node in found["nodes"]}

    def _register(self) -> bool:
        """Register the nodes that are not yet; whether the SuperLink answers."""
        known = self._listed()
        if known is None:
            return False
        for node in self.nodes:
            mark = self.folder / node / "node-id"
            if not mark.exists() or mark.read_text() not in known:
                key = self.folder / "superlink" / f"{node}.pub"
                found = self.flwr("supernode", "register", str(key))
                if "node-id" not in found:
                    raise InputError(f"{key}: not registered: {found['error-message']}")
                write_text(mark, str(found["node-id"]))
        return True

    def _online(self) -> bool:
        known = self._listed() or {}
        marks = [(self.folder / node / "node-id").read_text() for node in self.nodes]
        return all(known.get(mark) == "online" for mark in marks)

    @contextmanager
    def _namespaces(self) -> Iterator[None]:
        """A namespace for each, the nodes' linked to the SuperLink's; removed afterwards."""
        link = self.space("superlink")
        try:
            server = IPv4Address(self.host)
        except ValueError:
            raise InputError(
                f"{self.folder}: made for {self.host}; start.sh starts the SuperLink there and "
                "each node on its machine"
            ) from None
        if Path("/run/netns", link).exists():
            raise InputError(
                f"{self.folder}: runs already, or was killed: end what `ip netns pids` lists for "
                f"each {self._mark}-*, and remove those by `ip netns delete`"
            )
        with ExitStack() as stack:
            for name in ("superlink", *self.nodes):
                ip("netns", "add", self.space(name))
                stack.callback(ip, "netns", "delete", self.space(name))
                ip("-n", self.space(name), "link", "set", "lo", "up")
            ip("-n", link, "address", "add", f"{server}", "dev", "lo")
            for number, node in enumerate(self.nodes):
                own = self.space(node)
                ends = ("name", node, "netns", link), ("peer", "name", "server", "netns", own)
                ip("link", "add", *ends[0], "type", "veth", *ends[1])
                here, there = server + 1 + number, server
                for space, device, one, other in (
                    (own, "server", here, there),
                    (link, node, there, here),
                ):
                    ip("-n", space, "address", "add", str(one), "peer", str(other), "dev", device)
                    ip("-n", space, "link", "set", device, "up")
            yield


def ip(*words: str) -> None:
    """iproute2's command; raises InputError with what it says."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"ip {' '.join(words)}: {done.stderr.strip() or done.returncode}")
