"""A pydantic model says what may be set; command-line flags and one-line refusals come from it."""

import argparse
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.refusal import from_written, refusal

Model = TypeVar("Model", bound=BaseModel)


class Options(Block):
    """What may be set of something that has flags: a block whose fields are text there."""


class Refused(InputError):
    """A value that a model does not take: ``key`` is its path, () for several that do not fit."""

    def __init__(self, key: Sequence[str | int], reason: str) -> None:
        super().__init__(f"{'.'.join(map(str, key))}: {reason}" if key else reason)
        self.key, self.reason = tuple(key), reason


def from_config(model: type[Model], values: Mapping[str, Any]) -> Model:
    """The model of values as YAML has them, text no number; raises Refused."""
    try:
        return from_written(model, values)
    except ValidationError as error:
        raise Refused(*refusal(error, model)) from None


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
