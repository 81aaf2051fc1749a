"""The README: what it shows of the workflow is what the workflow is."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_rule_graph_is_current():
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--rulegraph", "mermaid-js"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", done.stdout))
    drawn = {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", done.stdout)}
    assert drawn
    assert set(re.findall(r"^    (\w+) --> (\w+)$", README, re.MULTILINE)) == drawn


def test_every_file_the_readme_names_exists():
    names = re.findall(r"\]\((?!http)([^)]+)\)", README)
    names += re.findall(r"`((?:config|tests|workflow)/[\w./-]+\.\w+)`", README)
    assert len(names) > 5
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_configuration_key_is_explained():

    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    text = (ROOT / "config/README.md").read_text()
    keys = set(schema["properties"])
    for part in schema["$defs"].values():
        keys |= set(part.get("properties", {}))
    assert sorted(key for key in keys if f"`{key}`" not in text) == []
