"""Snakemake's scheduler looks for work when there may be some, in a real workflow of its own."""

import re
import shlex
import subprocess
import sys
import time

import pytest
from snakemake.scheduling.job_scheduler import JobScheduler

from autoprune.study.scheduling import quote_python, wait_once

JOBS = 16
WORKFLOW = """
from snakemake.scheduling.job_scheduler import JobScheduler

passes = []
select = JobScheduler.job_selector
JobScheduler.job_selector = lambda *args: passes.append(1) or select(*args)

if config["patched"]:
    from autoprune.study.scheduling import wait_once
    wait_once()

onsuccess:
    print("passes:", len(passes))

rule all:
    input: expand("{n}", n=range(JOBS))

rule one:
    output: "{n}"
    shell: "sleep 0.5; touch {output}"
"""


def passes(folder, patched, *flags):
    """Passes of the scheduler over JOBS jobs of half a second, and seconds that they took."""
    folder.mkdir()
    (folder / "Snakefile").write_text(WORKFLOW.replace("JOBS", str(JOBS)))
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *flags]
    started = time.monotonic()
    done = subprocess.run(
        [*command, "--config", f"patched={patched}"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("[0-9]*"))) == JOBS
    found = re.search(r"^passes: (\d+)$", done.stdout + done.stderr, re.MULTILINE)
    return int(found[1]), time.monotonic() - started


@pytest.mark.long
def test_passes_do_not_grow_with_the_jobs_that_have_finished(tmp_path):
    """A pass a finished job and one a second; without the change, several a finished job."""
    mine, seconds = passes(tmp_path / "changed", True)
    assert mine <= JOBS + seconds + 1
    theirs, _ = passes(tmp_path / "as it comes", False)
    assert theirs > 1.5 * mine, (
        "Snakemake waits once by itself now: remove autoprune.study.scheduling"
    )


@pytest.mark.long
def test_jobs_that_the_rate_limiter_held_back_are_woken(tmp_path):
    """Four jobs a second and no other event: only the timer can start the rest."""
    count, _ = passes(
        tmp_path / "limited", True, "--max-jobs-per-timespan", "4/1s", "--cores", "16"
    )
    assert count >= JOBS / 4


def test_the_pinned_snakemake_has_what_is_changed():
    assert hasattr(JobScheduler, "_schedule_reevalutation")


@pytest.mark.parametrize("quoted", [False, True], ids=["as it comes", "quoting by itself"])
@pytest.mark.parametrize("python", ["/usr/bin/python", "/my disk/.venv/bin/python"])
def test_a_job_elsewhere_is_started_by_a_python_whose_path_has_a_space(python, quoted):
    class Executor:
        def get_python_executable(self):
            return python

        def format_job_exec(self, job):
            shown = shlex.quote(python) if quoted else python
            return f"cd '/my disk' && {shown} -m snakemake --snakefile '/my disk/Snakefile' {job}"

    for _ in range(2):  # a Snakefile may be read twice
        quote_python(Executor)
        words = shlex.split(Executor().format_job_exec("one"))
        assert words[3:] == [python, "-m", "snakemake", "--snakefile", "/my disk/Snakefile", "one"]


def test_a_scheduler_without_it_is_left_alone():
    class Other:
        pass

    wait_once(Other)
    assert not hasattr(Other, "_schedule_reevalutation")
