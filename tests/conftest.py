"""Fixtures that several folders of tests share, and the environment of test processes."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# a busy machine must not fail a law by its deadline; in CI the same examples every time
settings.register_profile("study", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("study")

ROOT = Path(__file__).resolve().parent.parent
# test processes find the package as the workflow's jobs do, and nothing asks the network
os.environ["PYTHONPATH"] = str(ROOT / "workflow")
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
os.environ["HF_HUB_OFFLINE"] = "1"
# a shell that starts pytest in the background has it ignore Ctrl-C, and its processes too
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Fast tests first: what is marked slow goes last, order otherwise kept."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)


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


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Store and partition of 6 writers with about 20 glyphs each."""
    from autoprune.data import partition, prepare  # here: most tests need no data

    folder = tmp_path_factory.mktemp("tiny")
    options = ["--clients", "6", "--samples", "20", "--seed", "0"]
    store, divided = str(folder / "store"), str(folder / "partition")
    prepare.main(["glyphs", "--name", "tiny", "--output", store, *options])
    partition.main(
        ["--store", store, "--scheme", "natural", "--target", "character", "--output", divided]
    )
    return folder
