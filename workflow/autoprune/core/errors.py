"""Wrong input ends in one line on stderr and exit code 1, never in a traceback."""

import sys
from collections.abc import Callable, Sequence


class InputError(Exception):
    """Something the user gave is wrong; the message is one line that says what to do.

    The line names the file, the key or row, what was found and what was expected.
    """


def run_main(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a stage's ``main(argv)`` as a command; an InputError becomes one line and exit code 1."""
    try:
        main(None)
    except InputError as error:
        sys.exit("error: " + " ".join(str(error).split()))
    except KeyboardInterrupt:
        sys.exit("interrupted")
