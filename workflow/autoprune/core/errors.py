"""Wrong input ends in one line on stderr and exit code 1, never in a traceback."""

import io
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import autoprune

# control characters, and those that turn the direction of writing
STEERS = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class InputError(Exception):
    """Something the user gave is wrong; the message is one line that says what to do.

    The line names the file, the key or row, what was found and what was expected.
    """


def shown(text: str) -> str:
    """Text as a terminal may have it: what would steer one, such as colours, as an escape."""
    return STEERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def run_main(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a stage's ``main(argv)`` as a command; an InputError becomes one line and exit code 1.

    What the terminal's encoding cannot show is written as Python writes it.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # as stderr does by itself
        with suppress(OSError):  # a fork of the server of stages has a pipe where a file was
            sys.stdout.reconfigure(errors="backslashreplace")
    try:
        autoprune.loaded()
        main(None)
    except InputError as error:
        sys.exit("error: " + shown(" ".join(str(error).split())))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
