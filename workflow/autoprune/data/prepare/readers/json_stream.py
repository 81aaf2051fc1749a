"""JSON files too large to load: their bytes as a parser may have them."""

import re
from pathlib import Path
from typing import Any, BinaryIO

from autoprune.core.errors import InputError

NESTED = 10_000  # brackets; LEAF has 4, and the parser's memory grows with the square
# What Python's json takes and JSON does not have; `ijson` refuses it.
LITERAL = re.compile(rb"(?<![^\[,:\s])-?(?:NaN|Infinity)(?=[,\s\]}])")
LITERALS = ("NaN", "Infinity", "-Infinity")


class JsonStream:
    """A file's bytes; refuses brackets nested so deep that the parser would eat the memory."""

    def __init__(self, path: Path, stream: BinaryIO, quote: bool) -> None:
        self.path, self.stream, self.quote = path, stream, quote
        self.depth, self.rest = 0, b""

    def read(self, size: int) -> bytes:
        """The next bytes, about ``size``; with ``quote``, NaN and the like become strings."""
        data = self.stream.read(size)
        opened = data.count(b"[") + data.count(b"{")
        if self.depth + opened > NESTED:
            raise InputError(f"{self.path}: lists are nested too deep; fetch the file again")
        self.depth += opened - data.count(b"]") - data.count(b"}")
        if not self.quote or not size:
            return data
        data = self.rest + data
        cut = data.rfind(b",") + 1 if len(data) > len(self.rest) else len(data)
        self.rest = data[cut:]
        return LITERAL.sub(rb'"\g<0>"', data[:cut]) or self.read(size) if data else b""


def unquoted(value: Any) -> Any:
    """What JsonStream quoted, in a value or the lists in it, as numbers again."""
    if isinstance(value, list):
        return [unquoted(item) for item in value]
    return float(value) if isinstance(value, str) and value in LITERALS else value
