"""How this package's functions are compiled: once for each processor, and kept for later runs."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

OPTIONS = {
    "nogil": True,
    "fastmath": {"contract"},
    "error_model": "numpy",
    "boundscheck": False,
}
SOURCES = hashlib.sha256(
    b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()

# a function that compiled ones alone call: kept with these
inner = numba.njit(**OPTIONS)


def jit(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for arguments of these types, at its import.

    One thread and one order of sums: the same bits in each process. "contract" alone lets a product
    and a sum round once, as the processor's own instruction does; sums keep their order, and what
    is not a number stays so. What was compiled lies beside the source, or in the user's own cache
    where nothing can be written there; it is made anew when any file of this package changes.
    """

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        found = numba.njit(**OPTIONS)(function)
        try:
            found.enable_caching()
            # numba itself knows the function's own file alone, not what is called in others
            found._cache._cache_file._source_stamp = SOURCES
        except RuntimeError:  # nowhere to keep it: each process then compiles for itself
            pass
        found.compile(signature)
        found.disable_compile()
        return found

    return compiled
