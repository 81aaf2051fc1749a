"""What there is to publish: tables and figures, each found by its file, as methods are.

A table is a module of ``evidence``, whose ``table()`` makes its CSV, and one of the same name in
``publish/tables``, which says how it reads; a figure is a module of ``publish/figures`` with
``draw()``. A figure may be drawn from a CSV that no table shows: then that is a module of
``evidence`` alone. What the workflow must know of them are literals at their top, read without
importing them:

    CATEGORY   where the reports file it: Claims, Results, Controls, Latency or Data
    LABEL      what it is called there (its own name where it has none)
    INPUTS     the files that ``table()`` or ``draw()`` takes, by parameter: paths as in a rule,
               ``<results>/tables/NAME.csv`` for a CSV of evidence, a list of paths where there is
               ``{dataset}``, ``{searched}`` or ``{measured}``, for as many as the study has;
               ``metrics`` comes as a DataFrame, every other file as its path
    OPTIONS    settings of the study that are flags of a table: reference, margin, ablation
    ONLY_WITH  what a study must have for it: reference, map, target

A table has also TITLE, GROUP (a line is drawn where the first so many columns change), COLUMNS and
``notes(rows)``: see ``publish.tables``. The docstring is the caption; its first line stands below a
figure of the report.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import NamedTuple

from autoprune.core.errors import InputError
from autoprune.core.provenance import PACKAGE, ROOT, Outline, modules_with, outline

KINDS = ("tables", "figures")
CATEGORIES = ("Claims", "Results", "Controls", "Latency", "Data")  # in the report's order
OPTIONS = ("reference", "margin", "ablation")


class Item(NamedTuple):
    """A table, a figure or a CSV of evidence as the workflow knows it."""

    name: str
    category: str
    label: str
    caption: str  # reStructuredText
    inputs: Mapping[str, str]
    options: tuple[str, ...] = ()
    only_with: str = ""


class Kind(NamedTuple):
    """Where modules of a kind lie, the function they must have, and the literals."""

    folder: str
    function: str
    literals: Mapping[str, type]


OF_KIND = {
    "tables": Kind("publish/tables", "notes", {"CATEGORY": str, "TITLE": str, "GROUP": int}),
    "figures": Kind("publish/figures", "draw", {"CATEGORY": str, "INPUTS": dict}),
    "evidence": Kind("evidence", "table", {"INPUTS": dict}),
}
NOT_NEEDED = {"LABEL": str, "ONLY_WITH": str, "OPTIONS": tuple}
WORDS = {str: "text", int: "a whole number", dict: "paths by parameter", tuple: "a tuple"}


@cache
def items(kind: str) -> dict[str, Item]:
    """The tables or figures (KINDS) by name, or "evidence": every CSV that ``tabulate`` makes.

    Raises InputError, naming the file, for a module that lacks something or has it wrong.
    """
    if kind == "evidence":
        names = modules_with("evidence", "table")
    else:
        folder = ROOT / PACKAGE / OF_KIND[kind].folder
        names = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    return {name: _item(kind, name) for name in names}


def place(kind: str, name: str) -> str:
    """The file of a table, figure or CSV, for people."""
    return f"{ROOT.name}/{PACKAGE}/{OF_KIND[kind].folder}/{name}.py"


def _item(kind: str, name: str) -> Item:
    module = outline(f"{PACKAGE}.{OF_KIND[kind].folder.replace('/', '.')}.{name}")
    for fault in _faults(kind, name, module):
        raise InputError(f"{place(kind, name)}: {fault}; see {PACKAGE}.publish.items")
    known = module.literals
    return Item(
        name,
        known.get("CATEGORY", ""),
        known.get("LABEL", name),
        module.doc,
        known.get("INPUTS", {}),
        known.get("OPTIONS", ()),
        known.get("ONLY_WITH", ""),
    )


def _faults(kind: str, name: str, module: Outline) -> Iterator[str]:
    """What a module lacks or has wrong."""
    _, function, needed = OF_KIND[kind]
    known = module.literals
    for key, wanted in {**needed, **NOT_NEEDED}.items():
        if key in module.others:
            yield f"{key} must be a literal, which is read without importing the module"
        elif key not in known and key in needed:
            yield f"{key} is missing"
        elif not isinstance(known.get(key, wanted()), wanted):
            yield f"{key}: found {known[key]!r}, expected {WORDS[wanted]}"
    for key, allowed in {"CATEGORY": CATEGORIES, "OPTIONS": OPTIONS}.items():
        for word in [known[key]] if isinstance(known.get(key), str) else known.get(key, ()):
            if word not in allowed:
                yield f"{key}: found {word!r}, expected {', '.join(allowed)}"
    if function not in module.functions:
        yield f"function {function}() is missing"
    for flag in known.get("INPUTS", ()):
        if flag not in module.functions[function]:
            yield f"{function}() has no parameter {flag!r}, which INPUTS names"
    if kind != "evidence" and not module.doc:
        yield "the docstring is missing, which is the caption"
    if kind == "tables":
        if "COLUMNS" not in {*known, *module.others}:
            yield "COLUMNS is missing"
        if name not in items("evidence"):
            yield f"no {place('evidence', name)} with a function table() makes its CSV"


def known(kind: str, name: str) -> str:
    """``name`` itself; raises InputError when there is no such table or figure."""
    if name not in items(kind):
        raise InputError(f"{kind[:-1]}: unknown {name!r}; known are {', '.join(items(kind))}")
    return name
