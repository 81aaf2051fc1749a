"""What the workflow must know of methods, read from their files: importing them takes torch."""

from collections.abc import Mapping
from typing import Any

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.options import from_written
from autoprune.core.provenance import closure
from autoprune.pruning.settings import Rule

# the variants that these methods know; of the others a run says so itself
AFTER_WEIGHTS = ("autoprune", "null-norms", "narrow", "found-widths", "random-filters")


def module_of(method: str) -> str:
    """The module of a method."""
    return f"autoprune.methods.{method.replace('-', '_')}"


def follows_plan(method: str) -> bool:
    """Whether runs of a method need the plan of an autoprune run, as its imports tell."""
    return "autoprune.methods._following" in closure(module_of(method))


def follows_dense(method: str) -> bool:
    """Whether runs of a method need the history of the dense run, as its imports tell."""
    return "autoprune.methods._trained" in closure(module_of(method))


def keeps_scores(method: str) -> bool:
    """Whether a method's plan has the scores by which filters come back, as its imports tell."""
    return "autoprune.pruning.search" in closure(module_of(method))


def settings_of(method: str) -> type[Block]:
    """The model of a method's settings; that of most takes torch, so ask where some are given."""
    if method == "autoprune":
        return Rule
    from autoprune import methods

    return methods.load(method).Settings


def fault_of_stages(own: Mapping[str, Any], rounds: int) -> str:
    """Why GETA's stages, with these settings, do not fit so many rounds; "" where they do."""
    given: Any = from_written(settings_of("geta"), {"plan": "", "rounds": rounds, **own})
    try:
        given.stages()
    except InputError as error:
        return str(error)
    return ""
