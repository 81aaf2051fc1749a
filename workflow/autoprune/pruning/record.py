"""A run's plan.json as it is read: the record of its cuts, held to itself. Needs no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import check_noted, read_json


def read_plan(path: str | Path) -> dict[str, Any]:
    """The plan in a file; raises InputError as ``check_cuts`` does."""
    plan: dict[str, Any] = check_cuts(read_json(check_noted(path)), str(path))
    return plan


def check_cuts(plan: Any, where: str = "plan") -> Any:
    """``plan``, whose cuts follow from each other.

    From the base's widths on, each cut keeps in each layer an ascending choice of the filters that
    were left, and says what is left of them. Raises InputError naming ``where``, round and layer.
    """
    if not isinstance(plan, dict):
        raise InputError(f"{where}: found {plan!r:.40}, expected a plan; train the run again")
    try:
        # masks cut nothing, and have no record of cuts
        for fault in _faults(plan) if plan.get("shrinks") else ():
            raise InputError(
                f"{where}: {fault}; the plan was edited or cut short, train the run again"
            )
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: not a pruning plan ({error!r}); train the run again") from None
    return plan


def _faults(plan: Mapping[str, Any]) -> Iterator[str]:
    before, last = list(plan["base"]["widths"]), 0
    for cut in plan["shrinks"]:
        at = f"round {cut['round']}"
        if type(cut["round"]) is not int or cut["round"] <= last:
            yield f"{at} is not after round {last}"
        if len(cut["layers"]) != len(before):
            yield f"{at} has {len(cut['layers'])} layers, the network {len(before)}"
        for number, (layer, width) in enumerate(zip(cut["layers"], before, strict=True), start=1):
            kept = layer["kept"]
            if not kept or any(type(n) is not int or not 0 <= n < width for n in kept):
                yield f"{at}, layer {number}: kept {kept}, expected some of filters 0..{width - 1}"
            if kept != sorted(set(kept)):
                yield f"{at}, layer {number}: kept {kept}, expected ascending numbers, each once"
            if "scores" in layer and len(layer["scores"]) != width:
                yield f"{at}, layer {number}: {len(layer['scores'])} scores of {width} filters"
        left = [len(layer["kept"]) for layer in cut["layers"]]
        if list(cut["widths"]) != left:
            yield f"{at} says widths {list(cut['widths'])}, but its kept filters give {left}"
        before, last = left, cut["round"]
