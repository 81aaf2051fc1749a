"""What contributors are given: hooks, workflows and the catalog's entry call what there is."""

import re

import yaml
from packaging.version import Version


def loaded(path):
    return yaml.safe_load(path.read_text())


def test_the_workflows_call_make_for_targets_that_exist(root):
    found = {
        path.name: [
            step["run"]
            for job in loaded(path)["jobs"].values()
            for step in job["steps"]
            if "run" in step
        ]
        for path in (root / ".github/workflows").glob("*.yml")
    }
    assert len(found) == 2
    targets = re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE)
    for name, commands in found.items():
        assert commands, name
        for command in commands:
            make, target, *_ = command.split()
            assert (make, target in targets) == ("make", True), f"{name}: {command}"


def test_every_python_of_the_workflows_is_one_that_the_package_takes(root):
    jobs = loaded(root / ".github/workflows/tests.yml")["jobs"]
    named = [
        version
        for job in jobs.values()
        for version in job.get("strategy", {}).get("matrix", {}).get("python", ["3.11"])
    ]
    for file in ("pyproject.toml", "workflow/pyproject.toml"):
        asked = re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (root / file).read_text())
        least, above = map(int, asked.groups())
        assert {int(version.removeprefix("3.")) for version in named} == set(range(least, above))


def test_hooks_run_the_programs_of_make_lint(root):
    (repository,) = loaded(root / ".pre-commit-config.yaml")["repos"]
    lint = (root / "Makefile").read_text().split("\nlint:")[1].split("\n\n")[0]
    for hook in repository["hooks"]:
        program = re.search(r"\.venv/bin/(\S+(?: check| format)?)", hook["entry"])[1]
        assert f"$(bin)/{program}" in lint, hook["id"]


def test_the_lock_has_what_the_snakefile_asks_for_at_least(root):
    asked = re.search(r'^min_version\("(.*)"\)', (root / "Snakefile").read_text(), re.MULTILINE)
    locked = re.search(r"^snakemake==(.*)$", (root / "envs/requirements.lock").read_text(), re.M)
    assert Version(asked[1]) <= Version(locked[1])


def test_contributing_is_short_and_its_targets_exist(root):
    text = (root / "CONTRIBUTING.md").read_text()
    assert text.count("\n") <= 60
    targets = re.findall(r"^([a-z]+):", (root / "Makefile").read_text(), re.MULTILINE)
    called = re.findall(r"(?:`|^    )make ([a-z]+)", text, re.MULTILINE)
    assert called
    assert set(called) <= set(targets)
