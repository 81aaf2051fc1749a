"""A stage that is told to stop, while it still imports and later, ends in a line at most."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from autoprune.check.failures import error_of, is_stop
from copies import ROOT
from stages import python

SLOW = """
import time
from pathlib import Path
from autoprune.core.errors import run_main

def wait(argv=None):
    Path("waiting").touch()
    time.sleep(60)

{when}
"""
IMPORTING, RUNNING = "wait()", "run_main(wait)"
ENDS = [
    (IMPORTING, signal.SIGINT, 130, "error: stopped by SIGINT\n"),
    (IMPORTING, signal.SIGTERM, 143, "error: stopped by SIGTERM\n"),
    (RUNNING, signal.SIGINT, 130, "interrupted\n"),
    (RUNNING, signal.SIGTERM, -signal.SIGTERM, ""),  # a shell says 143
]


@pytest.mark.parametrize("forked", [False, True], ids=["python", "fork"])
@pytest.mark.parametrize(("when", "number", "code", "said"), ENDS)
def test_told_to_stop(tmp_path, forked, when, number, code, said):
    shutil.copytree(ROOT / "workflow/autoprune/core", tmp_path / "autoprune/core")
    shutil.copy(ROOT / "workflow/autoprune/__init__.py", tmp_path / "autoprune")
    (tmp_path / "autoprune/slow.py").write_text(SLOW.format(when=when))
    variables = dict(os.environ, PYTHONPATH=str(tmp_path))
    variables.pop("PYTEST_CURRENT_TEST")
    with subprocess.Popen(
        [*(python((), variables["PATH"]) if forked else [sys.executable]), "-m", "autoprune.slow"],
        cwd=tmp_path,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    ) as process:
        until = time.monotonic() + 60
        while not (tmp_path / "waiting").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(number)
        assert process.communicate(timeout=60) == (None, said)
    assert process.returncode == code
    assert is_stop(error_of(said.splitlines())) == bool(said)  # to who reads its log no failure


def test_who_imports_the_package_keeps_its_own_way():
    """As Snakemake and the tests do."""
    code = "import signal, autoprune; print(signal.getsignal(signal.SIGINT).__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "default_int_handler\n"


def test_a_program_that_imports_the_package_keeps_its_own_signals(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/__init__.py").write_text("import autoprune\n")
    (tmp_path / "theirs/run.py").write_text(
        "from signal import *\n"
        "assert getsignal(SIGINT) is default_int_handler, getsignal(SIGINT)\n"
        "assert getsignal(SIGTERM) == SIG_DFL, getsignal(SIGTERM)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "theirs.run"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
