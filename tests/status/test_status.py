"""How states are shown: in tables of any width, in a pipe, on a terminal."""

import io
import os
import re
import subprocess
import sys
from unittest.mock import patch

import pytest
from rich.console import Console

from autoprune.check.failures import command
from autoprune.check.status import duration, line, summary, view
from autoprune.check.status_runs import STATES, Status
from autoprune.study.grid import Run
from stages import run_here

ESCAPE = "\x1b"
METHODS = ["dense/fedavg", "autoprune/reinit", "random-filters/inherit", "l1-uniform/iterative"]


def many(number=190):
    """Runs in all states, as many as a large study has."""
    found = []
    for place in range(number):
        method, variant = METHODS[place // 5 % len(METHODS)].split("/")
        run = Run(f"femnist_{place // 20}", "inception", method, variant, place % 5)
        state = STATES[place % 7 % 5]
        known = {"rounds": 500, "round": 499, "accuracy": 0.12345, "parameters": 1_234_567}
        if state == "running":
            known |= {"clients_per_second": 12.3456, "seconds_left": 5000.0, "seconds": 9e4}
        if state == "failed":
            known["reason"] = "round 3: 0 usable replies of 3, min_clients is 2 " * 4
        if state == "waiting":
            known = {"rounds": 500}
        found.append(Status(run, state, **known))
    return found


def rendered(statuses, width, every=False):
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(view(statuses, every))
    return console.file.getvalue().splitlines()


def count(state):
    return sum(status.state == state for status in many())


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_broken(width):
    shown = rendered(many(), width)
    assert max(map(len, shown)) <= width
    assert sum(" 12.3 " in row and " 83 min" in row for row in shown) == count("running")
    every = rendered(many(), width, every=True)
    assert max(map(len, every)) <= width
    assert sum(bool(re.search(r" (499|0)/500 ", row)) for row in every) == 190
    assert sum("1,234,567" in row for row in every) == 190 - count("waiting")


def test_what_runs_comes_first_and_seeds_are_counted_together():
    shown = rendered(many(), 120)
    assert shown[0].startswith("190 runs: 55 running, 54 failed")
    running = next(i for i, row in enumerate(shown) if row.startswith("run "))
    groups = next(i for i, row in enumerate(shown) if row.startswith("pair,"))
    assert running < groups
    assert len(shown) - groups - 1 == 38
    done = [int(re.search(r"(\d)/5 ", row)[1]) for row in shown[groups + 1 :]]
    assert sum(done) == count("done")
    assert "done" not in summary([Status(many(1)[0].run, "running", 4)]).plain


def test_a_study_in_one_state_needs_few_words():
    run = Run("digits", "cnn", "dense", "fedavg", 0)
    done = [Status(run, "done", 4, 4, 0.5, 1000, seconds=3.0)]
    assert rendered(done, 80)[0] == "1 run: 1 done"
    waiting = [Status(run, "waiting", 4)]
    assert rendered(waiting, 80)[0] == "1 run: 1 waiting; nothing is training now"
    assert rendered(done, 80)[1].endswith(" 100 %")
    assert rendered(waiting, 80)[1].endswith(" 0 %")
    assert line(done[0]) == (
        "digits-cnn dense/fedavg seed 0: done, validation accuracy 50.0 %, 1,000 parameters"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (0, "0 s"), (99, "99 s"), (600, "10 min"), (5399, "90 min"), (36000, "10.0 h")],
)
def test_durations_have_one_unit(seconds, text):
    assert duration(seconds) == text


def status(folder, *words, **variables):
    with patch.dict(os.environ, variables):
        told = ("--configfile", "tiny.yaml", *words)
        return run_here("autoprune.check.status", *told, cwd=folder)


def test_a_pipe_gets_plain_text_and_an_exit_code_that_says_unfinished(folder):
    for words in ([], ["--all"]):
        done = status(folder, *words, TERM="xterm-256color")
        assert done.returncode == 3, done.stderr
        assert done.stderr == ""
        assert ESCAPE not in done.stdout
    assert max(map(len, status(folder, COLUMNS="60").stdout.splitlines())) <= 60
    reader = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE); "
    reader += "p.stdout.close(); p.wait()"  # as `| true` does
    command = [sys.executable, "-m", "autoprune.check.status"]
    closed = subprocess.run(
        [sys.executable, "-c", reader, *command], cwd=folder, capture_output=True, text=True
    )
    assert closed.stderr == ""


@pytest.mark.parametrize(("module", "not_yet"), [("status", "flwr"), ("logger", "rich")])
def test_it_starts_fast_without_torch_or_flwr(module, not_yet):
    code = f"import sys, autoprune.check.{module}; "
    code += f"print({{'torch', 'flwr', 'pandas', '{not_yet}'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_failed_run_is_shown_with_its_error_and_the_command(folder, start):
    assert start(learning_rate=1e30, clients_per_round=6).wait(90) == 1
    done = status(folder)
    assert done.returncode == 1, done.stderr
    assert "4 runs: 1 failed, 3 waiting; nothing is training now" in done.stdout
    assert "1 job failed" in done.stdout
    assert done.stdout.count("weights are not finite") == 1
    output = "results/runs/tiny/cnn/dense/fedavg/seed-0/run.json"
    assert command(output, "all", ["tiny.yaml"]) in done.stdout


def test_no_color_is_honoured_on_a_terminal(terminal):
    words = ["--configfile", "tiny.yaml"]
    coloured = terminal("autoprune.check.status", *words)
    assert coloured.read() == 3
    assert f"{ESCAPE}[" in coloured.text
    plain = terminal("autoprune.check.status", *words, NO_COLOR="1")
    assert plain.read() == 3
    assert not re.search(rf"{ESCAPE}\[[0-9;]*3[0-7]m", plain.text)
