"""What a full disk cuts of Python's own compiled files is compiled anew, and blocks no job."""

import os
import shutil
import subprocess
import sys

import pytest

from copies import ROOT

STAGE = ["-m", "autoprune.data.fetch.download", "--help"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A copy of the package, and what a stage of it printed when it compiled it."""
    folder = tmp_path_factory.mktemp("copy")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "workflow/autoprune", folder / "autoprune", ignore=ignored)
    return folder, run(folder)


def run(folder, *command):
    told = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    told["PYTHONPATH"] = str(folder)
    command = [sys.executable, *(command or STAGE)]
    return subprocess.run(command, env=told, capture_output=True, text=True)


@pytest.mark.parametrize("left", [0, 8, 16, 17, 500, -1])
def test_a_cut_file_is_compiled_anew(compiled, left):
    folder, before = compiled
    assert before.returncode == 0, before.stderr
    (file,) = folder.glob("autoprune/core/__pycache__/options.*.pyc")
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    done = run(folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, before.stdout, "")
    assert file.read_bytes() == whole


def test_a_file_of_zeros_and_one_that_cannot_be_removed_are_passed_over(compiled):
    folder, before = compiled
    (file,) = folder.glob("autoprune/core/__pycache__/options.*.pyc")
    whole = file.read_bytes()
    file.write_bytes(whole[:50] + bytes(len(whole) - 50))
    kept = "import os, autoprune\ndef no(*_):\n    raise PermissionError\nos.unlink = no\n"
    done = run(folder, "-c", kept + "import autoprune.core.options")
    assert (done.returncode, done.stderr) == (0, "")
    assert file.read_bytes() != whole
    assert run(folder).stdout == before.stdout
    assert file.read_bytes() == whole


def test_a_source_that_is_no_python_still_says_so(compiled):
    folder, _ = compiled
    source = folder / "autoprune/core/broken.py"
    source.write_bytes(b"x = 1\0")
    done = run(folder, "-c", "import autoprune.core.broken")
    assert done.returncode == 1
    assert "null bytes" in done.stderr
    source.unlink()
