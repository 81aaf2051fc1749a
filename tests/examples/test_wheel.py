"""The wheel: the package with its data files and nothing else, and what it asks to be there."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import autoprune
from autoprune.core.provenance import closure
from copies import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = dict(
    line.split("==") for line in (ROOT / "envs/requirements.lock").read_text().split() if line
)
LOCKED = {canonicalize_name(name): version for name, version in LOCK.items()}
# formats of devices: envs/requirements-litert.txt and -executorch.txt
DEVICES = {"ai_edge_litert", "ai_edge_quantizer", "litert_torch", "executorch", "torchao"}
# `from autoprune import ...` in a process of its own
IMPORT = """
import time
start = time.process_time()
import autoprune, sys
took = time.process_time() - start
assert "torch" not in sys.modules and "flwr" not in sys.modules
assert took < 0.3, took
for name in autoprune.__all__:
    getattr(autoprune, name)
print(autoprune.__file__)
"""


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        about = archive.read(f"autoprune-{PROJECT['version']}.dist-info/METADATA").decode()
    files = (path for path in (ROOT / "workflow/autoprune").rglob("*") if path.is_file())
    # what Python and numba have compiled is a machine's own
    own = {
        str(path.relative_to(ROOT / "workflow"))
        for path in files
        if "__pycache__" not in path.parts
    }
    assert packed == own
    assert {"autoprune/py.typed", "autoprune/study/config.md.jinja"} <= packed
    assert "License-Expression: Apache-2.0" in about
    assert (ROOT / "README.md").read_text().strip() in about  # the long description


def test_the_installed_package_is_the_wheels_and_loads_nothing_before_it_is_used(clean, alone):
    done = subprocess.run(
        ["python", "-c", IMPORT], env=alone, cwd=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(clean.parent)


def test_an_installed_package_refuses_what_needs_the_repository(clean, alone, tmp_path):
    code = "from autoprune.federation.submit import submit; submit({})"
    done = subprocess.run(
        ["python", "-c", code], env=alone, cwd=tmp_path, capture_output=True, text=True
    )
    assert "pyproject.toml: no such file; run in the repository" in done.stderr


def needed(path):
    """Other people's packages that a file imports, wherever in it."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    return modules - sys.stdlib_module_names - {"autoprune"} - DEVICES


def distributions(modules):
    """Of each module the distributions that have it, by their names in metadata."""
    providers = metadata.packages_distributions()
    return {module: {canonicalize_name(name) for name in providers[module]} for module in modules}


def asked(requirements):
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def test_what_the_public_names_import_is_asked_for_and_the_rest_is_an_extra():
    base, more = PROJECT["dependencies"], PROJECT["optional-dependencies"]["workflow"]
    package = ROOT / "workflow/autoprune"
    names = ("federation.library", "federation.arrays", "pruning.library", "core.errors")
    public = set()
    for module in closure(*(f"autoprune.{name}" for name in names)):
        path = ROOT / "workflow" / Path(*module.split("."))
        public |= needed(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))
    # torchvision's own networks alone need it; pydantic brings its core
    for module, owners in distributions(public - {"torchvision", "pydantic_core"}).items():
        assert owners & asked(base), f"{module}: not among the dependencies"
    every = set.union(*map(needed, package.rglob("*.py"))) - {"pydantic_core", "ray", "google"}
    for module, owners in distributions(every).items():
        assert owners & asked([*base, *more]), f"{module}: not in the extra workflow"


def test_each_bound_is_the_minor_version_of_the_lock():
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["workflow"]]:
        requirement = Requirement(text)
        (bound,) = requirement.specifier
        locked = LOCKED[canonicalize_name(requirement.name)]
        assert bound.operator == ">=", text
        assert bound.version == ".".join(locked.split(".")[:2]), f"{text}, the lock has {locked}"


def test_there_are_few_public_names_and_each_says_what_it_takes_gives_and_raises():
    assert 1 < len(autoprune.__all__) <= 12
    assert sorted(autoprune.__all__, key=str) == autoprune.__all__
    for name in autoprune.__all__:
        about = getattr(autoprune, name).__doc__
        assert about, name
        if name != "InputError":
            assert "Raises InputError" in about, name
            assert re.search(r"\(batch, ...\)|layer ->|array|\(batch, channel", about), name
    with pytest.raises(AttributeError, match="has no attribute 'prune'"):
        autoprune.prune  # noqa: B018
