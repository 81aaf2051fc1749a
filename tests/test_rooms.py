"""The order of the rooms: pyproject.toml's contracts hold, and what breaks them is seen."""

import subprocess
import sys

import pytest

from copies import ROOT, copy_of_the_repository


def contracts(folder):
    """Run import-linter on a checkout."""
    code = "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "workflow"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )


def test_data_flow_down_the_rooms():
    done = contracts(ROOT)
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("pruning/rule.py", "from autoprune.federation import live\n", "pruning"),
        ("evidence/texts.py", "import torch\n", "neither torch nor flwr"),
        ("attic.py", "", "attic"),  # a module of no room
    ],
)
def test_an_import_back_up_breaks_the_contract(tmp_path, module, line, broken):
    folder = copy_of_the_repository(tmp_path / "copy")
    path = folder / "workflow/autoprune" / module
    path.write_text((path.read_text() if path.exists() else '"""No room."""\n') + line)
    done = contracts(folder)
    assert done.returncode == 1
    assert broken in done.stdout
