"""docs/library.md: its files run and print what it says; its names are the public ones."""

import re
import sys

import pytest
from pages import execute

import autoprune
from copies import ROOT

PAGE = ROOT / "docs/library.md"


@pytest.mark.long
def test_the_page_does_what_it_says(tmp_path):
    for name in ("workflow", "pyproject.toml", "README.md", "LICENSE"):
        (tmp_path / name).symlink_to(ROOT / name)
    # without the network: what builds the wheel is in this environment
    text = PAGE.read_text().replace("pip wheel --quiet", "pip wheel --quiet --no-build-isolation")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    execute(text, tmp_path, "docs/library.md")


def test_the_page_names_what_is_public():
    named = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(named) == sorted(autoprune.__all__)
    assert f"{['', 'One', 'Two', 'Three', 'Four', 'Five', 'Six', 'Seven'][len(named)]} names" in (
        PAGE.read_text()
    )
