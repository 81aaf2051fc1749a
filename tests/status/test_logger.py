"""Snakemake with the logger `study`, as `make` runs it: lines, the view, exit codes, Ctrl-C."""

import os
import re
import signal
import sys
import time

import psutil
import pytest

from stages import run_stage

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
def workflow(folder, root, monkeypatch):
    """Write a workflow of one job of so many seconds into the study's folder."""
    monkeypatch.setenv("PYTHONPATH", str(root / "workflow"))

    def write(seconds, stage=STAGE):
        (folder / "stage.py").write_text(stage)
        text = SNAKEFILE.format(python=sys.executable, seconds=seconds)
        (folder / "Snakefile").write_text(text)
        return ["--logger", "study", "--cores", "1", "--configfile", "tiny.yaml", "--", "all"]

    return write


def snakemake(words):
    return run_stage("snakemake", *words)


def gone(folder):
    """Whether nothing works in the folder any more, within some seconds; the test's own apart."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        others = [
            process.info
            for process in psutil.process_iter(["pid", "cwd", "status"])
            if process.info["cwd"] == str(folder) and process.info["pid"] != os.getpid()
        ]
        if all(facts["status"] == psutil.STATUS_ZOMBIE for facts in others):
            return True
        time.sleep(0.1)
    return False


def test_a_pipe_gets_a_plain_line_for_each_job(workflow):
    done = snakemake(workflow(0))
    assert done.returncode == 0, done.stderr
    assert "2 steps: 1 wait, 1 all" in done.stderr
    assert re.search(r"^\d\d:\d\d:\d\d 1 of 2 steps: wait, \d s$", done.stderr, re.MULTILINE)
    assert done.stderr.count("Select jobs to execute") == 1  # Snakemake says it of each job
    assert "\x1b" not in done.stderr
    assert "Nothing to be done" in snakemake(workflow(0)).stderr


@pytest.mark.long
def test_a_failed_job_is_named_with_its_log_and_what_is_wrong_with_the_workflow_is_said(workflow):
    words = workflow(0, "raise SystemExit('error: stage.py: no')")
    failed = snakemake(words)
    assert failed.returncode == 1
    assert re.search(r"^\d\d:\d\d:\d\d failed: wait; log: wait.log$", failed.stderr, re.MULTILINE)
    assert "CalledProcessError" not in failed.stderr
    absent = snakemake([*words[:-1], "nothing"])
    assert absent.returncode == 1
    assert "nothing" in absent.stderr.split("MissingRuleException", 1)[1]
    lying = snakemake(workflow(0, "pass"))  # the job ends well and has made nothing
    assert lying.returncode == 1
    assert "MissingOutputException" in lying.stderr


@pytest.mark.long
def test_a_terminal_sees_the_view_and_is_left_as_it_was(folder, workflow, terminal):
    shown = terminal("snakemake", *workflow(4))
    assert shown.read() == 0
    assert VIEW in shown.text
    assert "4 waiting" in shown.text
    assert "1 of 2 steps: wait, " in shown.text
    assert (folder / "out").exists()
    assert shown.text.rindex("\x1b[?25h") > shown.text.rindex("\x1b[?25l")


def test_ctrl_c_reaches_the_job_and_leaves_nothing_behind(folder, workflow, terminal, until):
    words = workflow(300)
    shown = terminal("snakemake", *words)
    shown.read(lambda text: (folder / "begun").exists() and VIEW in text)
    shown.press(b"\x03")
    assert shown.read() == 1
    assert (folder / "mark").read_text() == "SIGINT"
    assert "Traceback" not in shown.text
    assert shown.text.rindex("\x1b[?25h") > shown.text.rindex("\x1b[?25l")
    assert gone(folder)
    assert list((folder / ".snakemake/locks").glob("*")) == []
    # the same command goes on
    assert snakemake(workflow(0)).returncode == 0
    assert (folder / "out").exists()


def test_sigterm_lets_the_job_finish(folder, workflow, terminal):
    shown = terminal("snakemake", *workflow(3))
    shown.read(lambda text: (folder / "begun").exists() and VIEW in text)
    os.kill(shown.process, signal.SIGTERM)
    shown.read()
    assert (folder / "out").exists()
    assert not (folder / "mark").exists()
    assert gone(folder)


def test_a_folder_that_is_no_study_gets_the_lines_all_the_same(folder, workflow):
    words = workflow(0)
    (folder / "tiny.yaml").write_text("seeds: []\n")
    done = snakemake(words)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 steps: all" in done.stderr
