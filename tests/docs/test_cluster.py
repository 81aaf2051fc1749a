"""docs/how-to/on-a-cluster.md: the Slurm profile, on a real Slurm of one node."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
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


def jobs(folder):
    """What Slurm knows of the jobs of this folder: number, state, rule and wildcards of each."""
    command = ["squeue", "--noheader", "--states=all", "--format=%i|%T|%k|%Z"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("|") for line in done.stdout.splitlines()]
    return [row[:3] for row in rows if row[3] == str(folder)]


def completed(folder):
    """The rules of the jobs that Slurm itself says were completed in this folder."""
    return {
        comment.removeprefix("rule_").partition("_wildcards")[0]
        for _, state, comment in jobs(folder)
        if state == "COMPLETED"
    }


def until(condition, process, seconds=600):
    """Wait for what is true while Snakemake works, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert process.poll() is None, "Snakemake has ended"
        assert time.monotonic() < end, f"not so after {seconds} seconds"
        time.sleep(0.05)
    return found


def training(folder, but=()):
    """A training job that is past a checkpoint, by number, and its checkpoint; None: none is."""
    base = folder / "results/ci/runs"
    found = {}
    for file in set(base.rglob("checkpoint.safetensors")) - set(but):
        dataset, model, method, variant, seed = file.relative_to(base).parts[:-1]
        words = [dataset, model, *([] if method == "dense" else [method]), variant, seed[5:]]
        found["_".join(words)] = file
    for number, state, comment in jobs(folder) if found else []:
        file = found.get(comment.partition("_wildcards_")[2])
        if file and state == "RUNNING" and comment.startswith(("rule_base", "rule_prune")):
            return number, file
    return None


def cancel_a_training_job(folder, process):
    """Cancel one that must go on at its checkpoint; its number and its log."""
    tried = set()
    while True:
        number, file = until(lambda: training(folder, tried), process)
        subprocess.run(["scancel", number], check=True)

        def ended(number=number):
            states = {job: state for job, state, _ in jobs(folder)}
            return states[number] in ("CANCELLED", "COMPLETED") and states[number]

        state = until(ended, process)
        if state == "CANCELLED" and file.exists():
            logs = folder / "results/ci/logs/runs"
            run = file.parent.relative_to(folder / "results/ci/runs")
            return number, logs / f"{run}.log"
        tried.add(file)  # it had ended before: another one


def set_node(**settings):
    """Change the state of the one node, as its administrator does."""
    node = subprocess.run(["sinfo", "-h", "-o", "%n"], capture_output=True, text=True, check=True)
    words = [f"{key}={value}" for key, value in settings.items()]
    subprocess.run(["scontrol", "update", f"nodename={node.stdout.strip()}", *words], check=True)


def drain_the_node(folder, process):
    """Drain it until nothing runs and jobs wait, then let them run."""
    set_node(state="drain", reason="test")
    try:
        busy = {"RUNNING", "COMPLETING"}
        until(lambda: not busy & {state for _, state, _ in jobs(folder)}, process)
        waiting = {number for number, state, _ in jobs(folder) if state == "PENDING"}
        assert waiting
        time.sleep(5)
        assert waiting <= {number for number, state, _ in jobs(folder) if state == "PENDING"}
        assert process.poll() is None
    finally:
        set_node(state="resume")


def results(folder):
    """Every result by its path: its checksum, without logs and times."""
    base, timed = folder / "results/ci", ("logs", "benchmarks", "latency")
    return {
        str(path.relative_to(base)): sha256_file(path)
        for path in base.rglob("*")
        if path.is_file() and path.relative_to(base).parts[0] not in timed
    }


def test_the_profile_names_rules_that_exist():
    files = [ROOT / "Snakefile", *(ROOT / "workflow/rules").glob("*.smk")]
    text = "\n".join(path.read_text() for path in files)
    rules = set(re.findall(r"^(?:rule|use rule \w+ as) (\w+)", text, re.MULTILINE))
    asked = yaml.safe_load(PROFILE.read_text())["set-resources"]
    assert "prune" in rules
    assert set(asked) <= rules


@pytest.mark.soak
def test_jobs_of_slurm_give_the_bytes_of_a_local_run(slurm, tmp_path):
    cluster = copy_of_the_repository(tmp_path / "on a cluster")
    profile = cluster / "profiles/slurm/profile.yaml"
    waiting = "slurm-init-seconds-before-status-checks: "
    assert f"{waiting}10" in profile.read_text()
    profile.write_text(profile.read_text().replace(f"{waiting}10", f"{waiting}1"))
    execute(PAGE.read_text(), cluster, PAGE.name)
    # Slurm forgets a job after some minutes, so of the first ones it may know no more
    assert {"prune", "count", "metrics"} <= completed(cluster)

    # all its runs and a measurement, which has a node to itself, with a job cancelled and the node
    # drained on the way; the tables would take minutes more of starting interpreters
    measured = "results/ci/latency/glyphs/cnn/autoprune/reinit/seed-0.json"
    wanted = ["results/ci/metrics.csv", measured, "--configfile", "config/ci.yaml"]
    with (tmp_path / "said").open("w") as file:
        command = ["snakemake", "--profile", "profiles/mine", *wanted]
        told = {"cwd": cluster, "env": environment(cluster), "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, **told, stdout=file)
        try:
            number, log = cancel_a_training_job(cluster, process)
            drain_the_node(cluster, process)
            status = process.wait(timeout=1200)
        finally:
            process.terminate()
            process.wait()
    said = (tmp_path / "said").read_text()
    assert status == 0, said
    assert f"SLURM-job '{number}' failed, SLURM status is: 'CANCELLED'" in said
    assert said.count("Trying to restart job") == said.count("status is: 'CANCELLED'")
    assert "going on after round" in log.read_text()

    alone = copy_of_the_repository(tmp_path / "alone")
    command = ["snakemake", "--cores", "2", *wanted]
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


ARRAY = """
rule all:
    input: "1", "2"

rule one:
    output: "{n}"
    shell:
        "if test {wildcards.n} = 1; then until test -e ended-2; do sleep 1; done; sleep 20; fi; "
        "touch {output} ended-{wildcards.n}"
"""


@pytest.mark.soak
def test_an_array_takes_a_job_for_failed_that_ends_before_its_first(slurm, tmp_path):
    """Why the profile has no array jobs."""
    if " " in sys.executable:
        pytest.skip("the plugin's arrays cannot start a Python at a path with a space")
    (tmp_path / "Snakefile").write_text(ARRAY)
    command = [sys.executable, "-m", "snakemake", "--executor", "slurm", "--jobs", "10"]
    command += ["--default-resources", "mem_mb=500", "runtime=5", "--latency-wait", "3"]
    command += ["--slurm-no-account", "--slurm-status-command", "squeue"]
    command += ["--slurm-init-seconds-before-status-checks", "1", "--slurm-array-jobs", "one"]
    told = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 600}
    done = subprocess.run(command, **told)
    assert {file.name for file in tmp_path.glob("ended-*")} == {"ended-1", "ended-2"}
    assert "Submitted array job" in done.stderr
    assert done.returncode == 1, "the plugin's arrays work now: put them into profiles/slurm"
    assert not (tmp_path / "2").exists()
    log = next((tmp_path / ".snakemake/slurm_logs/rule_one").glob("*_2.log")).read_text()
    assert re.search(r"Missing files after 3 seconds.*:\n1 \(missing", log)
