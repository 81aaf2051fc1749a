"""config/README.md: made from the schema and the modules, current, and complete."""

import shutil
from pathlib import Path

import pytest
import yaml

from autoprune import methods
from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.study.page import allowed, overlay, render
from stages import run_stage

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow/schemas/config.schema.yaml"
PAGE = (ROOT / "config/README.md").read_text()


def described(rule, path=""):
    """(path, has a description) of every key of a schema."""
    for name, found in rule.get("properties", {}).items():
        yield f"{path}{name}", "description" in found or "$ref" in found
        yield from described(found, f"{path}{name}.")
    for found in rule.get("patternProperties", {}).values():
        yield from described(found, f"{path}*.")


def test_the_page_is_current():
    stale = "config/README.md is stale; run `make docs`"
    assert render(ROOT / "config") == PAGE, stale


def test_every_key_and_every_option_is_explained():
    schema = yaml.safe_load(SCHEMA.read_text())
    for name in ("digits", "tff", "training", "pair"):
        assert list(described(schema["$defs"][name]))
    parts = {"": schema, **schema["$defs"]}
    missing = [f"{n}: {key}" for n, part in parts.items() for key, ok in described(part) if not ok]
    # the two lists of variants: the table of methods says what they are
    assert missing == [": methods.dense"]
    keys = {key.rpartition(".")[2] for part in parts.values() for key, _ in described(part)}
    absent = sorted(key for key in keys if f"`{key}`" not in PAGE and f".{key}`" not in PAGE)
    assert absent == []


def test_every_method_source_and_overlay_has_its_row():
    rows = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| `")]
    cells = {name.strip("`") for name in rows}
    assert set(methods.known()) <= cells
    assert set(sources.discover()) <= cells
    named = " ".join(rows)
    overlays = {path.name for path in (ROOT / "config").glob("*.yaml")} - {"config.yaml"}
    assert sorted(name for name in overlays if name not in named) == []


def test_a_value_of_config_yaml_stands_beside_its_key():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    rounds = config["training"]["rounds"]
    assert f"| `rounds` | whole number ≥ 1 | `{rounds}` |" in PAGE
    k = config["pairs"]["glyphs-cnn"]["autoprune"]["k"]
    assert f"| `autoprune.k` | number > 0 | `{k}` |" in PAGE


def test_a_key_without_a_description_is_refused(tmp_path):
    rules = yaml.safe_load(SCHEMA.read_text())
    del rules["properties"]["seeds"]["description"]
    path = tmp_path / "schema.yaml"
    path.write_text(yaml.safe_dump(rules, sort_keys=False))
    with pytest.raises(InputError, match="seeds: has no description; write one"):
        render(ROOT / "config", path)


def test_an_overlay_says_what_it_is_laid_over(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        "# Two\n# lines. Not this.\n#   snakemake --configfile config/a.yaml\n\nseeds: [0]"
    )
    assert overlay(path) == {"files": "`a.yaml`", "text": "Two lines. Not this."}
    path.write_text("seeds: [0]\n")
    with pytest.raises(InputError, match=r"mine\.yaml: begins with no comment"):
        overlay(path)


def test_what_is_allowed_is_said_in_words():
    pair = {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer"}}
    assert allowed(pair) == "list of 2 whole numbers"
    assert allowed({"type": "number", "exclusiveMinimum": 0}) == "number > 0"
    assert allowed({"type": ["string", "null"]}) == "text or nothing"
    assert allowed({"enum": [1, "three"]}) == "`1`, `three`"


def test_the_command_writes_the_page_anew(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "config/README.md").write_text("stale\n")
    done = run_stage("autoprune.study.page", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "config/README.md").read_text() == PAGE
