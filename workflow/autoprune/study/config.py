"""The configuration: checked against its models and for sense, one line for what is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.labels import METHODS, said
from autoprune.core.options import WrongValue, from_written, read
from autoprune.core.refusal import dotted, refusal, unknown
from autoprune.data.prepare.sources import check_options
from autoprune.federation.settings import Training
from autoprune.measure import formats as exports
from autoprune.pruning.options import HOW_MUCH, WEIGHTS
from autoprune.pruning.settings import Rule
from autoprune.study import settings, tasks
from autoprune.study.methods import AFTER_WEIGHTS, fault_of_stages, follows_dense, settings_of
from autoprune.study.networks import FromFunction
from autoprune.study.overlay import read_overlay

Config = dict[str, Any]
Files = Sequence[str | Path]
Path_ = list[Any]


def methods_of(config: Mapping[str, Any], pair: str) -> Mapping[str, Sequence[str]]:
    """Method -> variants that run on a pair: its own, or else the study's, and what it adds."""
    own = config["pairs"][pair]
    found: dict[str, Sequence[str]] = dict(own.get("methods", config["methods"]))
    for method, variants in own.get("more_methods", {}).items():
        found[method] = list(dict.fromkeys([*found.get(method, ()), *variants]))
    return {method: variants for method, variants in found.items() if variants}


def variant_settings(config: Mapping[str, Any], method: str, variant: str) -> Mapping[str, Any]:
    """What a named variant sets: keys of the training, of the method, and ``like``."""
    found: Mapping[str, Any] = config["variants"].get(method, {}).get(variant, {})
    return found


def network_of(config: Mapping[str, Any], model: str) -> str:
    """The call of the function that makes a network of `networks`; "" for a family."""
    made = config["networks"].get(model)
    return str(from_written(FromFunction, made).call) if made else ""


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
    known = named in _known_variants(config)
    return named if method in AFTER_WEIGHTS and known else config["controls"]["reference"]


def check(config: Mapping[str, Any], files: Files) -> None:
    """Raise InputError unless the merged configuration fits its models and makes sense.

    ``files`` are the configuration files in the order they were merged; the message names the
    last one that sets the key.
    """
    try:
        read(settings.Config, config)
    except WrongValue as error:
        _refuse(files, [*error.key], error.reason)
    _check_methods(config, files, ["methods"], config["methods"])
    _check_variants(config, files)
    for name in config["networks"].keys() & {*settings.MODELS}:
        _refuse(files, ["networks", name], f"{name} is a family's name; choose another")
    for name, dataset in config["datasets"].items():
        _check_dataset(files, ["datasets", name], dataset)
    for position, name in enumerate(config["study"]):
        if name not in config["pairs"]:
            _refuse(files, ["study", position], unknown("pair", name, config["pairs"]))
    for name in config["pairs"]:
        _check_pair(config, files, name)
    _check_starts(config, files)
    if found := tasks.mixed(config):
        _refuse(files, *found)
    for name in config["study"]:
        _check_rule(config, files, name)
        _check_stages(config, files, name)
    reference, known = config["controls"]["reference"], _known_variants(config)
    if reference not in known:
        _refuse(files, ["controls", "reference"], _found(reference, known))
    for position, name in enumerate(config["deploy"]["formats"]):
        if reason := exports.lacking(name):
            _refuse(files, ["deploy", "formats", position], reason)


def _check_dataset(files: Files, path: Path_, dataset: Mapping[str, Any]) -> None:
    try:
        check_options(dataset["source"], dataset["options"])
    except WrongValue as error:
        where, of = [*path, *error.key], _origin(files, [*path, "source"])
        hint = f"; source {dataset['source']} stands in {of}: give the data set another name there"
        merged = error.key[0] == "options" and _origin(files, where) != of
        _refuse(files, where, error.reason + (hint if merged else ""))


def without_effect(config: Mapping[str, Any], files: Files) -> Iterator[str]:
    """A line on each file whose ``methods`` only repeat some of those that run anyway.

    Who writes so wants these alone.
    """
    before: dict[str, Any] = {}
    run = dict.fromkeys(name for pair in config["study"] for name in methods_of(config, pair))
    for file in files:
        methods = read_overlay(file).get("methods") or {}
        others = [name for name in run if name not in methods]
        if methods and others and all(before.get(name) == methods[name] for name in methods):
            yield (
                f"note: {file}: methods: merged with those of other files, so that "
                f"{', '.join(others)} run too; a method goes where it gets no variant: "
                f"{{{others[0]}: []}}, in the methods of each pair that has its own too"
            )
        before |= methods


def _check_pair(config: Mapping[str, Any], files: Files, name: str) -> None:
    """Its names must be of this configuration, and its settings those of training and methods."""
    pair, path = config["pairs"][name], ["pairs", name]
    for key, known, what in (
        ("dataset", config["datasets"], "data set"),
        ("model", [*settings.MODELS, *config["networks"]], "network"),
    ):
        if pair[key] not in known:
            _refuse(files, [*path, key], unknown(what, pair[key], known))
    if "widths" not in pair and pair["model"] not in config["networks"]:
        _refuse(files, path, "key 'widths' is missing")
    expected = f"{pair['dataset']}-{pair['model']}"
    if name != expected:
        _refuse(files, path, f"must be named {expected!r}, its data set and model")
    _check_part(files, path, Training, _of(Training, pair))
    for method in set(METHODS) & pair.keys() - {"autoprune"}:
        if not isinstance(pair[method], dict):
            _refuse(files, [*path, method], f"found {pair[method]!r}, expected settings")
        _check_part(files, [*path, method], settings_of(method), pair[method])
    for key in ("methods", "more_methods"):
        _check_methods(config, files, [*path, key], pair.get(key, {}))
    if "autoprune" not in pair and set(methods_of(config, name)) != {"dense"}:
        _refuse(files, path, "settings of method autoprune are missing")


