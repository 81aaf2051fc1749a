"""The configuration: checked against its schema and for sense, one line for what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from autoprune.errors import InputError

Config = dict[str, Any]


def _modules(package: str) -> list[str]:
    """The modules of a sub-package, by file name: importing them would take a second of torch."""
    files = (Path(__file__).parent / package).glob("[a-z]*.py")
    return sorted(path.stem.replace("_", "-") for path in files if path.stem != "layers")


MODELS = _modules("models")
METHODS = _modules("methods")


def check(config: Mapping[str, Any], files: Sequence[str | Path], schema: str | Path) -> None:
    """Raise InputError unless the merged configuration fits the schema and makes sense.

    ``files`` are the configuration files in the order they were merged; the message names the
    last one that sets the key.
    """
    rules = yaml.safe_load(Path(schema).read_text(encoding="utf-8"))
    error = best_match(Draft202012Validator(rules).iter_errors(config))
    if error is not None:
        _refuse(files, list(error.absolute_path), _explain(error))
    for name in config["methods"]:
        if name not in METHODS:
            _refuse(files, ["methods"], f"unknown method {name!r}{_known(METHODS)}")
    datasets, pairs = config["datasets"], config["pairs"]
    for position, name in enumerate(config["study"]):
        if name not in pairs:
            _refuse(files, ["study", position], f"unknown pair {name!r}{_known(pairs)}")
    for name, pair in pairs.items():
        if pair["dataset"] not in datasets:
            _refuse(
                files,
                ["pairs", name, "dataset"],
                f"unknown data set {pair['dataset']!r}{_known(datasets)}",
            )
        if pair["model"] not in MODELS:
            _refuse(
                files,
                ["pairs", name, "model"],
                f"unknown family {pair['model']!r}{_known(MODELS)}",
            )
        expected = f"{pair['dataset']}-{pair['model']}"
        if name != expected:
            _refuse(files, ["pairs", name], f"must be named {expected!r}, its data set and model")
        known = [*rules["$defs"]["pair"]["properties"], *METHODS]
        for key in pair:
            if key not in known:
                _refuse(files, ["pairs", name], f"unknown key {key!r}{_known(known)}")
            if key in METHODS and not isinstance(pair[key], dict):
                _refuse(files, ["pairs", name, key], f"found {pair[key]!r}, expected settings")
        if "autoprune" in config["methods"] and "autoprune" not in pair:
            _refuse(files, ["pairs", name], "settings of method autoprune are missing")


def resolve(config: Config) -> None:
    """Fill each pair with what it does not set itself, from ``training``; in place."""
    for name, pair in config["pairs"].items():
        config["pairs"][name] = {**config["training"], **pair}


def _explain(error: ValidationError) -> str:
    """What was found and what was expected, in a few words."""
    match error.validator:
        case "additionalProperties":
            known = error.schema.get("properties", {})
            patterns = error.schema.get("patternProperties", {})
            unknown = [key for key in error.instance if key not in known]
            if patterns:
                return f"key {unknown[0]!r} has a form that is not allowed ({', '.join(patterns)})"
            return f"unknown key {unknown[0]!r}{_known(known)}"
        case "required":
            missing = [key for key in error.validator_value if key not in error.instance]
            return f"key {missing[0]!r} is missing"
        case "enum":
            return f"found {error.instance!r}{_known(error.validator_value)}"
        case "type":
            return (
                f"found {error.instance!r}, expected {_join(error.validator_value)}{_hint(error)}"
            )
        case "exclusiveMinimum":
            return f"found {error.instance!r}, expected a number above {error.validator_value}"
        case "minimum":
            return f"found {error.instance!r}, expected at least {error.validator_value}"
        case "minItems":
            return f"found {len(error.instance)} entries, expected {error.validator_value} or more"
        case _:
            return error.message


def _hint(error: ValidationError) -> str:
    """YAML reads 1e-4 as text; say so where it bites."""
    if isinstance(error.instance, str) and "number" in _join(error.validator_value):
        try:
            return f" (YAML wants a dot: {float(error.instance):.1e})"
        except ValueError:
            return ""
    return ""


def _join(value: str | Sequence[str]) -> str:
    return value if isinstance(value, str) else " or ".join(value)


def _known(names: Mapping[str, Any] | Sequence[Any]) -> str:
    return f"; known are {', '.join(str(name) for name in names)}"


def _refuse(files: Sequence[str | Path], path: list[Any], reason: str) -> None:
    key = ".".join(map(str, path)) or "top level"
    raise InputError(f"{_origin(files, path)}: {key}: {reason}")


def _origin(files: Sequence[str | Path], path: list[Any]) -> str:
    """The last configuration file that sets ``path``; else all of them."""
    for file in reversed(files):
        value = yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}
        try:
            for key in path:
                value = value[key]
        except (KeyError, IndexError, TypeError):
            continue
        if path:
            return str(file)
    return " + ".join(map(str, files)) or "config"
