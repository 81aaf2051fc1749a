"""What is said of jobs that failed: the error, the end of the log, the command to run again."""

import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TAIL = 1 << 16  # bytes of a log that are looked at
SHOWN = 8  # lines of a log that are shown
IN_FULL = 5  # jobs; of more than these only the error is shown
# a stage's own line, argparse's, the last line of a traceback, or a verdict of verify
ERROR = re.compile(
    r"^(?:[\w.]+: )?error: |^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b|^interrupted$"
    r"|^[A-Z][A-Z ]+: "
)
# a run's own words, or those of a job that was stopped while it loaded its libraries
STOPPED = re.compile(r"\bstopped by SIG[A-Z]+$|^KeyboardInterrupt\b|^interrupted$")


@dataclass(frozen=True)
class Failure:
    """A job that failed: its name for people, a file that it should have made, its log.

    ``reason`` is for a job that has no log with an error at its end.
    """

    name: str
    output: str
    log: str = ""
    reason: str = ""


def last_lines(log: str | Path, number: int = SHOWN) -> list[str]:
    """The last lines of a log that are not empty; none where there is no log."""
    try:
        with open(log, "rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - TAIL))
            text = stream.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    return [line for line in lines if line][-number:]


def last_error(log: str | Path) -> str:
    """The error with which a log file ends; "" where it does not, or is not there."""
    return error_of(last_lines(log, 1))


def error_of(lines: Sequence[str]) -> str:
    """The error with which a log ends; "" where it does not end in one."""
    return lines[-1] if lines and ERROR.match(lines[-1]) else ""


def is_stop(error: str) -> bool:
    """Whether an error says that the job was told to stop: no failure, it will go on."""
    return bool(STOPPED.search(error))


def command(output: str, cores: int | str, configfiles: Sequence[str] = ()) -> str:
    """What makes a file again, to be pasted into a shell in the study's folder."""
    python = Path(sys.executable)
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    words = [str(python), "-m", "snakemake", "--cores", str(cores)]
    if configfiles:
        words += ["--configfile", *configfiles]
    return shlex.join([*words, "--", output])


def describe(
    failures: Sequence[Failure], cores: int | str, configfiles: Sequence[str] = ()
) -> list[str]:
    """The lines that say what failed and what to do; none for no failure."""
    lines = []
    for position, failure in enumerate(failures):
        tail = last_lines(failure.log) if failure.log else []
        error = error_of(tail)
        lines += [
            "",
            failure.name,
            f"  {error or failure.reason or 'ended without saying why: killed, or out of memory'}",
        ]
        if position < IN_FULL:
            before = tail[:-1] if error else tail
            lines += [f"  log: {failure.log or 'none'}{', which ends in' if before else ''}"]
            lines += [f"    | {line}" for line in before]
        lines += ["  again:", f"    {command(failure.output, cores, configfiles)}"]
    if failures:
        count = f"{len(failures)} job{'s' * (len(failures) > 1)} failed."
        rest = "What is done stays; the same command as before takes up the rest."
        lines = ["", f"{count} {rest}", *lines]
    return lines
