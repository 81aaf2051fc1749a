"""docs/how-to/on-a-cluster.md: the Slurm profile, on a real Slurm of one node."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from pages import execute

from autoprune.core.files import sha256_file
from copies import ROOT, copy_of_the_repository, environment

PAGE = ROOT / "docs/how-to/on-a-cluster.md"
PROFILE = ROOT / "profiles/slurm/profile.yaml"
TOOL = ROOT.parent / "shared/tools/local-slurm"
MUNGED = Path("/run/munge/munged.pid")


def answers():
    """Whether a Slurm is there already."""
    if not shutil.which("sinfo"):
        return False
    return subprocess.run(["sinfo", "-h"], capture_output=True).returncode == 0


def process(file):
    """The number of the running process that a file names, or None."""
    number = int(file.read_text()) if file.is_file() else None
    return number if number and Path(f"/proc/{number}").exists() else None


@pytest.fixture
def slurm(monkeypatch):
    """A Slurm on the loopback; what was not there before is stopped."""
    if os.environ["SLURM_CONF"] == os.devnull:  # by tests/conftest.py
        monkeypatch.delenv("SLURM_CONF")
    if not TOOL.is_file():
        pytest.skip(f"no {TOOL}, which starts a Slurm on this machine")
    if os.geteuid():
        pytest.skip(f"{TOOL.name} needs root to start a Slurm")
    before, munged = answers(), process(MUNGED)
    if not before:
        done = subprocess.run([TOOL, "start"], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    yield
    if not before:
        subprocess.run([TOOL, "stop"], check=True)
        started = process(MUNGED)
        if started and not munged:
            os.kill(started, signal.SIGTERM)


def completed(folder):
    """The rules of the jobs that Slurm itself says were completed in this folder."""
    done = subprocess.run(["scontrol", "show", "jobs"], capture_output=True, text=True, check=True)
    jobs = [job for job in done.stdout.split("\n\n") if f"WorkDir={folder}\n" in job]
    return {
        re.search(r"Comment=rule_(\w+?)(?:_wildcards|\s)", job)[1]
        for job in jobs
        if "JobState=COMPLETED" in job
    }


def results(folder):
    """Every result by its path: its checksum, without logs and times."""
    base = folder / "results/ci"
    return {
        str(path.relative_to(base)): sha256_file(path)
        for path in base.rglob("*")
        if path.is_file() and path.relative_to(base).parts[0] not in ("logs", "benchmarks")
    }


def test_the_profile_names_rules_that_exist():
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    text = "\n".join(path.read_text() for path in files)
    rules = set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", text, re.MULTILINE))
    asked = yaml.safe_load(PROFILE.read_text())["set-resources"]
    assert "prune" in rules
    assert set(asked) <= rules


@pytest.mark.long
def test_jobs_of_slurm_give_the_bytes_of_a_local_run(slurm, tmp_path):
    cluster = copy_of_the_repository(tmp_path / "on a cluster")
    profile = cluster / "profiles/slurm/profile.yaml"
    waiting = "slurm-init-seconds-before-status-checks: "
    assert f"{waiting}10" in profile.read_text()
    profile.write_text(profile.read_text().replace(f"{waiting}10", f"{waiting}1"))
    execute(PAGE.read_text(), cluster, PAGE.name)
    # Slurm forgets a job after some minutes, so of the first ones it may know no more
    assert {"prune", "count", "metrics"} <= completed(cluster)

    alone = copy_of_the_repository(tmp_path / "alone")
    shutil.copy(cluster / "one-pair.yaml", alone)
    command = ["snakemake", "--cores", "2", "results/ci/metrics.csv"]
    command += ["--configfile", "config/ci.yaml", "one-pair.yaml"]
    subprocess.run(command, cwd=alone, env=environment(alone), check=True, capture_output=True)
    expected = results(alone)
    assert "metrics.csv" in expected
    assert results(cluster) == expected

    # what fails there is told as elsewhere, also where the path of Python has a space
    (cluster / "wrong.yaml").write_text("pairs: {glyphs-cnn: {learning_rate: 1.0e+30}}\n")
    command = [cluster / ".venv/bin/python", "-m", "snakemake", "--profile", "profiles/mine"]
    command += ["--retries", "0", "baselines"]
    command += ["--configfile", "config/ci.yaml", "one-pair.yaml", "wrong.yaml"]
    told = {"cwd": cluster, "env": environment(cluster), "capture_output": True, "text": True}
    failed = subprocess.run(command, **told)
    assert failed.returncode == 1
    said = failed.stderr[failed.stderr.index("1 job failed.") :]
    assert "its training diverged" in said
    assert ".venv/bin/python -m snakemake --cores 1 --configfile config/ci.yaml" in said
