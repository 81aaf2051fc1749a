"""A pydantic model says what may be set; command-line flags and one-line refusals come from it."""

import argparse
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from autoprune.core.errors import InputError

Model = TypeVar("Model", bound=BaseModel)

EXPECTED = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "a whole number",
    "list": "a list",
    "path": "text",
    "string": "text",
    "tuple": "a list",
}
BOUNDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "a number above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "a number below {lt}",
    "too_short": "{min_length} or more entries",
    "too_long": "at most {max_length} entries",
    "string_pattern_mismatch": "the form {pattern}",
}


class Options(BaseModel):
    """What may be set: no other key, nothing that changes later, no infinite number."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Refused(InputError):
    """A value that a model does not take: ``key`` is its path, () for several that do not fit."""

    def __init__(self, key: Sequence[str | int], reason: str) -> None:
        super().__init__(f"{'.'.join(map(str, key))}: {reason}" if key else reason)
        self.key, self.reason = tuple(key), reason


def from_config(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The model of values as YAML has them, text no number; raises Refused."""
    try:
        return model.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise refusal(error, model) from None


def from_flags(model: type[Model], args: argparse.Namespace) -> Model:
    """The model of what ``add_flags`` parsed; raises InputError that names the flag."""
    given = {name: getattr(args, name) for name in model.model_fields if hasattr(args, name)}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = refusal(error, model)
        key = found.key or ("",)
        raise InputError(f"{flag(str(key[0]))}: {found.reason}" if key[0] else found) from None


def refusal(error: ValidationError, model: type[BaseModel] | None = None) -> Refused:
    """The first of a model's complaints: key, what was found, what was expected.

    ``model`` is for naming the known keys beside an unknown one.
    """
    first = error.errors(include_url=False)[0]
    kind, found, context = first["type"], first["input"], first.get("ctx", {})
    # a union adds the name of the member that it tried
    key = [part for part in first["loc"] if not (isinstance(part, str) and "[" in part)]
    if kind == "missing":
        return Refused(key[:-1], f"key {key[-1]!r} is missing")
    if kind == "extra_forbidden":
        known = f"; known are {', '.join(model.model_fields)}" if model else ""
        return Refused(key, f"unknown key {key[-1]!r}{known}")
    if kind in ("value_error", "assertion_error"):
        return Refused(key, str(context["error"]))
    if kind in ("literal_error", "enum"):
        names = context["expected"].replace(" or ", ", ").replace("'", "")
        return Refused(key, f"found {found!r}; known are {names}")
    expected = EXPECTED.get(kind.split("_")[0])
    if kind in BOUNDS:
        expected = BOUNDS[kind].format(**context)
    return Refused(
        key,
        f"found {found!r}, expected {expected}{_hint(kind, found)}" if expected else first["msg"],
    )


def _hint(kind: str, found: Any) -> str:
    """YAML reads 1e-4 as text; say so where it bites."""
    if kind == "float_type" and isinstance(found, str):
        try:
            return f" (YAML wants a dot: {float(found):.1e})"
        except ValueError:
            pass
    return ""


def flag(name: str) -> str:
    """The flag of an option, e.g. ``--test-fraction``."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse._ActionsContainer, model: type[BaseModel]) -> None:
    """Add a flag for each field; what is given is checked by ``from_flags``."""
    for name, field in model.model_fields.items():
        more: dict[str, Any] = {"help": _help(field)}
        kind = _plain(field.annotation)
        if kind is bool:
            more["action"] = argparse.BooleanOptionalAction if field.default else "store_true"
        elif get_origin(kind) in (list, tuple):
            members = get_args(kind)
            fixed = get_origin(kind) is tuple and members[-1] is not Ellipsis
            more["nargs"] = len(members) if fixed else "+"
        elif get_origin(kind) is Literal:
            more["type"] = type(get_args(kind)[0])
        parser.add_argument(
            flag(name), required=field.is_required(), default=argparse.SUPPRESS, **more
        )


def _plain(annotation: Any) -> Any:
    """A field's type without the None that it may be too, and without what constrains it."""
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _help(field: FieldInfo) -> str:
    """A flag's help: description, what may be chosen, default; argparse takes % for its own."""
    words = [field.description or ""]
    kind = _plain(field.annotation)
    if get_origin(kind) is Literal:
        words.append(f"{{{', '.join(map(str, get_args(kind)))}}}")
    default = field.get_default(call_default_factory=True)
    if default is not None and kind is not bool and not field.is_required():
        words.append(f"(default: {default})")
    return " ".join(words).replace("%", "%%")


def marked(model: type[BaseModel], key: str) -> Iterator[tuple[str, Any]]:
    """(name, value) of the fields whose ``json_schema_extra`` has a key."""
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        if isinstance(extra, dict) and key in extra:
            yield name, extra[key]