def _check_rule(config: Mapping[str, Any], files: Files, pair: str) -> None:
    """Whether the settings of each of a pair's searches go together, its own and its variant's."""
    for variant in methods_of(config, pair).get("autoprune", ()):
        training, own = run_settings(config, pair, "autoprune", variant)
        path = _place_of(config, pair, "autoprune", variant)
        try:
            rule = read(Rule, own)
        except WrongValue as error:
            _refuse(files, path, str(error))
        rounds = training.get("rounds", config["training"]["rounds"])
        if rule.target and rule.cap >= rounds:
            most = f"expected at most {rounds - 1} in {rounds} rounds"
            why = f"cap: found {rule.cap}, {most}: the last application lands on the target"
            _refuse(files, path, why)
        if rule.latency_table and not Path(rule.latency_table).exists():
            _refuse(files, [*path, "latency_table"], f"{rule.latency_table}: no such file")


def _check_stages(config: Mapping[str, Any], files: Files, pair: str) -> None:
    """Whether GETA's stages fit the rounds: it follows other runs, which would come first."""
    for variant in methods_of(config, pair).get("geta", ()):
        training, own = run_settings(config, pair, "geta", variant)
        rounds = training.get("rounds", config["training"]["rounds"])
        if own and (why := fault_of_stages(own, rounds)):  # the defaults go together
            _refuse(files, _place_of(config, pair, "geta", variant), why)


def _place_of(config: Mapping[str, Any], pair: str, method: str, variant: str) -> Path_:
    """Where the settings of a run's method stand: its variant's, or else the pair's."""
    named = variant in config["variants"].get(method, {})
    return ["variants", method, variant] if named else ["pairs", pair, method]


def _check_methods(
    config: Mapping[str, Any], files: Files, path: Path_, methods: Mapping[str, Sequence[str]]
) -> None:
    """Refuse methods that do not exist, and variants that are known not to."""
    for name, variants in methods.items():
        if name not in METHODS:
            _refuse(files, path, unknown("method", name, METHODS))
        # a method that names no variant takes any
        known = WEIGHTS if name in AFTER_WEIGHTS else tuple(said(name, "labels") or variants)
        known = (*known, *config["variants"].get(name, {}))
        if name in ("narrow", "found-widths", "random-filters"):
            known = (*known, *config["variants"].get("autoprune", {}))
        for position, variant in enumerate(variants):
            if variant not in known:
                _refuse(files, [*path, name, position], _found(variant, known))


def _check_variants(config: Mapping[str, Any], files: Files) -> None:
    """What a variant of the study's own sets must be of the training or of its method."""
    for method, named in config["variants"].items():
        if method not in METHODS:
            _refuse(files, ["variants"], unknown("method", method, METHODS))
        for name, given in named.items():
            path, training = ["variants", method, name], _of(Training, given)
            own = {k: v for k, v in given.items() if k not in {"like", *training}}
            _check_part(files, path, Training, training)
            if own:
                _check_part(files, path, settings_of(method), own)


def _check_starts(config: Mapping[str, Any], files: Files) -> None:
    """A file of weights must be there, unless it is of a run, which the workflow makes."""
    blocks: dict[tuple[str, ...], Mapping[str, Any]] = {("training",): config["training"]}
    blocks |= {("pairs", name): pair for name, pair in config["pairs"].items()}
    for method, variants in config["variants"].items():
        blocks |= {("variants", method, name): given for name, given in variants.items()}
    runs = Path(config["pathvars"]["results"], "runs")
    for path, block in blocks.items():
        start = block.get("start")
        if start and not Path(start).exists() and not Path(start).is_relative_to(runs):
            _refuse(files, [*path, "start"], f"{start}: no such file")


def _check_part(files: Files, path: Path_, model: type[Block], given: Mapping[str, Any]) -> None:
    """Refuse a part of a block: what is missing stands elsewhere."""
    try:
        from_written(model, given)
    except ValidationError as error:
        where, reason = refusal(error, model, but=("missing", "incomplete"))
        if reason:
            _refuse(files, [*path, *where], reason)


def _of(model: type[Block], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that are of a model, in its order."""
    return {name: given[name] for name in model.model_fields if name in given}


def _known_variants(config: Mapping[str, Any]) -> Sequence[str]:
    """The variants of autoprune, whose plans others may follow."""
    return (*WEIGHTS, *config["variants"].get("autoprune", {}))


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
    training = _of(Training, {**config["pairs"][pair], **named})
    own = {key: value for key, value in named.items() if key not in training}
    of_pair = dict(config["pairs"][pair].get(method, {}))
    if any(name in own for name in HOW_MUCH):  # a variant's k or target is instead of the pair's
        of_pair = {key: value for key, value in of_pair.items() if key not in HOW_MUCH}
    when = {"prune_at": config["controls"]["prune_at"]} if follows_dense(method) else {}
    return training, {**when, **of_pair, **own}


def _found(name: str, known: Sequence[str]) -> str:
    return f"found {name!r}; known are {', '.join(known)}"


def _refuse(files: Files, path: Path_, reason: str) -> None:
    raise InputError(f"{_origin(files, path)}: {dotted(path) or 'top level'}: {reason}")


def _origin(files: Files, path: Path_) -> str:
    """The last configuration file that sets ``path``; else all of them."""
    for file in reversed(files):
        value: Any = read_overlay(file)
        try:
            for key in path:
                value = value[key]
        except (KeyError, IndexError, TypeError):
            continue
        if path:
            return str(file)
    return " + ".join(map(str, files)) or "config"
