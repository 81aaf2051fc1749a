"""config/README.md and the Flower app's settings: made from the models, current, complete."""

import shutil
from pathlib import Path

import pytest
import yaml
from pydantic import Field, create_model

from autoprune import methods
from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.study import flower_app
from autoprune.study.page import allowed, overlay, render
from autoprune.study.settings import Config
from stages import run_here

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "workflow/pyproject.toml"
PAGE = (ROOT / "config/README.md").read_text()


def test_the_page_and_the_app_are_current():
    stale = "config/README.md or workflow/pyproject.toml is stale; run `make docs`"
    assert render(ROOT / "config") == PAGE, stale
    app = flower_app.render(APP.read_text() + "old = 1\n", ROOT / "config/config.yaml")
    assert app == APP.read_text(), stale


def test_every_key_and_every_option_is_explained():
    """Of what has no description the page is not made; all that the models have stand in it."""
    parts = Config.model_json_schema()["$defs"].values()
    found = {key for part in parts for key in part.get("properties", {})}
    found |= {key for name in sources.names() for key in sources.load(name).Options.model_fields}
    assert {"rounds", "k", "min_samples", "without", "writers"} <= found
    absent = sorted(key for key in found if f"`{key}`" not in PAGE and f".{key}`" not in PAGE)
    assert absent == []


def test_every_method_source_and_overlay_has_its_row():
    rows = [line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| `")]
    cells = {name.strip("`") for name in rows}
    assert set(methods.known()) <= cells
    assert set(sources.names()) <= cells
    named = " ".join(rows)
    overlays = {path.name for path in (ROOT / "config").glob("*.yaml")} - {"config.yaml"}
    assert sorted(name for name in overlays if name not in named) == []


def test_a_value_of_config_yaml_stands_beside_its_key():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    rounds = config["training"]["rounds"]
    assert f"| `rounds` | whole number ≥ 1 | `{rounds}` |" in PAGE
    k = config["pairs"]["glyphs-cnn"]["autoprune"]["k"]
    assert f"| `autoprune.k` | number > 0 | `{k}` |" in PAGE


def test_a_key_without_a_description_is_refused():
    silent = create_model("Silent", __base__=Config, mode=(int, Field(3)))
    with pytest.raises(InputError, match="mode: has no description; write one"):
        render(ROOT / "config", silent)


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
    assert allowed({"anyOf": [{"type": "string"}, {"type": "null"}]}) == "text or nothing"
    assert allowed({"enum": [1, "three"]}) == "`1`, `three`"


def test_the_command_writes_the_page_anew(tmp_path):
    shutil.copytree(ROOT / "config", tmp_path / "config")
    (tmp_path / "config/README.md").write_text("stale\n")
    done = run_here("autoprune.study.page", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "config/README.md").read_text() == PAGE
