"""The options of the sources of data, checked against workflow/schemas/options.schema.yaml."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from autoprune.core.refusal import unknown

SCHEMA = Path(__file__).resolve().parents[2] / "schemas" / "options.schema.yaml"


@cache
def rules() -> dict[str, Any]:
    """The schema; each source's options are one of its ``$defs``."""
    found: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    return found


def mistake(source: str, options: Mapping[str, Any]) -> tuple[list[str | int], str]:
    """Where a source's options are wrong, as a path of keys, and how; ``([], "")`` for right."""
    whole = {**rules(), "$ref": f"#/$defs/{source}"}
    error = best_match(Draft202012Validator(whole).iter_errors(options))
    return ([], "") if error is None else (list(error.absolute_path), _explain(error))


def _explain(error: ValidationError) -> str:
    """What was found and what was expected, in a few words."""
    found, wanted = error.instance, error.validator_value
    match error.validator:
        case "additionalProperties":
            known = error.schema["properties"]
            return unknown("key", next(key for key in found if key not in known), known)
        case "required":
            return f"key {next(key for key in wanted if key not in found)!r} is missing"
        case "enum":
            return f"found {found!r}; known are {', '.join(map(str, wanted))}"
        case "type":
            return f"found {found!r}, expected {wanted}"
        case "exclusiveMinimum":
            return f"found {found!r}, expected a number above {wanted}"
        case "minimum":
            return f"found {found!r}, expected at least {wanted}"
        case _:
            return error.message
