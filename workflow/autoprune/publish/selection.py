"""Which tables and figures a study has: those whose ONLY_WITH it fulfils."""

from collections.abc import Mapping
from typing import Any

from autoprune.core.errors import InputError
from autoprune.publish.items import items
from autoprune.study.config import methods_of

# measured, and so never the same twice: made for the target latency, and by all
TIMED = ("latency",)


def searched(config: Mapping[str, Any]) -> list[str]:
    """The pairs of the study on which autoprune runs."""
    return [pair for pair in config["study"] if "autoprune" in methods_of(config, pair)]


def with_null(config: Mapping[str, Any]) -> list[str]:
    """Of those the pairs that have a k, which random networks can be searched with."""
    return [pair for pair in searched(config) if "k" in config["pairs"][pair]["autoprune"]]


def selected(config: Mapping[str, Any], kind: str) -> list[str]:
    """The names of its tables or figures (``items.KINDS``), without TIMED.

    Raises InputError for a module that lacks a literal, or asks for what no study has.
    """
    reference = config["controls"]["reference"]
    with_rule = searched(config)
    of_autoprune = config["variants"].get("autoprune", {}).values()
    has = {
        "": True,
        "reference": any(reference in methods_of(config, pair)["autoprune"] for pair in with_rule),
        "map": any({"k", "patience"} & set(own) for own in of_autoprune),
        "target": any(
            name.startswith("target_")
            for own in (*of_autoprune, *(config["pairs"][pair]["autoprune"] for pair in with_rule))
            for name in own
        ),
    }
    for item in items(kind).values():
        if item.only_with not in has:
            raise InputError(
                f"publish/{kind}/{item.name}.py: ONLY_WITH: found {item.only_with!r}, expected "
                f"{' or '.join(filter(None, has))}"
            )
    return [name for name, item in items(kind).items() if has[item.only_with] and name not in TIMED]
