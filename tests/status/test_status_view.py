"""How states are shown: at every width, in a pipe, on a terminal, as JSON, followed to the end."""

import io
import json
import os
import re
import subprocess
import sys

import pytest
from rich.console import Console

from autoprune.check.failures import command
from autoprune.check.status_runs import STATES, Status
from autoprune.check.status_view import as_json, duration, lines, view
from autoprune.study.grid import Run

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


def rendered(statuses, width, **how):
    console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
    console.print(view(statuses, width, **how))
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("every", [False, True])
@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_cell_is_broken(width, every):
    shown = rendered(many(), width, every=every)
    assert max(map(len, shown)) <= width
    heads = [line.split() for line in shown if line.startswith(("training now", "pair,", "run "))]
    assert heads
    for name in ("accuracy", "parameters", "clients/s"):
        whole = [head for head in heads if name in head]
        assert bool(whole) == (name in " ".join(shown)), name
    assert ("clients/s" in " ".join(shown)) == (width == 200 and not every)
    if every:
        rows = [line for line in shown if "femnist" in line]
        assert len(rows) == 190
        # the seed, by which seeds are told apart, is whole at every width
        assert all(re.search(r" seed \d ", row) for row in rows)
        assert all(re.search(r"\d+/500( |$)", row) for row in rows)
    else:
        assert len(shown) < 190


def test_what_runs_comes_first_and_seeds_are_counted_together():
    shown = rendered(many(), 120)
    assert shown[0].startswith("190 runs: 55 running, 54 failed")
    running = next(i for i, line in enumerate(shown) if line.startswith("training now"))
    failed = next(i for i, line in enumerate(shown) if "min_clients" in line)
    groups = next(i for i, line in enumerate(shown) if line.startswith("pair,"))
    assert running < failed < groups
    assert len(shown) - groups - 1 == 38
    done = [int(re.search(r"(\d)/5 ", line)[1]) for line in shown[groups + 1 :]]
    assert sum(done) == sum(status.state == "done" for status in many())


@pytest.mark.parametrize("rows", [16, 24, 50])
@pytest.mark.parametrize("every", [False, True])
def test_a_live_view_fits_the_screen_and_says_what_it_leaves_out(rows, every):
    shown = rendered(many(), 80, every=every, rows=rows)
    assert len(shown) <= rows
    assert "more; --all" in shown[-1]


def test_a_study_in_one_state_needs_few_words():
    run = Run("digits", "cnn", "dense", "fedavg", 0)
    done = [Status(run, "done", 4, 4, 0.5, 1000, seconds=3.0)]
    assert rendered(done, 80)[0] == "1 run: 1 done"
    waiting = [Status(run, "waiting", 4)]
    assert rendered(waiting, 80)[0] == "1 run: 1 waiting; nothing is training now"
    assert "100 %" in rendered(done, 80)[1]
    assert "0 %" in rendered(waiting, 80)[1]


def test_a_change_of_state_is_one_plain_line():
    before, after = many(4), many(4)
    assert lines(before, after) == []
    after[0] = Status(after[0].run, "done", 500, 500, 0.5, 1000)
    assert lines(before, after) == [
        "femnist_0-inception dense/fedavg seed 0: done, validation accuracy 50.0 %, "
        "1,000 parameters"
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "—"), (0, "0 s"), (99, "99 s"), (600, "10 min"), (5399, "90 min"), (36000, "10.0 h")],
)
def test_durations_have_one_unit(seconds, text):
    assert duration(seconds) == text


def test_json_names_every_run():
    found = json.loads(json.dumps(as_json(many(), "results"), allow_nan=False))
    assert sum(found["counts"].values()) == len(found["runs"]) == 190
    assert list(found["counts"]) == list(STATES)
    assert found["runs"][0]["state"] == "running"
    assert found["runs"][0]["validation_accuracy"] == 0.12345
    assert found["seconds_left"] > 0


