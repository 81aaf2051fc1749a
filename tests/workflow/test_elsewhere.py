"""A study in a folder of its own: `-s PATH/Snakefile -d FOLDER`, the project stays as it is."""

import subprocess
import sys

import pytest

from copies import ROOT, copy_of_the_repository

pytestmark = pytest.mark.long

OVERLAY = """
study: [digits-cnn]
seeds: [0]
training: {rounds: 2}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project and, beside it, the folder of a study; paths have a space."""
    base = tmp_path_factory.mktemp("two folders")
    copy_of_the_repository(base / "the project")
    (base / "a study").mkdir()
    (base / "a study/mine.yaml").write_text(OVERLAY)
    return base


def snakemake(place, *words, folder="a study"):
    where = ["-s", place / "the project/Snakefile", "-d", place / folder]
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *where, *words]
    done = subprocess.run(list(map(str, command)), cwd="/", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_it_runs_there_and_leaves_the_project_as_it_is(place):
    before = {path for path in (place / "the project").rglob("*") if "__pycache__" not in str(path)}
    files = ["results/published_counts.json", "results/tables/partition.html"]
    overlay = ["--configfile", place / "a study/mine.yaml"]
    snakemake(place, *files, *overlay)
    assert all((place / "a study" / file).stat().st_size for file in files)
    after = {path for path in (place / "the project").rglob("*") if "__pycache__" not in str(path)}
    assert {path for path in after - before if ".snakemake" not in path.parts} == set()
    done = snakemake(place, "-n", *files, *overlay)
    assert "Nothing to be done" in done.stdout + done.stderr
    status = [sys.executable, "-m", "autoprune.check.status", "--configfile", "mine.yaml"]
    done = subprocess.run(status, cwd=place / "a study", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (3, "")  # 3: not finished
    assert done.stdout.startswith("7 runs: 7 waiting")


def test_all_of_a_study_has_its_inputs_there(place):
    assert "all" in snakemake(place, "-n", "--quiet", "rules", "all").stdout


def test_a_configuration_of_the_folders_own_comes_first(place):
    folder = place / "another study"
    (folder / "config").mkdir(parents=True)
    text = (ROOT / "config/config.yaml").read_text()
    (folder / "config/config.yaml").write_text(text.replace("results: results", "results: mine"))
    done = snakemake(place, "-n", "data", folder=folder.name)
    assert "mine/data/digits/store/header.json" in done.stdout
