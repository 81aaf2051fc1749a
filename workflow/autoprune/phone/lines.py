"""The lines of a log as its tool printed them, without what logcat, a console or glog put there."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from autoprune.core.errors import InputError

# What Android puts before a line: a date, year and zone or not, or seconds since 1970; then, by
# logcat's -v, threadtime, year, zone, epoch and uid: "24964 24964 I tflite  : ", brief and time:
# "I/tflite  (24964): ", tag: "I/tflite  : ", process: "I(24964) " and the tag behind the line,
# thread: "I(24964:24964) "; or Android Studio: "24964-24964  tflite  a.package  I  "
WHEN = r"(?:(?:(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\.\d+(?: [-+]\d{4})?|\d{9,}\.\d+)\s+(?:\w+\s+)?)?"
LOGCAT = re.compile(
    rf"^{WHEN}(?:(?P<pid>\d+)\s+\d+ [VDIWEF] (?P<tag>\w+) *: ?"
    r"|[VDIWEF]/(?P<tag2>\w+) *(?:\( *(?P<pid2>\d+)\))? ?: ?"
    r"|(?P<pid3>\d+)-\d+\s+(?P<tag3>\w+)\s+\S+\s+[VDIWEF]\s+"
    r"|[VDIWEF]\( *(?P<pid4>\d+)(?:: *\d+)?\) )"
)
BEHIND = re.compile(r"^(?P<text>[VDIWEF]\( *\d+\) .*)  \((?P<behind>\w+)\)$")  # of -v process
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
INFO = re.compile(r"^(?:INFO|VERBOSE|WARN|WARNING|ERROR): ")
SOURCE = re.compile(r"^\[\w+\.(?:h|cc):\d+\] ")  # what LiteRT's own log puts before a text

# no longer than a program prints them: longer ones are no numbers, and take for ever to match
NUMBER = r"[-+]?(?:\d{1,20}(?:\.\d{0,20})?|\.\d{1,20})(?:[eE][-+]?\d{1,2})?"
WHOLE = r"\d{1,9}"


def split(text: str) -> list[str]:
    """A log's lines, without colours and white space around them."""
    return [COLOUR.sub("", line).strip() for line in text.split("\n")]


def plain(line: str) -> str:
    """A line without what logcat or the console put before it, or behind it."""
    return SOURCE.sub("", INFO.sub("", LOGCAT.sub("", BEHIND.sub(r"\g<text>", line))))


def tags(lines: Sequence[str]) -> set[str]:
    """The tags that logcat gives the lines."""
    found = [match for line in lines for match in (LOGCAT.match(line), BEHIND.match(line)) if match]
    names = ("tag", "tag2", "tag3", "behind")
    return {match.groupdict().get(name) or "" for match in found for name in names}


def of_its_process(lines: Sequence[str], known: Callable[[str], bool]) -> list[str]:
    """The lines of the processes that printed a known one, and those that name no process.

    A phone's log has those of other apps too, which run networks and delegates of their own.
    """
    pids = [_pid(line) for line in lines]
    own = {pid for pid, line in zip(pids, lines, strict=True) if known(plain(line))}
    return [line for pid, line in zip(pids, lines, strict=True) if pid is None or pid in own]


def _pid(line: str) -> str | None:
    match = LOGCAT.match(line)
    places = ("pid", "pid2", "pid3", "pid4")
    return next((match[place] for place in places if match[place]), None) if match else None


def only(
    pattern: re.Pattern[str], texts: Sequence[str], name: str, convert: Callable[[str], Any] = str
) -> Any:
    """What a pattern finds, the same wherever it occurs; None where it does not.

    Raises InputError, naming the log, where two things are found.
    """
    found = {match[1] for match in map(pattern.match, texts) if match}
    if len(found) > 1:
        raise InputError(
            f"{name}: {' and '.join(sorted(found))} in one log, expected one; give a log each"
        )
    return convert(found.pop()) if found else None
