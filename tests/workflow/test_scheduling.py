"""Snakemake's scheduler looks for work when there may be some; jobs elsewhere start."""

import re
import shlex
import subprocess
import sys
import time

import pytest

from autoprune.study.scheduling import quote_python

JOBS = 16
WORKFLOW = """
from snakemake.scheduling.job_scheduler import JobScheduler

passes = []
select = JobScheduler.job_selector
JobScheduler.job_selector = lambda *args: passes.append(1) or select(*args)

ONSTART

onsuccess:
    print("passes:", len(passes))

rule all:
    input: expand("{n}", n=range(JOBS))

rule one:
    output: "{n}"
    shell: "sleep 0.5; touch {output}"
"""


def passes(folder, onstart, *flags):
    """Passes of the scheduler over JOBS jobs of half a second, and seconds that they took."""
    folder.mkdir()
    text = WORKFLOW.replace("JOBS", str(JOBS)).replace("ONSTART", onstart)
    (folder / "Snakefile").write_text(text)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", *flags],
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
def test_passes_do_not_grow_with_the_jobs_that_have_finished(root, tmp_path):
    """A pass a finished job and no other; without what the Snakefile says, several."""
    onstart = re.search(r"^onstart:\n(?: .*\n)+", (root / "Snakefile").read_text(), re.MULTILINE)[0]
    for line in ("fork_stages(workflow, set_shell)", "check_gpus()"):
        onstart = onstart.replace(f"    {line}\n", "")
    mine, _ = passes(tmp_path / "changed", onstart)
    assert mine <= JOBS + 3
    theirs, _ = passes(tmp_path / "as it comes", "")
    assert theirs > 1.5 * mine, "Snakemake waits once by itself now: remove onstart"


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
