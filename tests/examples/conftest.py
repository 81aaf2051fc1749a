"""The wheel, and an environment that has it and, from ours, the packages of others alone."""

import os
import subprocess
import sys
import venv
from importlib.metadata import entry_points
from pathlib import Path
from sysconfig import get_path

import pytest

from copies import copy_of_the_repository

SCRIPT = "#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built of a copy at a path with a space."""
    folder = tmp_path_factory.mktemp("a wheel")
    copy_of_the_repository(folder / "autoprune")
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    command = [sys.executable, "-m", "pip", *build, str(folder / "autoprune")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="session")
def clean(wheel, tmp_path_factory):
    """The ``bin`` of such an environment."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True)
    python, install = folder / "bin/python", ["install", "--no-deps", "--no-index", str(wheel)]
    command = [sys.executable, "-m", "pip", "--python", str(python), *install]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages = folder / Path(get_path("purelib")).relative_to(sys.prefix)
    (packages / "of_others.pth").write_text(get_path("purelib"))
    for script in entry_points(group="console_scripts"):
        if script.value.startswith("flwr."):
            path = folder / "bin" / script.name
            text = SCRIPT.format(python=python, module=script.module, function=script.attr)
            path.write_text(text)
            path.chmod(0o755)
    return folder / "bin"


@pytest.fixture(scope="session")
def alone(clean):
    """The variables of a process in that environment: the checkout is nowhere to be found."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH",)}
    return kept | {"PATH": f"{clean}{os.pathsep}{kept['PATH']}", "VIRTUAL_ENV": str(clean.parent)}
