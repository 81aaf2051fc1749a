"""Jobs of a real Snakemake are forked by a server, end as `python -m` does, and leave nothing."""

import csv
import os
import shlex
import signal
import subprocess
import sys
import time

import psutil
import pytest

from autoprune.study import stages

ROOT = stages.Path(__file__).resolve().parents[2]
SNAKEFILE = """
import shlex, sys
from pathlib import Path
from autoprune.study.scheduling import fork_stages

def set_shell(*folders):
    places = ":".join(map(str, [*folders, Path(sys.executable).parent]))
    shell.prefix(f'set -euo pipefail; PATH={shlex.quote(places)}:"$PATH"; ')

set_shell()

onstart:
    fork_stages(workflow, set_shell)

rule job:
    output: "{way}.done"
    log: "{way}.log"
    benchmark: "{way}.tsv"
    threads: 2 if config.get("two") else 1
    shell: "python -m stage {wildcards.way} {output:q} 2>&1 | tee {log:q}"
"""
STAGE = """
import os, signal, sys, time
from pathlib import Path

way, output = sys.argv[1:]

def stop(number, frame):
    Path("stopped").write_text(signal.Signals(number).name + "\\n")
    sys.exit("stopped")

if __name__ == "__main__":
    parent = Path(f"/proc/{os.getppid()}/cmdline").read_text()
    print("forked:", "stages.py" in parent, os.getpgrp() == os.getppid(), flush=True)
    if way == "work":
        held, until = b"x" * 80_000_000, time.process_time() + 1
        while time.process_time() < until:
            pass
    if way == "wrong":
        sys.exit("error: wrong")
    if way == "long" and not Path("again").exists():
        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        Path("pid").write_text(str(os.getpid()))
        time.sleep(60)
        sys.exit("nobody stopped it")
    Path(output).write_text(way)
"""


@pytest.fixture
def place(tmp_path):
    """A small workflow at a path with a space."""
    folder = tmp_path / "a path"
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "stage.py").write_text(STAGE)
    return folder


def begin(folder, *words, **environment):
    """Snakemake as a shell starts it: in a process group of its own."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"}
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "2", *words],
        cwd=folder,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def begin_long(folder):
    """Snakemake with a stage that waits, and the stage's process."""
    process = begin(folder, "long.done", TMPDIR=str(folder))
    pid = folder / "pid"
    within(60, lambda: pid.exists() and pid.read_text())
    return process, psutil.Process(int(pid.read_text()))


def within(seconds, holds):
    """Wait until something holds."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def left(folder):
    """What works in a folder still, and the folders of servers in it."""
    of = [p for p in psutil.process_iter(["cwd", "status"]) if p.info["cwd"] == str(folder)]
    alive = [p for p in of if p.info["status"] != psutil.STATUS_ZOMBIE]
    return alive + list(folder.glob("stages-*"))


def client_of(stage):
    """The process that waits for a stage: the `python` of its job."""
    words = "stage_client.py"
    (found,) = [
        process
        for process in psutil.process_iter(["cmdline", "cwd"])
        if process.info["cwd"] == stage.cwd() and words in " ".join(process.info["cmdline"] or [])
    ]
    return found


def test_a_stage_is_forked_measured_and_ends_as_it_would(place):
    done = begin(place, "--keep-going", "work.done", "wrong.done", TMPDIR=str(place))
    said, _ = done.communicate(timeout=120)
    assert done.returncode == 1
    assert (place / "work.log").read_text() == "forked: True False\n"
    assert (place / "wrong.log").read_text() == "forked: True False\nerror: wrong\n"
    assert "error: wrong" in said  # by tee, to Snakemake's own output
    with open(place / "work.tsv", newline="") as stream:
        (cost,) = csv.DictReader(stream, delimiter="\t")
    assert 1 <= float(cost["cpu_time"]) < 3
    assert float(cost["max_rss"]) > 80_000_000 / 2**20
    assert not (place / "wrong.done").exists()
    assert left(place) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ([], {"AUTOPRUNE_STAGE_SERVER": "0"}),
        (["--config", "two=1"], {}),  # libraries settle their threads when they are loaded
    ],
    ids=["turned off", "more threads"],
)
def test_what_cannot_be_forked_is_begun_by_itself(place, words, environment):
    done = begin(place, "work.done", *words, **environment)
    said, _ = done.communicate(timeout=120)
    assert done.returncode == 0, said
    assert (place / "work.log").read_text() == "forked: False False\n"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)
def test_a_signal_to_the_job_reaches_the_stage(place, number):
    process, stage = begin_long(place)
    client_of(stage).send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert (place / "stopped").read_text() == f"{number.name}\n"
    assert (place / "long.log").read_text().endswith("stopped\n")
    assert left(place) == []


def test_ctrl_c_reaches_the_stage_once_and_the_next_run_goes_on(place):
    process, _ = begin_long(place)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert (place / "stopped").read_text() == "SIGINT\n"
    assert left(place) == []
    (place / "again").touch()
    done = begin(place, "long.done")
    said, _ = done.communicate(timeout=60)
    assert done.returncode == 0, said


def test_a_killed_client_takes_its_stage_along(place):
    process, stage = begin_long(place)
    client_of(stage).kill()
    process.communicate(timeout=60)
    assert process.returncode == 1
    within(10, lambda: not stage.is_running())
    assert not (place / "stopped").exists()


def test_a_killed_snakemake_leaves_no_process(place):
    process, _ = begin_long(place)
    process.kill()
    within(30, lambda: left(place) == [])
    process.communicate()
    assert (place / "stopped").read_text() == "SIGTERM\n"  # it could write what it had


def test_a_job_whose_server_is_killed_begins_by_itself(place):
    process, stage = begin_long(place)
    (place / "again").touch()
    stage.parent().kill()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert (place / "long.log").read_text() == "forked: True False\nforked: False False\n"
    assert not stage.is_running()
    assert left(place) == []


@pytest.mark.long
def test_two_workflows_have_servers_of_their_own(place):
    first, one = begin_long(place)
    other = place.parent / "other"
    other.mkdir()
    for name in ("Snakefile", "stage.py"):
        (other / name).write_text((place / name).read_text())
    second, two = begin_long(other)
    assert one.parent() != two.parent()
    os.killpg(first.pid, signal.SIGINT)
    first.communicate(timeout=60)
    assert two.is_running()
    os.killpg(second.pid, signal.SIGINT)
    second.communicate(timeout=60)


def test_nobody_else_may_ask_and_a_long_path_is_no_hindrance(tmp_path, monkeypatch):
    folder = tmp_path / ("long" * 20)
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    server = stages.start()
    try:
        assert server.folder.parent != folder
        assert server.folder.stat().st_mode & 0o777 == 0o700
        done = subprocess.run([*server.client, "-c", "print(1)"], capture_output=True, text=True)
        assert done.stdout == "1\n"
        sh = subprocess.run(f"{shlex.quote(str(server.folder / 'python'))} -V", shell=True)
        assert sh.returncode == 0
    finally:
        server.stop()
    assert not server.folder.exists()


def test_without_a_place_for_the_socket_there_is_no_server(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/proc")
    assert stages.start() is None
