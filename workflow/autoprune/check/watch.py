"""Snakemake with the study's state below its lines: what `make` runs.

    python -m autoprune.check.watch --cores 8 all --configfile config/paper.yaml

Every word goes to Snakemake, and so does its exit code come from it. Where no terminal can be
redrawn (a pipe, CI) this process becomes Snakemake and adds nothing. Ctrl-C stops Snakemake and its
jobs, which keep what is finished; SIGTERM lets them finish first, as Snakemake does.
"""

import argparse
import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from autoprune.check.failures import is_stop, last_error
from autoprune.check.status import is_live, screen
from autoprune.check.status_runs import Study, working_since
from autoprune.check.status_view import view
from autoprune.core.errors import InputError, run_main
from autoprune.study.grid import read_config

LOOK = 2.0  # seconds between looks at the runs' files
# what Snakemake says of its own doings; each line that is not known here is shown
USUAL = re.compile(
    r"^(Using (workflow specific )?profile|Config file .* is extended|Workflow defines that rule"
    r"|Assuming unrestricted shared|Building DAG|Using shell|Provided cores|Rules claiming more"
    r"|Singularity containers|host:|Select jobs to execute|Execute \d+ jobs|Finished jobid"
    r"|\[.*\d\d:\d\d:\d\d \d{4}\]$|Touching output file|$)"
)
STEPS = re.compile(r"^\d+ of \d+ steps \(\d+%\) done$")
END = re.compile(r"^(\d+ jobs? failed\.|Stopped before its end)")
FAILED = re.compile(r"^RuleException:$")
FAILED_END = re.compile(
    r"(?:(?:>|tee )(\S+\.log)(?: 2>&1)?' )?(?:returned non-zero exit status|(died with) <Signals)"
)


class Sieve:
    """Snakemake's lines, less the usual ones; of a failure one line, as more is said at the end."""

    def __init__(self) -> None:
        self.steps = ""
        self._ending = False
        self._held: list[str] = []

    def shown(self, line: str) -> list[str]:
        """What to show for a line: itself, nothing, or what it ends."""
        self._ending = self._ending or bool(END.match(line))
        if self._ending:
            return [line]
        if self._held or FAILED.match(line):
            self._held.append(line)
            end = FAILED_END.search(line)
            if end is None and len(self._held) < 200:
                return []
            held, self._held = self._held, []
            if not end or not end[1]:
                return held
            stopped = end[2] or is_stop(last_error(end[1]))
            return [f"a job {'was stopped' if stopped else 'failed'}: {end[1]}"]
        if STEPS.match(line):
            self.steps = line
            return []
        return [] if USUAL.match(line) else [line]

    def rest(self) -> list[str]:
        """What was held back for an end that never came."""
        return self._held


def command(words: Sequence[str]) -> list[str]:
    """Snakemake with these words, on this interpreter."""
    return [sys.executable, "-m", "snakemake", *words]


def configfiles(words: Sequence[str]) -> list[str]:
    """The overlays among Snakemake's words."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", action="extend", default=[])
    return parser.parse_known_args(list(words))[0].configfile


def end_with_parent() -> None:
    """In the child on Linux: SIGTERM when the parent dies, were it by SIGKILL."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


class Child:
    """Snakemake in a process group of its own, so that each signal reaches it once, from here."""

    def __init__(self, words: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            process_group=0,
            preexec_fn=end_with_parent,
        )
        assert self.process.stdout is not None
        self.output = self.process.stdout
        os.set_blocking(self.output.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.output, selectors.EVENT_READ)
        self._partial = b""
        self.stopping = ""
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGTSTP, self._pause)

    def _stop(self, number: int, frame: object) -> None:
        """Pass a signal on: to the jobs as well, unless they shall finish."""
        if number == signal.SIGTERM:
            self.stopping = "Snakemake lets the jobs that run finish, then stops."
            self._send(signal.SIGTERM, group=False)
        else:
            self.stopping = "Stopping; what is finished is kept."
            self._send(signal.SIGINT)

    def _pause(self, number: int, frame: object) -> None:
        """Ctrl-Z: all of it stands still until `fg`."""
        self._send(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._send(signal.SIGCONT)

    def _send(self, number: int, *, group: bool = True) -> None:
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.process.pid, number)

    def wait(self) -> int:
        """Snakemake's exit code; were it killed, its jobs are told to stop."""
        code = self.process.wait()
        if code < 0:
            self._send(signal.SIGTERM)
            return 128 - code
        return code

    def lines(self, seconds: float) -> tuple[list[str], bool]:
        """The lines that come within some seconds, at once when there are any; whether all came."""
        over = False
        if self._selector.select(seconds):
            block = self.output.read(1 << 16)
            over = block == b""
            self._partial += block or b""
        elif self.process.poll() is not None:  # killed, while its jobs hold the pipe open
            over = True
        *whole, self._partial = self._partial.split(b"\n")
        if over and self._partial:
            whole.append(self._partial)
        return [line.decode(errors="replace").rstrip("\r") for line in whole], over


def watch(study: Study, words: Sequence[str], console: Console) -> int:
    """Run Snakemake below a live view of the study; its exit code."""
    child, sieve = Child(words), Sieve()
    over, looked = False, 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not over:
            lines, over = child.lines(LOOK)
            for line in lines:
                for shown in sieve.shown(line):
                    live.console.print(Text(shown), soft_wrap=True)
            if time.monotonic() - looked >= LOOK and not over:
                looked = time.monotonic()
                live.update(picture(study, child, sieve, console), refresh=True)
        for shown in sieve.rest():
            live.console.print(Text(shown), soft_wrap=True)
    return child.wait()


def picture(study: Study, child: Child, sieve: Sieve, console: Console) -> Group:
    """The view below Snakemake's lines."""
    foot = child.stopping or " ".join(["Ctrl-C stops and keeps what is finished.", sieve.steps])
    statuses = study.look(working_since(Path.cwd()))
    shown = view(statuses, console.width, rows=console.height - 1)
    return Group(shown, Text(foot, "yellow" if child.stopping else "dim", no_wrap=True))


def main(argv: Sequence[str] | None) -> None:
    """The command; exits as Snakemake does."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        study = Study(read_config(configfiles(words))) if is_live() else None
    except InputError:  # Snakemake says it, in its own way
        study = None
    if study is None:
        os.execv(sys.executable, command(words))
    sys.exit(watch(study, words, screen()))


if __name__ == "__main__":
    run_main(main)
