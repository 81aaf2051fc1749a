"""What `make` calls around Snakemake: stale locks and the closing summary."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from stages import run_stage


def call(module, folder, *args):
    return run_stage(module, *args, cwd=folder)


@pytest.fixture
def locked(tmp_path):
    """A folder with the locks that a killed Snakemake leaves."""
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("a\n")
    (locks / "0.output.lock").write_text("b\n")
    return tmp_path


def test_stale_locks_are_dropped(locked):
    done = call("autoprune.check.unlock", locked)
    assert done.returncode == 0, done.stderr
    assert "going on where it was" in done.stderr
    assert list((locked / ".snakemake" / "locks").iterdir()) == []
    assert call("autoprune.check.unlock", locked).stderr == ""


def test_locks_of_a_running_snakemake_stay(locked):
    """A process that looks like Snakemake in this folder keeps its locks."""
    script = locked / "snakemake"
    script.write_text("import time\ntime.sleep(60)\n")
    process = subprocess.Popen([sys.executable, str(script)], cwd=locked)
    try:
        time.sleep(0.5)
        done = call("autoprune.check.unlock", locked)
    finally:
        process.kill()
        process.wait()
    assert done.returncode == 1
    assert f"already running here (process {process.pid})" in done.stderr
    assert len(list((locked / ".snakemake" / "locks").iterdir())) == 2


def test_what_was_compiled_is_kept_whatever_the_environment_says(root, tmp_path):
    """Else each of a study's processes compiles torch anew: twice the time of the tests."""
    more = tmp_path / "more.mk"
    more.write_text("show:\n\t@echo kept: $${PYTHONDONTWRITEBYTECODE-yes}\n")
    command = ["make", "--no-print-directory", "-f", root / "Makefile", "-f", more, "show"]
    told = {"cwd": root, "env": os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}}
    done = subprocess.run(command, capture_output=True, text=True, **told)
    assert done.stdout == "kept: yes\n", done.stderr


def test_the_outcome_shows_verdicts_and_names_the_files(tmp_path):
    tables = tmp_path / "results" / "tables"
    tables.mkdir(parents=True)
    row = {
        "claim": "89 % fewer parameters",
        "published": "89 %",
        "source": "abstract",
        "variant": "inherit",
        "ours": 61.234,
        "low": 55.0,
        "high": 67.5,
        "verdict": "does not hold",
        "answer": "does not hold on digits/CNN; and more",
        "tested_on": "glyphs/cnn (stand-in)",
    }
    other = {**row, "source": "notebook", "claim": "a notebook's number"}
    untested = {**row, "claim": "latency", "variant": None, "ours": None, "low": None}
    untested |= {"verdict": "not tested", "answer": None}
    pd.DataFrame([row, other, untested]).to_csv(tables / "claims.csv", index=False)
    done = call("autoprune.publish.outcome", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "61.23 [55.00, 67.50]" in done.stdout
    assert "does not hold on digits/CNN" in done.stdout
    assert "and more" not in done.stdout
    assert "not tested" in done.stdout
    assert "nan" not in done.stdout
    assert "a notebook's number" not in done.stdout
    assert "stand-in data" in done.stdout
    for name in ("report/index.html", "tables/claims.html", "report.html"):
        assert str(Path("results") / name) in done.stdout


def test_the_outcome_of_nothing_is_one_line(tmp_path):
    done = call("autoprune.publish.outcome", tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "run `make`" in done.stderr
