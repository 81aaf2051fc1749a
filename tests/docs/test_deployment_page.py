"""docs/deployment.md does what it says, in a copy of the repository with the study of ci.yaml."""

import shutil
import sys

import pytest
from pages import execute

from copies import ROOT


@pytest.mark.soak
@pytest.mark.skipif(
    " " in sys.executable, reason="Flower's SuperLink does not work from a path with a space"
)
def test_the_page_does_what_it_says(studied, tmp_path):
    folder = tmp_path / "autoprune"
    shutil.copytree(studied, folder, symlinks=True)  # with the times of the files
    execute((ROOT / "docs/deployment.md").read_text(), folder, "docs/deployment.md")
