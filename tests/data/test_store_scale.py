"""A store larger than the memory it may take: written flat, opened at once, read in part."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGINT

import numpy as np
import psutil
import pytest

from autoprune.core.errors import run_main
from autoprune.data.prepare.images import Images
from autoprune.data.prepare.write import write_store
from autoprune.data.store import ClientStore

pytestmark = pytest.mark.long

MEGA = 1 << 20
HERE = Path(__file__).resolve()
CLIENTS, EACH, SIDE = 3_400, 30, 84  # 2.1 GB of images


def read_client(part):
    """Images of one client, each filled with a value that names its row."""
    rows = np.arange(part * EACH, (part + 1) * EACH)
    values = (rows % 251).astype(np.uint8)[:, None, None, None]
    yield rows, np.broadcast_to(values, (EACH, SIDE, SIDE, 3))


def read_and_wait(part):
    """Say who reads, then take very long."""
    print(os.getpid(), flush=True)
    time.sleep(600)
    yield from read_client(part)


def read_for_ever(part):
    """Say who reads, then hand over blocks of no image."""
    print(os.getpid(), flush=True)
    while True:
        yield np.empty(0, np.int64), np.empty((0, SIDE, SIDE, 3), np.uint8)


def write(folder, clients, workers, read=read_client):
    """Write a store of ``clients`` clients; every tenth image is held out."""
    count = clients * EACH
    write_store(
        folder,
        name="large",
        source="test",
        kind="stand-in",
        images=Images((count, SIDE, SIDE, 3), range(clients), read),
        labels=np.zeros((count, 1), int),
        clients=np.arange(count) // EACH,
        splits=np.select([np.arange(count) % 20 == 0, np.arange(count) % 20 == 10], [1, 2], 0),
        client_ids=[f"f{number:04d}_{number % 50:02d}" for number in range(clients)],
        targets=[{"name": "kind", "classes": ["a", "b"]}],
        dropped=[],
        polarity="colour",
        natural_clients=True,
        workers=workers,
    )


def command(*words):
    return [sys.executable, str(HERE), *map(str, words)]


def environment():
    return {**os.environ, "PYTHONPATH": str(HERE.parents[2] / "workflow")}


def peak_of(process):
    """The most resident bytes of a process and its children together, until it ends."""
    tree, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            family = (tree, *tree.children(recursive=True))
            peak = max(peak, sum(one.memory_info().rss for one in family))
            process.wait(0.02)
        except (psutil.NoSuchProcess, subprocess.TimeoutExpired):
            continue
    return peak


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The folder of a large store, and the most memory that writing it took."""
    folder = tmp_path_factory.mktemp("large") / "store"
    with subprocess.Popen(command("write", folder, CLIENTS, 2), env=environment()) as process:
        peak = peak_of(process)
    assert process.returncode == 0
    yield folder, peak
    for path in folder.iterdir():
        path.unlink()


def test_memory_while_writing_does_not_grow_with_the_images(large):
    folder, peak = large
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size > 2000 * MEGA
    assert peak < 600 * MEGA
    assert size <= 1.1 * ClientStore.open(folder).images.nbytes


def test_every_image_of_a_large_store_is_at_its_place(large):
    store = ClientStore.open(large[0])
    rows = np.arange(CLIENTS * EACH)
    order = np.lexsort((rows // EACH, np.select([rows % 20 == 0, rows % 20 == 10], [1, 2], 0)))
    corners = store.images[:, [0, -1], [0, -1], 0]
    assert np.array_equal(corners, np.stack([rows[order] % 251] * 2, axis=1))
    assert np.array_equal(store.clients, rows[order] // EACH)


def test_opening_a_large_store_reads_none_of_it_and_a_client_only_its_own(large):
    output = subprocess.run(
        command("read", large[0]), env=environment(), capture_output=True, check=True
    ).stdout
    found = json.loads(output)
    assert found["opened"] < MEGA  # no image, whatever their number
    assert found["disk"] <= 1.2 * found["wanted"]  # 0 where files do not lie on a disk
    # The kernel maps the neighbours of a page that is touched, up to 2 MiB on each side.
    assert found["wanted"] <= found["read"] <= found["wanted"] + 50 * 4 * MEGA


def test_verifying_a_large_store_does_not_take_its_size_in_memory(large):
    with subprocess.Popen(command("verify", large[0]), env=environment()) as process:
        peak = peak_of(process)
    assert process.returncode == 0
    assert peak < 300 * MEGA


@pytest.mark.parametrize("signal", ["kill", "terminate"])
def test_no_worker_outlives_a_process_that_was_ended(tmp_path, signal):
    run = command("wait", tmp_path / "store", 8, 2)
    with subprocess.Popen(run, env=environment(), stdout=subprocess.PIPE) as process:
        workers = [psutil.Process(int(process.stdout.readline())) for _ in range(2)]
        getattr(process, signal)()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive


def test_ctrl_c_ends_all_processes_in_one_line_and_leaves_nothing(tmp_path):
    run = command("for ever", tmp_path / "new" / "store", 8, 2)
    with subprocess.Popen(
        run,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # a terminal, too, tells all processes of its foreground
    ) as process:
        workers = [psutil.Process(int(process.stdout.readline())) for _ in range(2)]
        os.killpg(process.pid, SIGINT)
        assert process.stderr.read() == b"interrupted\n"
        assert process.wait() == 130
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive
    assert not (tmp_path / "new").exists()


def read_some(folder):
    """Print the bytes of files mapped by opening a store and by 50 clients, and those wanted."""
    start = psutil.Process().memory_info().shared
    store = ClientStore.open(folder)
    opened = psutil.Process().memory_info().shared - start
    clients = np.asarray(store.clients[store.rows("train")])
    wanted = 0
    with open(store.folder / "images.npy", "rb") as stream:  # so that it comes from the disk
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = psutil.Process().memory_info().shared
    disk = psutil.Process().io_counters().read_bytes
    for client in range(0, CLIENTS, CLIENTS // 50):
        first, end = np.searchsorted(clients, [client, client + 1])
        wanted += store.images[np.arange(first, end)].nbytes
    read = psutil.Process().memory_info().shared - before
    disk = psutil.Process().io_counters().read_bytes - disk
    print(json.dumps({"disk": disk, "opened": opened, "wanted": wanted, "read": read}))


if __name__ == "__main__":
    what, folder, *numbers = sys.argv[1:]
    if what == "read":
        read_some(folder)
    elif what == "verify":
        ClientStore.open(folder).verify()
    else:
        readers = {"write": read_client, "wait": read_and_wait, "for ever": read_for_ever}
        run_main(lambda _: write(folder, *map(int, numbers), readers[what]))
