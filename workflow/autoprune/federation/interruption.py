"""Ctrl-C and SIGTERM as an exception, so that a run can keep what is finished."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(BaseException):
    """SIGTERM or Ctrl-C: stop now, and keep what is finished.

    No Exception, as KeyboardInterrupt is none: a client that trains in the server's process when
    the signal comes would be taken for one that failed, and the run would go on without it.
    """


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into Interrupted inside the block.

    Only the main thread may: on Flower's runtimes, where the server runs in another, signals are
    theirs and a killed run goes on at the last regular checkpoint.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise Interrupted(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
