"""Work divided among processes: results in order, a fault ends it, and no process is left."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any

from autoprune.core.errors import InputError

QUEUE = 4  # items a worker that wait in the pool; few, so that a fault ends it soon

_work: Callable[[Any, Any], Any]  # of this worker process
_shared: Any  # sent once a worker, since it may be long
_stop: Event | None = None


def given_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # not Linux


def stopped() -> bool:
    """Whether the result of the work in hand is no longer wanted; it may then end early."""
    return _stop is not None and _stop.is_set()


def each(
    work: Callable[[Any, Any], Any], shared: Any, items: Sequence[Any], workers: int
) -> Generator[Any]:
    """Yield ``work(shared, item)`` of each item, in their order, by ``workers`` processes.

    With 1 no process is started; otherwise all that is given must be picklable. What ``work``
    raises for the first faulty item is raised here, whichever came first in time. Raises
    InputError when a process is killed. Close it (``contextlib.closing``) to end the processes.
    """
    workers = min(workers, len(items))
    if workers <= 1:
        yield from (work(shared, item) for item in items)
        return
    # spawn: the locks and threads of pyarrow and torch do not survive a fork
    start = multiprocessing.get_context("spawn")
    stop = start.Event()
    with ProcessPoolExecutor(workers, start, _begin, (work, shared, stop)) as pool:
        try:
            rest = iter(items)
            with _ctrl_c_later():  # the first call starts the processes
                waiting = [pool.submit(_do, i) for i in itertools.islice(rest, QUEUE * workers)]
            while waiting:
                result = waiting.pop(0).result()
                waiting += [pool.submit(_do, item) for item in itertools.islice(rest, 1)]
                yield result
        except BrokenProcessPool:
            raise InputError(
                "a process that read the data was killed, perhaps for lack of memory; "
                "give fewer --workers, or more memory"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block; processes started in it never hear it.

    It reaches them too, but it is for this one to say when to stop. And a pool with half of its
    processes, which is what an exception in between leaves, never ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which processes inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def _begin(work: Callable[[Any, Any], Any], shared: Any, stop: Event) -> None:
    global _work, _shared, _stop
    _work, _shared, _stop = work, shared, stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # An executor's worker would otherwise wait for ever for work from a parent that was killed.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(item: Any) -> Any:
    return _work(_shared, item)
