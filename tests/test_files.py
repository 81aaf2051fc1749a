"""Whole files: there or not, and nothing left of processes that were killed."""

import os
import socket
import subprocess
import sys

import pytest

from autoprune.core.errors import InputError
from autoprune.core.files import check_noted, read_array, read_json, whole_file, write_text
from autoprune.models.weights import load_weights
from autoprune.study.overlay import read_overlay

KILLED = """
import os, signal, sys
from autoprune.core.files import whole_file
with whole_file(sys.argv[1]) as scratch:
    scratch.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("name", ["images.npy", "plain", "odd[1].csv"])
def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path, name):
    path = tmp_path / name
    write_text(path, "before")
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert done.returncode < 0
    assert len(list(tmp_path.iterdir())) == 2
    assert path.read_text() == "before"
    write_text(path, "after")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.read_text() == "after"


def test_what_a_living_process_writes_stays(tmp_path):
    path = tmp_path / "a.csv"
    with whole_file(path) as scratch:
        scratch.write_text("half")
        other = scratch.with_name(scratch.name.replace(str(os.getpid()), str(os.getppid())))
        other.write_text("theirs")
        write_text(tmp_path / "b.csv", "x")
    assert other.exists()
    write_text(path, "whole")
    assert other.read_text() == "theirs"
    assert path.read_text() == "whole"


def test_an_exception_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.csv"
    write_text(path, "before")
    with pytest.raises(ZeroDivisionError), whole_file(path) as scratch:
        scratch.write_text(str(1 / 0))
    assert [p.read_text() for p in tmp_path.iterdir()] == ["before"]


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, monkeypatch, kind):
    """To open a pipe that nobody writes to would wait for ever."""
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as ours:
        make = {"folder": os.mkdir, "pipe": os.mkfifo, "socket": ours.bind}
        make[kind]("input")
        for read in (read_json, read_array, load_weights, check_noted, read_overlay):
            with pytest.raises(InputError, match=f"input: a {kind}, expected a file"):
                read("input")


@pytest.mark.parametrize("text", ['{"k": 1, "k": 2}', '{"a": [{"k": 1, "b": 3, "k": 1}]}'])
def test_a_key_that_is_given_twice_is_refused_by_name(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json: key 'k' is given twice"):
        read_json(tmp_path / "x.json")
