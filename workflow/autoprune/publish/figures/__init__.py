"""The figures, one module each: ``draw()`` takes what INPUTS names, and returns the figure.

``metrics`` comes as a table, other files as paths; ``publish.items`` has the literals at the top.
"""

import importlib
from types import ModuleType

from autoprune.publish.items import known


def load(name: str) -> ModuleType:
    """A figure's module; raises InputError when there is none of that name."""
    return importlib.import_module(f"{__name__}.{known('figures', name)}")
