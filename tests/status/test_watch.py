"""Snakemake below the view, as `make` runs it: exit codes, Ctrl-C, what is left and said."""

import os
import re
import signal
import subprocess
import sys
import time

import psutil
import pytest

from autoprune.check.watch import Sieve, configfiles

# a stage that leaves a mark when it is told to stop, as a run leaves its checkpoint
STAGE = """
import pathlib, signal, sys, time

def stop(number, frame):
    pathlib.Path("mark").write_text(signal.Signals(number).name)
    sys.exit("error: out: stopped by " + signal.Signals(number).name)

signal.signal(signal.SIGINT, stop)
pathlib.Path("begun").write_text("")
time.sleep(float(sys.argv[1]))
pathlib.Path("out").write_text("")
"""
SNAKEFILE = """
configfile: "config/config.yaml"

rule all:
    input: "out"

rule wait:
    output: "out"
    log: "wait.log"
    params: python={python!r}
    shell: "{{params.python:q}} stage.py {seconds} >{{log}} 2>&1"
"""
VIEW = "4 runs: "


@pytest.fixture
def workflow(folder):
    """Write a workflow of one job of so many seconds into the study's folder."""

    def write(seconds):
        (folder / "stage.py").write_text(STAGE)
        text = SNAKEFILE.format(python=sys.executable, seconds=seconds)
        (folder / "Snakefile").write_text(text)
        return ["--cores", "1", "--configfile", "tiny.yaml", "--", "all"]

    return write


def processes_in(folder):
    """Processes that work in a folder, the test's own apart."""
    found = []
    for process in psutil.process_iter(["pid", "cwd", "status", "cmdline"]):
        facts = process.info
        if facts["cwd"] == str(folder) and facts["pid"] != os.getpid():
            found.append(facts)
    return [facts for facts in found if facts["status"] != psutil.STATUS_ZOMBIE]


def gone(folder):
    """Whether nothing works in the folder any more, within some seconds."""
    deadline = time.monotonic() + 30
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return processes_in(folder) == []


def test_a_terminal_sees_the_view_and_gets_snakemakes_exit_code(folder, workflow, terminal):
    shown = terminal("autoprune.check.watch", *workflow(4))
    assert shown.read() == 0
    assert VIEW in shown.text
    assert "4 waiting" in shown.text
    assert "Job stats" in shown.text
    assert "Select jobs to execute" not in shown.text
    assert (folder / "out").exists()
    assert shown.text.rindex("\x1b[?25h") > shown.text.rindex("\x1b[?25l")


def test_ctrl_c_reaches_the_job_once_and_leaves_nothing_behind(folder, workflow, terminal, until):
    words = workflow(300)
    shown = terminal("autoprune.check.watch", *words)
    shown.read(lambda text: (folder / "begun").exists() and VIEW in text)
    shown.press(b"\x03")
    assert shown.read() == 1  # as Snakemake itself ends
    assert (folder / "mark").read_text() == "SIGINT"
    assert "Traceback" not in shown.text
    assert gone(folder)
    assert list((folder / ".snakemake/locks").glob("*")) == []
    # the same command goes on
    workflow(0)
    again = terminal("autoprune.check.watch", *words)
    assert again.read() == 0
    assert (folder / "out").exists()


def test_sigterm_lets_the_job_finish(folder, workflow, terminal):
    shown = terminal("autoprune.check.watch", *workflow(3))
    shown.read(lambda text: (folder / "begun").exists() and VIEW in text)
    os.kill(shown.process, signal.SIGTERM)
    shown.read()
    assert (folder / "out").exists()
    assert not (folder / "mark").exists()
    assert gone(folder)


def test_snakemake_does_not_outlive_a_killed_watcher(folder, workflow, terminal):
    """It finishes its jobs, as at SIGTERM, and ends."""
    if sys.platform != "linux":
        pytest.skip("only Linux tells a child that its parent died")
    shown = terminal("autoprune.check.watch", *workflow(2))
    shown.read(lambda text: (folder / "begun").exists())
    os.kill(shown.process, signal.SIGKILL)
    assert shown.read() == -signal.SIGKILL
    assert gone(folder)


def test_jobs_do_not_outlive_a_killed_snakemake(folder, workflow, terminal):
    shown = terminal("autoprune.check.watch", *workflow(300))
    shown.read(lambda text: (folder / "begun").exists() and VIEW in text)
    (snakemake,) = [
        facts["pid"] for facts in processes_in(folder) if "snakemake" in facts["cmdline"][:3]
    ]
    os.kill(snakemake, signal.SIGKILL)
    assert shown.read() == 128 + signal.SIGKILL
    assert gone(folder)


def test_in_a_pipe_it_is_snakemake_itself(folder, workflow):
    def output(module):
        (folder / "out").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", module, "--quiet", "host", "rules", *workflow(0)],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        changing = r"\[.*\]|tmpdir=\S+|\S+snakemake\.log|\d:\d\d:\d\d\.\d+"
        return done.stdout, re.sub(changing, "", done.stderr)

    assert output("autoprune.check.watch") == output("snakemake")
    wrong = [sys.executable, "-m", "autoprune.check.watch", "--cores", "1", "nothing"]
    assert subprocess.run(wrong, capture_output=True).returncode == 1


def test_the_overlays_are_found_among_snakemakes_words():
    words = ["--cores", "2", "all", "--configfile", "a.yaml", "b.yaml", "--quiet", "rules"]
    assert configfiles(words) == ["a.yaml", "b.yaml"]
    assert configfiles(["--configfiles", "a.yaml", "--", "all"]) == ["a.yaml"]
    assert configfiles(["--cores", "2"]) == []


def test_of_a_failure_the_log_is_named_and_unknown_lines_are_shown():
    def through(*lines):
        sieve = Sieve()
        return [shown for line in lines for shown in sieve.shown(line)], sieve

    failure = ["RuleException:", 'CalledProcessError in file "x", line 3:', "Command 'set -e;"]
    assert through(*failure, "  python >a/b.log 2>&1' returned non-zero exit status 1.")[0] == [
        "a job failed: a/b.log"
    ]
    assert through(*failure, "  python >a/b.log 2>&1' died with <Signals.SIGINT: 2>.")[0] == [
        "a job was stopped: a/b.log"
    ]
    other = [*failure, "  python' returned non-zero exit status 1."]
    assert through(*other)[0] == other
    assert through(*failure)[1].rest() == failure
    assert through("Building DAG of jobs...", "something new")[0] == ["something new"]
    end = ["2 jobs failed.", "", "prune seed=0", "Using shell"]
    assert through("", *end)[0] == end
    shown, sieve = through("3 of 75 steps (4%) done")
    assert (shown, sieve.steps) == ([], "3 of 75 steps (4%) done")
