"""What is said of failed jobs, and that the command shown really runs them again."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from autoprune.check.failures import (
    IN_FULL,
    Failure,
    command,
    describe,
    error_of,
    is_stop,
    last_lines,
)

TRACEBACK = """Traceback (most recent call last):
  File "x.py", line 1, in <module>
ValueError: no"""


@pytest.mark.parametrize(
    ("log", "error"),
    [
        ("round 1/4\nerror: a.yaml: wrong\n\n", "error: a.yaml: wrong"),
        (TRACEBACK, "ValueError: no"),
        (
            "usage: x\nautoprune.train: error: the following",
            "autoprune.train: error: the following",
        ),
        ("pkg.errors.StoreError: gone", "pkg.errors.StoreError: gone"),
        ("round 3/4  train loss 1.0", ""),
        ("", ""),
        ("bar 1\rbar 2\rerror: x", "error: x"),
    ],
)
def test_the_error_is_the_line_that_a_log_ends_with(tmp_path, log, error):
    (tmp_path / "log").write_text(log)
    assert error_of(last_lines(tmp_path / "log")) == error


def test_a_run_told_to_stop_has_not_failed():
    assert is_stop("error: results/x: stopped by SIGTERM")
    assert is_stop(error_of(["  File x", "KeyboardInterrupt"]))
    assert is_stop(error_of(["interrupted"]))
    assert not is_stop("error: results/x: round 2: no replies")


def test_each_failure_has_its_error_first_its_log_once_and_a_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a log").write_text("".join(f"line {i}\n" for i in range(99)) + "error: bad\n")
    text = "\n".join(describe([Failure("prune seed=0", "out dir/x", "a log")], 2, ["b c.yaml"]))
    assert text.count("error: bad") == 1
    assert text.index("error: bad") < text.index("line 98")
    assert "line 92" in text
    assert "line 91" not in text
    assert "-- 'out dir/x'" in text
    assert "--configfile 'b c.yaml'" in text
    assert "killed" in "\n".join(describe([Failure("x", "y", "nowhere")], 2))
    many = "\n".join(describe([Failure(f"job {i}", "y", "a log") for i in range(9)], 2))
    assert many.startswith("\n9 jobs failed.")
    assert many.count("line 98") == IN_FULL
    assert many.count("  again:") == many.count("error: bad") == 9
    assert describe([], 2) == []


def test_the_command_names_the_environment_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    assert command("x", 2).startswith(".venv/bin/python -m snakemake --cores 2")


@pytest.mark.long
def test_snakemake_shows_what_failed_and_the_command_runs_it_again(root, tmp_path):
    """Two jobs diverge; the settings are mended, and what was shown is pasted in a shell."""
    for name in ("Snakefile", "workflow", "config", "profiles"):
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, tmp_path / name)
    mended = "seeds: [0, 1]\nstudy: [glyphs-cnn]\n"
    (tmp_path / "my overlay.yaml").write_text(
        mended + "pairs: {glyphs-cnn: {learning_rate: 1.0e+30}}\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PATH")}
    environment["PATH"] = "/usr/bin:/bin"  # of a shell in which nothing was activated
    words = ["--configfile", "config/ci.yaml", "my overlay.yaml", "--quiet", "rules", "host"]
    failed = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *words, "--", "baselines"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert failed.returncode == 1
    said = failed.stderr[failed.stderr.index("2 jobs failed.") :]
    assert said.count("its training diverged") == 2
    assert "log: results/ci/logs/runs/glyphs/cnn/dense/fedavg/seed-0.log" in said
    assert failed.stderr.count("its training diverged") == 2  # nowhere else
    (tmp_path / "my overlay.yaml").write_text(mended)
    shown = re.findall(r"again:\n +(.*)", said)
    assert len(shown) == 2
    done = subprocess.run(
        shown[0],
        shell=True,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "1 of 1 steps (100%) done" in done.stderr
    runs = tmp_path / "results/ci/runs/glyphs/cnn/dense/fedavg"
    assert (runs / "seed-0/run.json").exists()
    assert not (runs / "seed-1/run.json").exists()
    study = subprocess.run(
        [sys.executable, "-m", "autoprune.check.status", *words[:3]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert study.returncode == 1
    assert "6 runs: 1 failed, 4 waiting, 1 done" in study.stdout
