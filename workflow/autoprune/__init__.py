"""Federated learning with automatic structured pruning: the study behind the Snakefile.

For use outside it, each loaded when it is asked for (docs/library.md): ``load`` gives the network
of a finished run, ``prunable`` names the layers of any network that can lose filters, ``shrink``
takes them out, ``kept`` says which a plan leaves. ``AutoPrune`` is the strategy for Flower apps,
``received`` its client's end. ``InputError`` is raised for what somebody gave that is wrong.
"""

import importlib
import os
import signal
import sys
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.core.errors import InputError
    from autoprune.federation.arrays import received
    from autoprune.federation.library import AutoPrune
    from autoprune.pruning.library import kept, load, prunable, shrink

__all__ = ["AutoPrune", "InputError", "kept", "load", "prunable", "received", "shrink"]

_ELSEWHERE = {
    "AutoPrune": "federation.library",
    "InputError": "core.errors",
    "received": "federation.arrays",
}


def __getattr__(name: str) -> Any:
    """A public name; torch is loaded by those who use one."""
    if name in __all__:
        module = _ELSEWHERE.get(name, "pruning.library")
        return getattr(importlib.import_module(f"autoprune.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_code = SourceFileLoader.get_code


def _code_whole(loader: SourceFileLoader, name: str) -> CodeType | None:
    """A module's code, compiled anew where what Python keeps of it is cut, as by a full disk.

    Python itself notices only a cut within the first 16 bytes (3.11 to 3.13), and every later
    import would end in an EOFError until somebody finds the file.
    """
    try:
        return _code(loader, name)
    except (EOFError, ValueError, TypeError):  # what marshal says of half a file
        source = loader.get_filename(name)
        with suppress(OSError):  # a read-only disk
            Path(cache_from_source(source)).unlink()
            return _code(loader, name)
        return loader.source_to_code(loader.get_data(source), source)


SourceFileLoader.get_code = _code_whole  # type: ignore[method-assign,assignment]


def _stop(number: int, frame: object) -> None:
    """End in one line, which is no failure to whoever reads the log, and not in a traceback."""
    os.write(2, f"error: stopped by {signal.Signals(number).name}\n".encode())
    os._exit(128 + number)


# A stage of its own, or as a fork (study.stages), imports for seconds: until run_main its signals
# are these. A program of somebody else's that imports this package keeps its own.
_what = sys.argv[0]
if _what == "-m" and _what in sys.orig_argv:
    _what = sys.orig_argv[sys.orig_argv.index("-m") + 1]
_stage = _what.startswith(f"{__name__}.")
_before: dict[int, Any] = {}
for _number in (signal.SIGINT, signal.SIGTERM):
    if _stage and signal.getsignal(_number) in (signal.default_int_handler, signal.SIG_DFL):
        _before[_number] = signal.signal(_number, _stop)


def loaded() -> None:
    """Have signals do again what they did before the imports."""
    while _before:
        signal.signal(*_before.popitem())
