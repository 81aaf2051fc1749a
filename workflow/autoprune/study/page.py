"""The page that explains every configuration key, made from what the workflow itself reads.

The models' descriptions, the values of config.yaml, the overlays' first sentences, the docstrings
of methods and sources. `make docs` writes it; a test says when it is stale.
"""

import argparse
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from autoprune import methods, models
from autoprune.core.block import Block
from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_text
from autoprune.data.prepare import sources
from autoprune.data.prepare.schemes import NEEDS, SUMMARY
from autoprune.federation.settings import Training
from autoprune.pruning.settings import Rule
from autoprune.study.methods import AFTER_WEIGHTS, follows_plan
from autoprune.study.networks import FromFunction
from autoprune.study.settings import Config, DataSet, Pair

TEMPLATES = Path(__file__).parent
# by the workflow to methods that ask for them
GIVEN = ("plan", "dense", "prune_at", "rounds", "optimizer")
Row = dict[str, str]
Schema = Mapping[str, Any]


def render(config: Path, model: type[Block] = Config) -> str:
    """The page as markdown; ``config`` is the folder of config.yaml and its overlays.

    Raises InputError naming the key that has no description.
    """
    rules = model.model_json_schema()
    values = yaml.safe_load((config / "config.yaml").read_text(encoding="utf-8"))
    first = next(iter(values["pairs"]))
    parts = ("training", "datasets", "pairs")
    pages = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return pages.get_template("config.md.jinja").render(
        table=table,
        overlays=sorted(map(overlay, config.glob("*.yaml")), key=lambda row: row["files"]),
        top=[
            *keys(rules, rules, values, skip=parts),
            *(row for row in keys(rules, rules, {}) if row["key"] in parts),
        ],
        methods=list(method_rows()),
        settings=list(setting_rows()),
        dataset=rows_of(DataSet),
        schemes=[
            {"name": name, "needs": _needs(NEEDS[name]), "text": text}
            for name, text in SUMMARY.items()
        ],
        sources=[
            {"name": name, "text": _first_sentence(sources.load(name).__doc__)}
            for name in sources.names()
        ],
        options=option_rows(),
        networks=[
            {
                "name": name,
                "text": _first_sentence(import_module(f"autoprune.models.{name}").__doc__),
            }
            for name in models.families()
        ],
        made=rows_of(FromFunction),
        training=rows_of(Training, values["training"]),
        pair=rows_of(Pair, values["pairs"][first]),
        first_pair=first,
    )


def rows_of(model: type[Block], values: Any = None) -> list[Row]:
    """The rows of a model by itself."""
    rules = model.model_json_schema()
    return list(keys(rules, rules, values))


def overlay(path: Path) -> Row:
    """What a configuration file says of itself: its first sentence, and what it is laid over.

    Raises InputError when it does not begin with a comment.
    """
    head = path.read_text(encoding="utf-8").partition("\n\n")[0].splitlines()
    comment = [line.removeprefix("# ") for line in head if line.startswith("#")]
    text = _sentences(comment)
    if not text:
        raise InputError(f"{path}: begins with no comment; write a sentence that says what it runs")
    command = next((line for line in comment if "--configfile" in line), "")
    files = re.findall(r"config/([\w-]+\.yaml)", command) if path.stem != "config" else []
    return {"files": f"`{' '.join(files)}`" if files else "(none)", "text": text}


def _sentences(lines: Sequence[str]) -> str:
    """The lines up to the first that ends a sentence."""
    for number, line in enumerate(lines, 1):
        if line.endswith("."):
            return " ".join(lines[:number])
    return ""


def keys(
    rules: Schema, part: Schema, values: Any, skip: Sequence[str] = (), prefix: str = ""
) -> Iterator[Row]:
    """A row a key of an object's schema, and of the objects in it, in the schema's order."""
    for name, found in resolved(rules, part).get("properties", {}).items():
        if name in skip:
            continue
        rule, path = resolved(rules, found), f"{prefix}{name}"
        value = values.get(name) if isinstance(values, Mapping) else None
        if value is None:
            value = rule.get("default")
        nested = []
        if prefix or name not in (
            "training",
            "datasets",
            "pairs",
        ):  # which have tables of their own
            nested += list(keys(rules, rule, value, prefix=f"{path}."))
            nested += list(keys(rules, _member(rules, rule), None, prefix=f"{path}.NAME."))
        yield {
            "key": path,
            "value": allowed(rule),
            "default": "–" if nested or value in (None, {}, "") else f"`{_shown(value)}`",
            "text": described(rule, path),
        }
        yield from nested


def resolved(rules: Schema, rule: Schema) -> Schema:
    """A rule with what its $ref points to; what stands beside the $ref wins.

    What may be left out may also be null, which goes without saying.
    """
    if "default" in rule and rule["default"] is None and "anyOf" in rule:
        only = next(one for one in rule["anyOf"] if one != {"type": "null"})
        rule = {**only, **{key: value for key, value in rule.items() if key != "anyOf"}}
    if "$ref" not in rule:
        return rule
    return {**rules["$defs"][rule["$ref"].rpartition("/")[2]], **rule}


def described(rule: Schema, path: str) -> str:
    """A rule's description on one line of a table; raises InputError when it has none."""
    if "description" not in rule:
        raise InputError(f"{path}: has no description; write one beside the field")
    return _cell(rule["description"])


