"""A stage that the tests' server forks is to its caller what ``python -m`` is."""

import os
import subprocess
import sys

import pytest

from stages import CHANGING, run_stage

WAYS = {
    "silent": "pass",
    "both streams": "import sys; print('out'); print('err', file=sys.stderr)",
    "a code": "import sys; sys.exit(3)",
    "no code": "import sys; sys.exit(None)",
    "a line": "import sys; sys.exit('error: x: wrong')",
    "a traceback": "print('before'); raise ValueError('no')",
    "killed": "import os; print('lost'); os.kill(os.getpid(), 9)",
    "at exit": "import atexit; atexit.register(print, 'last')",
    "a warning": "import warnings; warnings.warn('old', stacklevel=1)",
    "place and words": "import os, sys; print(os.getcwd(), sys.path[0], sys.argv[1:], __name__)",
    "environment": "import os; print(os.environ['MINE'], len(os.environ))",
    "no input": "import sys; print(repr(sys.stdin.read()))",
    "another process": (
        "import multiprocessing as m; p = m.get_context('spawn').Pool(1); print(p.map(abs, [-2]));"
        " p.close(); p.join()"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_ends_as_one_that_was_started(tmp_path, way):
    (tmp_path / "stage.py").write_text(f"if __name__ == '__main__':\n    {WAYS[way]}\n")
    inherited = {k: v for k, v in os.environ.items() if k not in CHANGING}
    told = {"cwd": tmp_path, "env": inherited | {"MINE": "a b"}}
    for strict in (False, True):
        flags = ["-W", "error"] if strict else []
        command = [sys.executable, *flags, "-m", "stage", "--k", "1.5"]
        given = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
        theirs = subprocess.run(command, **told, **given)
        ours = run_stage("stage", "--k", 1.5, strict=strict, **told)
        assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)
        assert ours.stderr.splitlines()[-1:] == theirs.stderr.splitlines()[-1:]


def test_one_that_takes_too_long_is_killed_with_what_it_started(tmp_path):
    (tmp_path / "stage.py").write_text(
        "import subprocess, sys\nprint('begun', flush=True)\n"
        "subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)', 'marked-by-test'])\n"
    )
    run_stage("platform")  # the server is up: the seconds are the stage's
    with pytest.raises(subprocess.TimeoutExpired) as late:
        run_stage("stage", cwd=tmp_path, timeout=3)
    assert late.value.output == "begun\n"
    left = subprocess.run(["pgrep", "-f", "marked-by-test"], capture_output=True, text=True)
    assert left.stdout == ""
    assert run_stage("platform").returncode == 0  # by another server
