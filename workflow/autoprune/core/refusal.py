"""What pydantic finds wrong with settings, in one line: the key, what was found, what is expected.

Nothing but words: code versions leave this module out (``core.provenance``).
"""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from autoprune.core.block import plain

Path = list[str | int]
WANTED = {  # by how the kind of mistake begins
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text",
    "path": "text",
    "list": "a list",
    "tuple": "a list",
    "dict": "keys and values",
    "model": "keys and values",
    "mapping": "keys and values",
}
BOUNDS = {
    "greater_than": ("a number above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("a number below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def refusal(
    error: ValidationError, model: type[BaseModel], but: Iterable[str] = ()
) -> tuple[Path, str]:
    """Where the first mistake in a block is, as a path of keys, and what it is; ("", "") for none.

    ``model`` is the block's. A key that is not known comes before all else. ``but`` are kinds of
    mistakes that are none, such as pydantic's "missing".
    """
    mistakes = [m for m in error.errors(include_url=False) if m["type"] not in but]
    # where a text or a list may stand, what is wrong with a list is not that it is no text
    lists = [m for m in mistakes if m["type"] == "string_type" and isinstance(m["input"], list)]
    mistakes.sort(key=lambda m: (m["type"] != "extra_forbidden", m in lists))
    if not mistakes:
        return [], ""
    kind, given = mistakes[0]["type"], mistakes[0]["input"]
    more: Mapping[str, Any] = mistakes[0].get("ctx", {})
    # a union adds the name of the member that it tried
    path: Path = [p for p in mistakes[0]["loc"] if not ("[" in str(p) and p != "[key]")]
    if kind == "string_type" and path[-1:] == ["str"]:
        path = path[:-1]
    if kind == "extra_forbidden":
        return path, unknown("key", path[-1], keys_at(model, path[:-1]))
    if kind == "missing" and isinstance(path[-1], int):
        return path[:-1], f"found {len(given)} entries, expected {path[-1] + 1} or more"
    if kind == "missing":
        return path[:-1], f"key {path[-1]!r} is missing"
    if kind == "string_pattern_mismatch" and path[-1] == "[key]":
        return path[:-2], f"key {given!r} has a form that is not allowed ({more['pattern']})"
    if kind in BOUNDS:
        words, bound = BOUNDS[kind]
        return path, f"found {given!r}, expected {words} {more[bound]:g}"
    if kind == "literal_error":
        known = str(more["expected"]).replace("'", "").replace(" or ", ", ")
        return path, f"found {given!r}; known are {known}"
    if kind in ("too_short", "too_long"):
        number, word = more.get("min_length", more.get("max_length")), more["actual_length"]
        side = "more" if kind == "too_short" else "fewer"
        return path, f"found {word} entries, expected {number} or {side}"
    if kind == "string_pattern_mismatch":
        return path, f"found {given!r}, expected the form {more['pattern']}"
    if kind in ("value_error", "assertion_error"):
        return path, str(more["error"])
    if wanted := WANTED.get(kind.partition("_")[0]):
        return path, f"found {_shown(given)}, expected {wanted}{_hint(given, kind)}"
    return path, str(mistakes[0]["msg"])


def keys_at(model: Any, path: Sequence[str | int]) -> list[str]:
    """The keys of the block at a path in a block, as they are written."""
    for part in path:
        fields = getattr(model, "model_fields", None)
        model = plain(fields[str(part)].annotation) if fields else plain(get_args(model)[-1])
    return [field.alias or name for name, field in model.model_fields.items()]


def dotted(path: Path) -> str:
    """A path of keys as people write it."""
    return ".".join(map(str, path))


def unknown(what: str, name: Any, known: Iterable[Any]) -> str:
    """That there is no such key, pair, method; what there is, and the one that is most alike."""
    names = [str(one) for one in known]
    alike = get_close_matches(str(name), names, n=1)
    meant = f"; did you mean {alike[0]!r}?" if alike else ""
    return f"unknown {what} {name!r}; known are {', '.join(names) or 'none'}{meant}"


def _shown(given: Any) -> str:
    return "nothing" if given is None else repr(given)


def _hint(given: Any, kind: str) -> str:
    """YAML reads 1e-4 as text; say so where it bites."""
    if kind != "float_type" or not isinstance(given, str):
        return ""
    try:
        return f" (YAML wants a dot: {float(given):.1e})"
    except ValueError:
        return ""
