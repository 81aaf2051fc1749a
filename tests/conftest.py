"""Fixtures that several folders of tests share, and the environment of test processes."""

import math
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from copies import ROOT, copy_of_the_repository, environment

# a busy machine must not fail a law by its deadline; in CI the same examples every time
settings.register_profile("study", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("study")

# test processes find the package as the workflow's jobs do, and nothing asks the network
os.environ["PYTHONPATH"] = str(ROOT / "workflow")
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "agg"  # no window, also where there is a screen
# where Slurm is installed but does not run, each Snakemake would wait ten seconds for its answer
os.environ.setdefault("SLURM_CONF", os.devnull)
# as in the study, and two at a time keep two cores busy
os.environ["OMP_NUM_THREADS"] = "1"
# a shell that starts pytest in the background has it ignore Ctrl-C, and its processes too
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Fast tests first; of the others the largest file first, which takes longest.

    With workers these come before the fast ones, or one worker would in the end wait for the other.
    """
    marked = [i for i in items if i.get_closest_marker("slow") or i.get_closest_marker("long")]
    sizes = Counter(item.path for item in marked)
    last = {item: -sizes[item.path] for item in marked}
    fast = 0 if "PYTEST_XDIST_WORKER" in os.environ else -math.inf
    items.sort(key=lambda item: last.get(item, fast))


@pytest.fixture(scope="session")
def root():
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data that some tests read; skips, saying so, where it is absent."""
    folder = Path(os.environ.get("AUTOPRUNE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}; set AUTOPRUNE_TEST_DATA to run this test")
    return folder


@pytest.fixture
def threads():
    """``torch.set_num_threads``, undone afterwards."""
    import torch  # here: most tests need no torch

    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Store and partition of 6 writers with about 20 glyphs each."""
    from autoprune.data.prepare import __main__ as prepare
    from autoprune.data.prepare import partition  # here: most tests need no data

    folder = tmp_path_factory.mktemp("tiny")
    options = ["--clients", "6", "--samples", "20", "--seed", "0"]
    store, divided = str(folder / "store"), str(folder / "partition")
    prepare.main(["glyphs", "--name", "tiny", "--output", store, *options])
    partition.main(
        ["--store", store, "--scheme", "natural", "--target", "character", "--output", divided]
    )
    return folder


@pytest.fixture(scope="session")
def studied(tmp_path_factory):
    """A copy of the repository at a path with a space, with the study of ci.yaml run in it.

    The first worker of pytest-xdist that needs it makes it, for all.
    """
    base = tmp_path_factory.getbasetemp()
    place = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "a study"
    folder, finished = place / "autoprune", place / "finished"
    place.mkdir(exist_ok=True)
    with FileLock(place / "lock"):
        if not finished.exists():
            copy_of_the_repository(folder)
            command = ["snakemake", "--cores", "2", "all", "--configfile", "config/ci.yaml"]
            told = {"cwd": folder, "env": environment(folder), "timeout": 1800}
            done = subprocess.run(command, capture_output=True, text=True, **told)
            assert done.returncode == 0, done.stdout + done.stderr
            finished.touch()
    return folder
