"""The configuration: checked against its schema and for sense, one line for what is wrong."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.exceptions import best_match

from autoprune.core.errors import InputError
from autoprune.core.labels import METHODS
from autoprune.core.provenance import closure, modules_with
from autoprune.measure import formats as exports
from autoprune.pruning.options import WEIGHTS

Config = dict[str, Any]


# by file: importing them would take a second of torch
MODELS = modules_with("models", "build")
# the variants that these methods know; of the others a run says so itself
AFTER_WEIGHTS = ("autoprune", "null-norms", "narrow", "found-widths", "random-filters")


def follows_plan(method: str) -> bool:
    """Whether runs of a method need the plan of an autoprune run, as its imports tell."""
    return "autoprune.methods._following" in closure(module_of(method))


def follows_dense(method: str) -> bool:
    """Whether runs of a method need the history of the dense run, as its imports tell."""
    return "autoprune.methods._trained" in closure(module_of(method))


def keeps_scores(method: str) -> bool:
    """Whether a method's plan has the scores by which filters come back, as its imports tell."""
    return "autoprune.pruning.search" in closure(module_of(method))


def module_of(method: str) -> str:
    """The module of a method."""
    return f"autoprune.methods.{method.replace('-', '_')}"


def methods_of(config: Mapping[str, Any], pair: str) -> Mapping[str, Sequence[str]]:
    """Method -> variants that run on a pair: its own, or else the study's, and what it adds."""
    own = config["pairs"][pair]
    found: dict[str, Sequence[str]] = dict(own.get("methods", config["methods"]))
    for method, variants in own.get("more_methods", {}).items():
        found[method] = list(dict.fromkeys([*found.get(method, ()), *variants]))
    return found


def variant_settings(config: Mapping[str, Any], method: str, variant: str) -> Mapping[str, Any]:
    """What a named variant sets: keys of the training, of the method, and ``like``."""
    found: Mapping[str, Any] = config["variants"].get(method, {}).get(variant, {})
    return found


def ablation_flags(config: Mapping[str, Any]) -> list[str]:
    """The pairs of arms that ablations compare, as flags of the stages: three words each."""
    return [
        word
        for name, arms in config["ablations"].items()
        for word in ("--ablation", name, arms["with"], arms["without"])
    ]


def followed(config: Mapping[str, Any], method: str, variant: str) -> str:
    """The variant of autoprune whose plan a run follows."""
    named = variant_settings(config, method, variant).get("like", variant)
    known = (*WEIGHTS, *config["variants"].get("autoprune", {}))
    return named if method in AFTER_WEIGHTS and named in known else config["controls"]["reference"]


def check(config: Mapping[str, Any], files: Sequence[str | Path], schema: str | Path) -> None:
    """Raise InputError unless the merged configuration fits the schema and makes sense.

    ``files`` are the configuration files in the order they were merged; the message names the
    last one that sets the key.
    """
    rules = yaml.safe_load(Path(schema).read_text(encoding="utf-8"))
    error = best_match(Draft202012Validator(rules).iter_errors(config))
    if error is not None:
        _refuse(files, list(error.absolute_path), _explain(error))
    _check_methods(config, files, ["methods"], config["methods"])
    for name in config["variants"]:
        if name not in METHODS:
            _refuse(files, ["variants"], f"unknown method {name!r}{_known(METHODS)}")
    datasets, pairs = config["datasets"], config["pairs"]
    for name, dataset in datasets.items():
        own = dataset.get("preprocessing", {})
        if own.get("standardise") and "pixel_range" in own:
            path = ["datasets", name, "preprocessing", "standardise"]
            _refuse(files, path, "stands beside pixel_range, which it takes the place of; set one")
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
        for key in ("methods", "more_methods"):
            _check_methods(config, files, ["pairs", name, key], pair.get(key, {}))
        if "autoprune" not in pair and set(methods_of(config, name)) != {"dense"}:
            _refuse(files, ["pairs", name], "settings of method autoprune are missing")
    _check_followed(config, files)
    for position, name in enumerate(config["deploy"]["formats"]):
        if reason := exports.lacking(name):
            _refuse(files, ["deploy", "formats", position], reason)


def _check_methods(
    config: Config | Mapping[str, Any],
    files: Sequence[str | Path],
    path: list[Any],
    methods: Mapping[str, Sequence[str]],
) -> None:
    """Refuse methods that do not exist, and variants that are known not to."""
    for name, variants in methods.items():
        if name not in METHODS:
            _refuse(files, path, f"unknown method {name!r}{_known(METHODS)}")
        own = config["variants"].get(name, {})
        known = ("fedavg", *own) if name == "dense" else (*WEIGHTS, *own)
        if name in ("narrow", "found-widths", "random-filters"):
            known = (*known, *config["variants"].get("autoprune", {}))
        for position, variant in enumerate(variants):
            if name in ("dense", *AFTER_WEIGHTS) and variant not in known:
                _refuse(files, [*path, name, position], f"found {variant!r}{_known(known)}")


def _check_followed(config: Mapping[str, Any], files: Sequence[str | Path]) -> None:
    """The plan that a control follows must be one of an autoprune variant that is known."""
    known = (*WEIGHTS, *config["variants"].get("autoprune", {}))
    if config["controls"]["reference"] not in known:
        found = config["controls"]["reference"]
        _refuse(files, ["controls", "reference"], f"found {found!r}{_known(known)}")


def resolve(config: Config) -> None:
    """Fill each data set and pair with what it does not set itself, in place.

    From ``preprocessing``, which a range of the data set's own takes the place of; and from
    ``training``. The null control's settings are autoprune's.
    """
    for dataset in config["datasets"].values():
        own = dataset.get("preprocessing", {})
        dataset["preprocessing"] = own if "pixel_range" in own else config["preprocessing"] | own
    for name, pair in config["pairs"].items():
        config["pairs"][name] = {**config["training"], **pair}
        if "autoprune" in pair:
            config["pairs"][name].setdefault("null-norms", pair["autoprune"])


def run_settings(
    config: Mapping[str, Any], pair: str, method: str, variant: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of a run of a resolved configuration: (training, method), the variant's settings first."""
    named = {k: v for k, v in variant_settings(config, method, variant).items() if k != "like"}
    training = {key: config["pairs"][pair][key] for key in config["training"]}
    training |= {key: value for key, value in named.items() if key in training}
    own = {key: value for key, value in named.items() if key not in training}
    when = {"prune_at": config["controls"]["prune_at"]} if follows_dense(method) else {}
    return training, {**when, **config["pairs"][pair].get(method, {}), **own}


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
