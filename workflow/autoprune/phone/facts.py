"""A session's session.json: the phone, the protocol and the tool, the same for all its runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match

from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.phone.rows import IDENTIFIER, SCHEMA_VERSION, TOOLS

NAME = {"type": "string", "pattern": r"\S"}
TEXT = {"type": ["string", "null"]}  # "" or null for what is not known
AS_FOUND = {"type": ["string", "boolean", "integer", "null"]}
ABI = "arm64-v8a"
CLOCKS = ("shipped", "fixed_performance")


def _object(**properties: Any) -> dict[str, Any]:
    """All of these keys; further ones may say more."""
    return {"type": "object", "required": list(properties), "properties": properties}


SCHEMA: dict[str, Any] = _object(
    schema_version={"const": SCHEMA_VERSION},
    session_id={"type": "string", "pattern": f"^{IDENTIFIER}$"},
    kind={"enum": ["phone", "emulator", "host_proxy"]},
    device=_object(
        manufacturer=NAME,
        model=NAME,
        soc=TEXT,
        board_platform=TEXT,
        android_release={"type": ["string", "integer", "null"]},
        android_sdk={"type": ["integer", "null"], "minimum": 1},
        abi=NAME,
    ),
    protocol=_object(
        version={"type": ["integer", "string"]},
        clocks={"enum": list(CLOCKS)},
        airplane_mode=AS_FOUND,
        screen=AS_FOUND,
        low_power=AS_FOUND,
    ),
    tool=_object(
        name={"enum": list(TOOLS)},
        version=NAME,
        sha256={"type": ["string", "null"], "pattern": "^([0-9a-f]{64})?$"},
        source_url=TEXT,
    ),
    host=_object(adb_version=TEXT, harness_version=TEXT),
)
# for a device that is faster or slower than any phone we know of
SCHEMA["properties"]["gflops_per_thread"] = _object(
    low={"type": "number", "exclusiveMinimum": 0},
    high={"type": "number", "exclusiveMinimum": 0},
    reason=NAME,
)


def read_facts(path: Path) -> dict[str, Any]:
    """A session.json; raises InputError naming the key that is not as it must be.

    So it does for what was not measured on a phone: that belongs in no table of phones.
    """
    found = read_json(path)
    error = best_match(Draft202012Validator(SCHEMA).iter_errors(found))
    if error is not None:
        key = ".".join(map(str, error.absolute_path)) or "top level"
        raise InputError(f"{path}: {key}: {_explain(error)}")
    if found["kind"] != "phone":
        raise InputError(
            f"{path}: kind: found {found['kind']!r}, expected 'phone'; measure on a phone, this "
            "machine's own latency is measured by rule latency_host"
        )
    if found["device"]["abi"] != ABI:
        raise InputError(f"{path}: device.abi: found {found['device']['abi']!r}, expected {ABI!r}")
    return dict(found)


def _explain(error: ValidationError) -> str:
    """What was found and what was expected."""
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"{missing[0]} is missing"
    words: dict[object, Callable[[Any], str]] = {
        "enum": lambda value: " or ".join(map(str, value)),
        "const": str,
        "type": lambda value: value if isinstance(value, str) else " or ".join(value),
        "minimum": lambda value: f"at least {value}",
        "exclusiveMinimum": lambda value: f"a number above {value}",
        "pattern": lambda value: "text" if value == r"\S" else f"the form {value}",
    }
    expected = words[error.validator](error.validator_value)
    return f"found {error.instance!r}, expected {expected}"
