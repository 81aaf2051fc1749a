"""How this package's functions are compiled: once for each processor, and kept for later runs."""

from collections.abc import Callable
from typing import Any

import numba


def jit(signature: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a function for arguments of these types, at its import.

    One thread and one order of sums: the same bits in each process. "contract" alone lets a product
    and a sum round once, as the processor's own instruction does; sums keep their order, and what
    is not a number stays so. What was compiled lies beside the source, or in the user's own cache
    where nothing can be written there; it is made anew when the function's file changes, so all
    that a function calls stands in its file.
    """
    options = {
        "nogil": True,
        "fastmath": {"contract"},
        "error_model": "numpy",
        "boundscheck": False,
    }

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            found: Callable[..., Any] = numba.njit(signature, cache=True, **options)(function)
        except RuntimeError:  # nowhere to keep it: each process then compiles for itself
            found = numba.njit(signature, **options)(function)
        return found

    return compiled
