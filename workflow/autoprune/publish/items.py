"""What there is to publish: tables and figures, each found by its file, as methods are.

A table is a module of ``evidence``, which makes its CSV, and one of the same name in
``publish/tables``, which says how it reads; a figure is a module of ``publish/figures``. What the
workflow must know of them are literals at their top, read without importing them:

    CATEGORY   where Snakemake's report files it
    LABEL      what it is called there (a figure's own name where it has none)
    INPUTS     the files it is made from, by flag: paths as in a rule, ``{dataset}``, ``{searched}``
               and ``{measured}`` for as many as the study has
    OPTIONS    settings of the study that are flags of a table: reference, margin, ablation
    ONLY_WITH  what a study must have for it: reference, map

The docstring is the caption; its first line stands below a figure of the report.
"""

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from autoprune.core.errors import InputError
from autoprune.core.provenance import PACKAGE, ROOT, literals

KINDS = ("tables", "figures")


class Item(NamedTuple):
    """A table or figure as the workflow knows it."""

    name: str
    category: str
    label: str
    caption: str  # reStructuredText
    inputs: Mapping[str, str]
    options: tuple[str, ...] = ()
    only_with: str = ""


@cache
def items(kind: str) -> dict[str, Item]:
    """The tables or figures (KINDS) by name; InputError for a module that lacks a literal."""
    folder = ROOT / PACKAGE / "publish" / kind
    return {path.stem: _item(kind, path.stem) for path in sorted(folder.glob("[a-z]*.py"))}


def _item(kind: str, name: str) -> Item:
    shown = f"{PACKAGE}.publish.{kind}.{name}"
    made = f"{PACKAGE}.evidence.{name}" if kind == "tables" else shown
    known = literals(shown) | {key: literals(made).get(key) for key in ("INPUTS", "OPTIONS")}
    lacking = {"CATEGORY": shown, "INPUTS": made}
    for key, module in lacking.items():
        if not known.get(key):
            raise InputError(f"{module}: {key} is missing; see {PACKAGE}.publish.items")
    return Item(
        name,
        known["CATEGORY"],
        known.get("LABEL", name),
        known["__doc__"],
        known["INPUTS"],
        tuple(known["OPTIONS"] or ()),
        known.get("ONLY_WITH", ""),
    )


def known(kind: str, name: str) -> str:
    """``name`` itself; raises InputError when there is no such table or figure."""
    if name not in items(kind):
        raise InputError(f"{kind[:-1]}: unknown {name!r}; known are {', '.join(items(kind))}")
    return name
