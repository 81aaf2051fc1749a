"""A block of settings read from what is written, or from the command-line flags that it makes."""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from autoprune.core.block import plain
from autoprune.core.errors import InputError
from autoprune.core.refusal import refusal

Model = TypeVar("Model", bound=BaseModel)


class WrongValue(InputError):
    """A value that a block does not take: ``key`` is its path, () for several that do not fit."""

    def __init__(self, key: Sequence[str | int], reason: str) -> None:
        super().__init__(f"{'.'.join(map(str, key))}: {reason}" if key else reason)
        self.key, self.reason = tuple(key), reason


def from_written(model: type[Model], given: Mapping[str, Any]) -> Model:
    """A block of values as YAML and JSON have them: a list may be a tuple, text no number.

    Raises ValidationError.
    """
    return model.model_validate_json(json.dumps(given, default=str))


def read(model: type[Model], given: Mapping[str, Any]) -> Model:
    """``from_written``; raises WrongValue."""
    try:
        return from_written(model, given)
    except ValidationError as error:
        raise WrongValue(*refusal(error, model)) from None


def from_flags(model: type[Model], args: argparse.Namespace) -> Model:
    """The model of what ``add_flags`` parsed; raises InputError that names the flag."""
    given = {name: getattr(args, name) for name in model.model_fields if hasattr(args, name)}
    try:
        return model.model_validate(given, strict=False)
    except ValidationError as error:
        path, reason = refusal(error, model)
        raise InputError(f"{flag(str(path[0]))}: {reason}" if path else reason) from None


def flag(name: str) -> str:
    """The flag of an option, e.g. ``--test-fraction``."""
    return "--" + name.replace("_", "-")


def add_flags(parser: argparse._ActionsContainer, model: type[BaseModel]) -> None:
    """Add a flag for each field; what is given is checked by ``from_flags``."""
    for name, field in model.model_fields.items():
        more: dict[str, Any] = {"help": _help(field)}
        kind = plain(field.annotation)
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


def _help(field: FieldInfo) -> str:
    """A flag's help: description, what may be chosen, default; argparse takes % for its own."""
    words = [field.description or ""]
    kind = plain(field.annotation)
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


def measured(metric: str, **numbers: int) -> dict[str, Any]:
    """Marks a field as a row of metrics.csv of this name; a field of words says their numbers."""
    return {"metric": metric, **({"numbers": numbers} if numbers else {})}