def allowed(rule: Schema) -> str:
    """What a rule allows, in a few words."""
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    if "anyOf" in rule:
        return " or ".join(map(allowed, rule["anyOf"]))
    kind = rule.get("type", "object")
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {rule[key]}" for key, sign in signs.items() if key in rule]
    words = {"object": "mapping", "string": "text", "null": "nothing", "integer": "whole number"}
    words |= {"boolean": "`true`, `false`"}
    if kind == "array":
        number = f"{rule['minItems']} " if rule.get("maxItems") == rule.get("minItems", -1) else ""
        member = allowed(rule.get("items") or rule["prefixItems"][0])
        return f"list of {number}{member}".replace("number", "numbers")
    return f"{words.get(kind, kind)} {', '.join(bounds) if kind != 'null' else ''}".strip()


def table(rows: Sequence[Row]) -> str:
    """Rows of keys as a markdown table."""
    lines = ["| key | value | default | meaning |", "|---|---|---|---|"]
    lines += ["| `{key}` | {value} | {default} | {text} |".format(**row) for row in rows]
    return "\n".join(lines)


def method_rows() -> Iterator[Row]:
    """Every method: its variants, its module's first paragraph, its class's, how it differs."""
    for name in sorted(methods.known(), key=_rank):
        method = methods.load(name)
        module = inspect.getmodule(method)
        text = [_first_paragraph(module.__doc__), _first_paragraph(method.__doc__)]
        text += [f"Differs from its source: {method.differs}."] if method.differs else []
        follows = follows_plan(name)
        names = ", ".join(f"`{variant}`" for variant in method.variants)
        if follows and name in AFTER_WEIGHTS:
            names = "a variant of autoprune, which it follows"
        elif follows:
            names += "; follows the reference"
        yield {"name": name, "variants": names, "text": _cell(" ".join(text))}


def _rank(name: str) -> tuple[bool, bool, bool, str]:
    """The baseline, the paper's method, those that are named after its variants, the others."""
    return name != "dense", name != "autoprune", name not in AFTER_WEIGHTS, name


def setting_rows() -> Iterator[Row]:
    """The settings that methods have beside those of the rule, which stand with the pairs."""
    for name in sorted(methods.known(), key=_rank):
        for row in rows_of(methods.load(name).Settings):
            if row["key"] not in (*GIVEN, *Rule.model_fields):
                yield row | {"key": f"{name}.{row['key']}"}


def option_rows() -> list[Row]:
    """Every option of the sources; those that mean the same stand together."""
    sorted_out: dict[tuple[str, ...], dict[str, str]] = {}
    by_source = {name: sources.load(name).Options for name in sources.names()}
    for source, model in by_source.items():
        rules = model.model_json_schema()
        for key, rule in rules["properties"].items():
            rule = resolved(rules, rule)
            text = described(rule, f"{source}.{key}")
            needed = key in rules.get("required", ())
            found = sorted_out.setdefault((key, allowed(rule), text), {})
            default = rule.get("default")
            found[f"{source}*" if needed else source] = "–" if default is None else f"`{default}`"
    rows = []
    for (key, value, text), found in sorted_out.items():
        names = ", ".join(found)
        if len(found) == len(by_source) and len({name[-1] == "*" for name in found}) == 1:
            names = "all*" if names.endswith("*") else "all"
        default = _by_source(found)
        rows.append(
            {"key": key, "sources": names, "value": value, "default": default, "text": text}
        )
    return sorted(
        rows, key=lambda row: (not row["sources"].startswith("all"), -row["sources"].count(","))
    )


def _by_source(defaults: Mapping[str, str]) -> str:
    """One default if all have it that need not be told, else each with its sources."""
    sources_of: dict[str, list[str]] = {}
    for name, given in defaults.items():
        if not name.endswith("*"):
            sources_of.setdefault(given, []).append(name)
    if len(sources_of) == 1:
        return next(iter(sources_of))
    named = {given: names for given, names in sources_of.items() if given != "–"}
    return ", ".join(f"{given} ({', '.join(names)})" for given, names in named.items()) or "–"


def _member(rules: Schema, rule: Schema) -> Schema:
    """The schema of an object's members under names of the user's, where it says something."""
    member = rule.get("additionalProperties")
    return resolved(rules, member) if isinstance(member, dict) and "$ref" in member else {}


def _needs(names: Sequence[str]) -> str:
    """What a scheme must be given."""
    return ", ".join(" or ".join(f"`{n}`" for n in name.split("|")) for name in names) or "–"


def _shown(value: Any) -> str:
    """A value as YAML writes it on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6)
    return text.removesuffix("\n...\n").strip()


def _cell(text: str) -> str:
    """Text on one line, with no bar that would end a cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _first_paragraph(docstring: str | None) -> str:
    return " ".join(inspect.cleandoc(docstring or "").partition("\n\n")[0].split())


def _first_sentence(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "").splitlines()[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("config"), help="folder of config.yaml")
    parser.add_argument("--output", type=Path, default=Path("config/README.md"))
    args = parser.parse_args(argv)
    write_text(args.output, render(args.config))
    print(args.output)


if __name__ == "__main__":
    run_main(main)
