"""A block of settings: what every model of one has in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import PydanticCustomError, core_schema


class Block(BaseModel):
    """Settings that belong together; each is a field with its range, unit and reason.

    Once read they stand. Types are those that are written: "1" is no number, 2.5 no whole one.
    A field whose default is None is left out rather than set to nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def wrong(reason: str) -> PydanticCustomError:
    """What a validator raises to refuse a value in these words."""
    return PydanticCustomError("wrong", "{reason}", {"reason": reason})


def incomplete(reason: str) -> PydanticCustomError:
    """``wrong`` of what need not hold of a part of a block, the rest of which stands elsewhere."""
    return PydanticCustomError("incomplete", "{reason}", {"reason": reason})


@dataclass(frozen=True)
class Among:
    """A text that is one of these names: as ``Literal``, of names that files have."""

    names: Sequence[str]

    def check(self, found: str) -> str:
        """The name, where it is known."""
        if found not in self.names:
            raise wrong(f"found {found!r}; known are {', '.join(self.names)}")
        return found

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Text, and then the check."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """As a JSON schema has it."""
        return handler(schema) | {"enum": list(self.names)}


def once(found: list[Any]) -> list[Any]:
    """A list in which nothing stands twice."""
    for place, item in enumerate(found):
        if item in found[:place]:
            raise wrong(f"found {item!r} twice")
    return found


def plain(annotation: Any) -> Any:
    """A field's type without the None that it may be too, and without what constrains it."""
    if get_origin(annotation) in (Union, UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