def status(folder, *words, **variables):
    return subprocess.run(
        [sys.executable, "-m", "autoprune.check.status", "--configfile", "tiny.yaml", *words],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_pipe_gets_plain_text_and_an_exit_code_that_says_unfinished(folder):
    for words in ([], ["--all"], ["--json"]):
        done = status(folder, *words, TERM="xterm-256color")
        assert done.returncode == 3, done.stderr
        assert done.stderr == ""
        assert ESCAPE not in done.stdout
    assert max(map(len, status(folder, COLUMNS="60").stdout.splitlines())) <= 60
    wrong = status(folder, "--interval", "0")
    assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1)
    reader = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE); "
    reader += "p.stdout.close(); p.wait()"  # as `| true` does
    command = [sys.executable, "-m", "autoprune.check.status"]
    closed = subprocess.run(
        [sys.executable, "-c", reader, *command], cwd=folder, capture_output=True, text=True
    )
    assert closed.stderr == ""


def test_it_starts_fast_without_torch_or_flwr(folder):
    code = "import sys, autoprune.check.watch; print({'torch', 'flwr', 'pandas'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_pipe_follows_a_run_to_its_failure(folder, start, until):
    """A line for each change, then the log's end and the command."""
    process = start(learning_rate=1e30, clients_per_round=6)
    done = status(folder, "--follow", "--interval", "0.2")
    assert process.wait(90) == 1
    assert done.returncode == 1, done.stderr
    assert ESCAPE not in done.stdout
    said = [line for line in done.stdout.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert said[0].endswith(("4 runs: 1 running, 3 waiting; time left not known yet", "waiting"))
    assert any("tiny-cnn dense/fedavg seed 0: failed" in line for line in said)
    assert said[-1].endswith("4 runs: 1 failed, 3 waiting; nothing is training now")
    assert "1 job failed" in done.stdout
    assert done.stdout.count("weights are not finite") == 2  # the change, and the end
    output = "results/runs/tiny/cnn/dense/fedavg/seed-0/run.json"
    assert command(output, "all", ["tiny.yaml"]) in done.stdout


def test_a_terminal_follows_a_run_to_its_end(folder, start, terminal):
    """One run is the whole study; the view is redrawn in place and leaves the cursor visible."""
    (folder / "one.yaml").write_text(
        "seeds: [0]\npairs: {tiny-cnn: {methods: {dense: [fedavg]}}}\n"
    )
    process = start(rounds=80)  # it must not end before the view begins
    words = ["--configfile", "tiny.yaml", "one.yaml", "--follow", "--interval", "0.1"]
    shown = terminal("autoprune.check.status", *words)
    assert shown.read() == 0
    assert process.wait(90) == 0
    assert "1 run: 1 running" in shown.text.replace(ESCAPE + "[36m", "").replace(ESCAPE + "[0m", "")
    assert "training now" in shown.text
    assert re.search(r"\d+/80", shown.text)
    assert f"{ESCAPE}[2K" in shown.text  # drawn over
    assert shown.text.rindex(f"{ESCAPE}[?25h") > shown.text.rindex(f"{ESCAPE}[?25l")
    last = shown.text.rsplit("1 run: ", 1)[1]
    assert "1 done" in last
    assert "1/1" in last


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal):
    words = ["--configfile", "tiny.yaml", "--follow", "--interval", "0.1"]
    shown = terminal("autoprune.check.status", *words)
    shown.read(lambda text: "4 waiting" in text)
    shown.press(b"\x03")
    assert shown.read() == 130
    assert "Traceback" not in shown.text
    assert shown.text.rindex(f"{ESCAPE}[?25h") > shown.text.rindex(f"{ESCAPE}[?25l")


def test_no_color_is_honoured_on_a_terminal(terminal):
    words = ["--configfile", "tiny.yaml"]
    coloured = terminal("autoprune.check.status", *words)
    assert coloured.read() == 3
    assert f"{ESCAPE}[" in coloured.text
    plain = terminal("autoprune.check.status", *words, NO_COLOR="1")
    assert plain.read() == 3
    assert not re.search(rf"{ESCAPE}\[[0-9;]*3[0-7]m", plain.text)
