"""Federated learning with automatic structured pruning: the study behind the Snakefile."""

from contextlib import suppress
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source
from pathlib import Path
from types import CodeType

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
