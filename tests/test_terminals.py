"""Terminals of other encodings show what they can, and no command ends by them."""

import os
import subprocess
import sys

import pytest

from copies import ROOT

SAYS = """
from autoprune.core.errors import InputError, run_main
def main(argv):
    print("−5.8 [−8.3, −3.4] points: “settled” \\u2014 é")
    raise InputError("grö\\x1b[31m\\nße: \\u202eno such file")
run_main(main)
"""


def run(*words, **variables):
    told = {**os.environ, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **variables}
    return subprocess.run([sys.executable, *words], env=told, cwd=ROOT, capture_output=True)


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("utf-8", "−5.8 [−8.3, −3.4] points: “settled” — é\n".encode()),
        (
            "latin-1",
            rb"\u22125.8 [\u22128.3, \u22123.4] points: \u201csettled\u201d \u2014 " b"\xe9\n",
        ),
        (
            "ascii",
            rb"\u22125.8 [\u22128.3, \u22123.4] points: \u201csettled\u201d \u2014 \xe9" b"\n",
        ),
    ],
)
def test_what_a_terminal_cannot_show_is_written_out(encoding, shown):
    done = run("-c", SAYS, PYTHONIOENCODING=encoding)
    assert done.returncode == 1
    assert done.stdout == shown
    # a line of its own, without what would steer the terminal
    error = "error: grö\\x1b[31m ße: \\u202eno such file\n"
    assert done.stderr.decode(encoding) == error.encode(encoding, "backslashreplace").decode(
        encoding
    )


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}], ids=str)
@pytest.mark.parametrize(
    "command",
    [
        ["autoprune.check.status", "--configfile", "config/ci.yaml"],
        ["autoprune.check.trace", "--help"],
        ["autoprune.power", "--help"],
        ["autoprune.federation", "--help"],
        ["autoprune.data.prepare", "leaf", "--help"],
        ["snakemake", "-n", "--quiet", "all", "--logger", "study", "--", "data"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_commands_run_there(command, variables):
    done = run("-m", *command, **variables)
    assert b"Traceback" not in done.stderr
    assert b"Error" not in done.stderr
    assert done.returncode in (0, 3)
