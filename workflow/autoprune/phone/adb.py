"""One phone behind adb: choose it, push files and check their bytes, run commands on it."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file

FOLDER = "/data/local/tmp/autoprune"  # the one place that adb's user may execute from
TIMEOUT_S = 300.0  # of one command; a benchmark ends itself after 60 s
HELP = "see docs/how-to/on-a-phone.md"
# what adb devices says beside a serial, and what to do
STATES = {
    "unauthorized": "unlock the phone and accept its question `Allow USB debugging?`",
    "offline": "unplug the cable, plug it in again",
    "no permissions": "give your user access to the phone (Debian: package "
    "android-sdk-platform-tools-common, group plugdev)",
    "authorizing": "wait a moment and start again",
    "recovery": "start Android on the phone",
    "sideload": "start Android on the phone",
    "bootloader": "start Android on the phone",
}


class ConnectionLost(InputError):
    """The phone no longer answers; ``out`` is what it printed until then."""

    def __init__(self, message: str, out: bytes = b"") -> None:
        super().__init__(message)
        self.out = out


@dataclass(frozen=True)
class Done:
    """A finished command: exit code, what it printed on stdout, on stderr."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """The output without white space around it."""
        return self.out.decode(errors="replace").strip()


def find_adb(given: str | None) -> str:
    """The adb program: the given path, or that of the PATH; raises InputError without one."""
    found = shutil.which(given or "adb")
    if found is None:
        raise InputError(
            f"{given or 'adb'}: no such program; install Android's platform-tools (Debian: apt "
            "install adb) or give --adb PATH"
        )
    return found


class Adb:
    """adb for the phone with this serial."""

    def __init__(self, program: str, serial: str) -> None:
        self.program, self.serial = program, serial

    def call(self, *args: str, timeout: float = TIMEOUT_S) -> Done:
        """Run ``adb -s SERIAL args``; raises ConnectionLost when it fails for want of a phone."""
        try:
            done = call(self.program, "-s", self.serial, *args, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            message = f"adb {args[0]}: no answer from the phone in {timeout:g} s"
            raise ConnectionLost(message, error.stdout or b"") from None
        if done.code == 0 or args[0] == "get-state":
            return done
        # adb's own `error: closed`, even if the phone is back already; or it is gone
        if done.err.startswith(b"error: ") or not self.connected():
            raise ConnectionLost(f"adb {args[0]}: the connection to the phone is lost", done.out)
        return done

    def connected(self) -> bool:
        """Whether the phone still answers."""
        try:
            return self.call("get-state", timeout=20).text == "device"
        except ConnectionLost:
            return False

    def shell(self, command: str) -> str:
        """What a command prints on the phone; raises InputError when it fails."""
        done = self.try_shell(command)
        if done.code != 0:
            said = (done.err or done.out).decode(errors="replace").strip()
            raise InputError(f"adb shell {command}: exit code {done.code}: {said[-300:]}; {HELP}")
        return done.text

    def try_shell(self, command: str) -> Done:
        """Run a command on the phone, whether it succeeds or not."""
        return self.call("shell", command)

    def push(self, path: Path, name: str, sha256: str | None = None) -> str:
        """Copy a file to the phone, always, and compare its SHA-256 there; returns that.

        Equal names and sizes on the phone say nothing: another model may lie there. Raises
        InputError when the bytes that arrived are not the file's, or not ``sha256``.
        """
        expected = sha256 or sha256_file(path)
        place = f"{FOLDER}/{name}"
        done = self.call("push", str(path), place)
        if done.code != 0:
            said = (done.err or done.out).decode(errors="replace").strip()
            raise InputError(f"{path}: adb push failed: {said[-300:]}; free space on the phone?")
        found = self.shell(sha256_command(name)).split(" ")[0]
        if found != expected:
            raise InputError(
                f"{path}: the phone has SHA-256 {found[:16]}..., expected {expected[:16]}...; "
                "free space on the phone, or export the model again"
            )
        return found


def sha256_command(name: str) -> str:
    """The phone's command for the checksum of a pushed file."""
    return f"sha256sum {shlex.quote(f'{FOLDER}/{name}')}"


def call(program: str, *args: str, timeout: float = TIMEOUT_S) -> Done:
    """Run a program; its output as bytes, for what a tool prints is kept as it is."""
    try:
        done = subprocess.run(
            [program, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise InputError(f"{program}: cannot be started ({error.strerror})") from None
    return Done(done.returncode, done.stdout, done.stderr)


def connect(program: str, serial: str | None) -> Adb:
    """The one phone there is, or the one with this serial; raises InputError otherwise."""
    try:
        done = call(program, "devices", timeout=60)
    except subprocess.TimeoutExpired:
        raise InputError(f"{program} devices: no answer in 60 s; try `adb kill-server`") from None
    if done.code != 0:
        said = done.err.decode(errors="replace").strip()
        raise InputError(f"{program} devices: exit code {done.code}: {said[-300:]}")
    return Adb(program, choose(listed(done.text), serial))


def listed(text: str) -> dict[str, str]:
    """State by serial, of the output of ``adb devices``."""
    _, _, rows = text.partition("List of devices attached")
    found = (re.split(r"\s+", row.strip(), maxsplit=1) for row in rows.splitlines() if row.strip())
    return {parts[0]: parts[1] if len(parts) > 1 else "unknown" for parts in found}


def choose(states: dict[str, str], serial: str | None) -> str:
    """The serial to use; raises InputError unless exactly one phone is ready or named."""
    if not states:
        raise InputError(
            "adb devices: found no phone, expected one; plug it in with a data cable and turn on "
            f"USB debugging ({HELP})"
        )
    if serial is not None and serial not in states:
        raise InputError(f"--serial: found no {serial} among the phones {_names(states)}")
    ready = [name for name, state in states.items() if state == "device"]
    if serial is not None:
        ready = [name for name in ready if name == serial]
    if len(ready) > 1:
        raise InputError(
            f"adb devices: found {len(ready)} phones ({_names(ready)}), expected one; unplug the "
            "others or give --serial"
        )
    if not ready:
        name, state = next((n, s) for n, s in states.items() if serial in (None, n))
        advice = next((text for key, text in STATES.items() if state.startswith(key)), HELP)
        raise InputError(f"adb devices: the phone {name} is `{state}`, expected `device`; {advice}")
    return ready[0]


def _names(serials: Sequence[str] | dict[str, str]) -> str:
    return ", ".join(sorted(serials))
