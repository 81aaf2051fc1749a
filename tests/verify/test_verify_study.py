"""Verify on a real study: what it must catch, and what it must let pass."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stages import run_stage

ROOT = Path(__file__).resolve().parents[2]
RUNS = "results/ci/runs/glyphs/cnn"
CONFIG = ["--configfile", "config/ci.yaml", "tiny.yaml"]
# one pair and three rounds: a run is a second's work, its start most of it
TINY = """
seeds: [0]
study: [glyphs-cnn]
methods: {dense: [fedavg], autoprune: [reinit]}
pairs:
  glyphs-cnn: {widths: [6, 8], rounds: 3, evaluate_every: 1, autoprune: {k: 1.2, cap: 3}}
"""
pytestmark = pytest.mark.long


def call(folder, *command, **environment):
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    told = {"cwd": folder, "env": inherited | environment, "timeout": 600}
    return run_stage(*command, **told)


def snakemake(folder, *targets, **environment):
    quiet = ["--cores", "2", "--quiet", "rules"]
    return call(folder, "snakemake", *quiet, *CONFIG, "--", *targets, **environment)


def verify(folder, *flags):
    compared = ["--results", "results/ci", "--reference", "reference", *flags]
    return call(folder, "autoprune.check.verify", *compared, PYTHONPATH=str(folder / "workflow"))


def remade(folder, **environment):
    """Make what a comparison needs, the published tables apart, and verify."""
    names = ["metrics.csv", "environment.json", "published_counts.json"]
    done = snakemake(folder, *(f"results/ci/{name}" for name in names), **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return verify(folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A copy of the workflow with a small study, and the reference made from it."""
    folder = tmp_path_factory.mktemp("verify") / "study"
    for name in ("workflow", "config", "profiles"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    shutil.copy(ROOT / "Snakefile", folder)
    (folder / "tiny.yaml").write_text(TINY)
    done = remade(folder)
    assert done.returncode == 2
    assert "reference: no reference there; make one with" in done.stderr
    done = verify(folder, "--record")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def study(recorded, tmp_path):
    """A copy of that study to change; times are kept, so that nothing reruns by itself."""
    folder = tmp_path / "study"
    shutil.copytree(recorded, folder, copy_function=shutil.copy2)
    return folder


def forget(folder, runs):
    """Remove runs and what is made from them; a run alone is not missed where its table stands."""
    shutil.rmtree(folder / runs)
    for name in ("metrics.csv", "environment.json"):
        (folder / "results/ci" / name).unlink()


def edit(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_what_was_recorded_is_the_same(study):
    done = verify(study)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^SAME: \d{3,} figures compared$", done.stdout, re.MULTILINE)
    assert "nothing: the same settings, code and versions" in done.stdout


def test_a_changed_k_is_caught_and_named(study):
    edit(study / "tiny.yaml", "k: 1.2", "k: 0.9")
    done = remade(study)
    assert done.returncode == 1
    assert re.search(r"^plans .* lower ", done.stdout, re.MULTILINE)
    last = done.stdout.splitlines()[-1]
    assert last.startswith("MOVED: ")
    assert last.endswith("First suspect: k 1.2 → 0.9 in glyphs/cnn/autoprune/reinit/seed-0")
    assert "dense/fedavg" not in done.stdout  # of that run nothing moved


def test_an_edited_pruning_rule_is_caught_and_named(study):
    rule = study / "workflow/autoprune/pruning/rule.py"
    old = "allowed = Fraction(str(k)) ** 2 * variance"
    edit(rule, old, "allowed = Fraction(str(k)) * variance")
    done = remade(study)
    assert done.returncode == 1
    suspect = "First suspect: autoprune.pruning.rule edited, in the code of 1 of 2 runs"
    assert done.stdout.splitlines()[-1].startswith("MOVED: ")
    assert done.stdout.splitlines()[-1].endswith(suspect)


def test_another_seed_is_caught_and_named(study):
    edit(study / "tiny.yaml", "seeds: [0]", "seeds: [1]")
    done = remade(study)
    assert done.returncode == 1
    assert "seed 0: in the reference only" in done.stdout
    assert "seed 1: in the results only" in done.stdout
    gone = r"^runs +glyphs/cnn/autoprune/reinit/seed-0 +run +there +missing"
    assert re.search(gone, done.stdout, re.MULTILINE)


def test_a_faked_library_version_is_caught_and_named(study):
    """Its metadata stand first on the path; the numbers of the run made anew are the same."""
    fake = study / "workflow/numpy-9.9.9.dist-info"
    fake.mkdir()
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 9.9.9\n")
    forget(study, f"{RUNS}/dense/fedavg/seed-0")
    done = remade(study)
    assert done.returncode == 1
    described = json.loads((study / "results/ci/environment.json").read_text())
    assert described["versions"]["numpy"] == "9.9.9"
    line = r"^  version  numpy \S+ → 9\.9\.9 in 1 of 2 runs$"
    assert re.search(line, done.stdout, re.MULTILINE)
    last = done.stdout.splitlines()[-1]
    assert re.match(r"OTHER VERSIONS: all \d+ figures are the reference's, but numpy", last)
    assert verify(study, "--any-versions").returncode == 0


def test_another_platforms_kernels_are_within_the_tolerances(study):
    """The same processor told to do without its wide instructions adds in another order."""
    forget(study, RUNS)
    done = remade(study, ATEN_CPU_CAPABILITY="default", ONEDNN_MAX_CPU_ISA="SSE41")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Platform: another class than the reference's." in done.stdout
    assert "limits none → ATEN_CPU_CAPABILITY default" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("SAME: ")


def test_a_commit_makes_nothing_rerun(study):
    before = (study / "results/ci/environment.json").read_bytes()
    assert json.loads(before)["git"] is None
    for words in (["init", "-q"], ["add", "Snakefile", "workflow", "config"]):
        subprocess.run(["git", *words], cwd=study, check=True)
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *name, "commit", "-qm", "one"], cwd=study, check=True)
    assert "Nothing to be done" in snakemake(study, "results/ci/environment.json").stderr
    assert (study / "results/ci/environment.json").read_bytes() == before
