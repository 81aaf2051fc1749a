"""QMNIST's labels make MNIST's writers its clients; labels of other images are refused."""

import gzip
import struct

import numpy as np
import pytest

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.data.fetch.registry import load_entry
from autoprune.data.partition import Partition
from autoprune.data.prepare import partition
from autoprune.data.prepare.__main__ import main
from autoprune.data.store import ClientStore

TRAIN, TEST = 40, 20


def write_idx(path, values, kind=0x0800):
    head = struct.pack(f">{1 + values.ndim}I", kind + values.ndim, *values.shape)
    data = head + values.astype(">i4" if kind == 0x0C00 else np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@pytest.fixture
def made(tmp_path):
    """MNIST's files of images that say their row, and QMNIST's: row i is of writer 7 (i % 4)."""
    rng = np.random.default_rng(0)
    for split, name, count, first in (("train", "train", TRAIN, 0), ("test", "t10k", TEST, 9)):
        rows = np.arange(count)
        images = rng.integers(0, 256, (count, 4, 3))
        images[:, 0, 0] = rows
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", rows % 10)
        more = 30 if split == "test" else 0  # QMNIST has the lost test images after the known ones
        rows = np.arange(count + more)
        table = np.zeros((len(rows), 8), int)
        table[:, 0], table[:, 2] = rows % 10, first + 7 * (rows % 4)
        table[:, 5] = 300_000 + rows  # more than a byte or two hold
        write_idx(tmp_path / f"qmnist-{split}-labels-idx2-int.gz", table, 0x0C00)
    return tmp_path


def prepare(output, folder, *flags, writers=None, dataset="MNIST"):
    words = ["torchvision", "--name", "mnist", "--dataset", dataset, "--folder", folder]
    words += ["--writers", writers or folder, "--output", output, "--workers", 1, *flags]
    main([*map(str, words)])
    return ClientStore.open(output)


def test_each_image_belongs_to_who_wrote_it(made, tmp_path):
    store = prepare(tmp_path / "store", made)
    store.verify()
    ids = [f"writer-{number:04d}" for number in (0, 7, 9, 14, 16, 21, 23, 30)]
    assert store.client_ids == ids
    assert store.natural_clients
    rows = store.images[:, 0, 0, 0].astype(int)
    train = store.rows("train")
    assert sorted(rows[train]) == list(range(TRAIN))
    for row, client, held_out in zip(rows, store.clients, store.splits > 0, strict=True):
        assert ids[client] == f"writer-{9 * held_out + 7 * (row % 4):04d}"
    folders = ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "partition")]
    partition.main([*folders, "--scheme", "natural", "--target", "digit"])
    # the writers of the test images never train
    assert Partition.open(tmp_path / "partition").header["client_ids"] == ids[0:2] + ids[3:6:2]


def test_the_images_and_their_split_are_those_without_writers(made, tmp_path):
    store = prepare(tmp_path / "store", made)
    words = ["--name", "mnist", "--dataset", "MNIST", "--folder", made, "--workers", 1]
    main([*map(str, ["torchvision", *words, "--output", tmp_path / "pool"])])
    pool = ClientStore.open(tmp_path / "pool")
    for split in ("train", "validation", "test"):
        here, there = (one.images[one.rows(split), 0, 0, 0] for one in (store, pool))
        assert sorted(here) == sorted(there)


def test_a_smaller_study_keeps_the_writers_of_what_is_drawn(made, tmp_path):
    store = prepare(tmp_path / "store", made, "--samples", 20, "--test-samples", 10)
    rows = store.images[:20, 0, 0, 0].astype(int)
    numbers = [int(store.client_ids[client][-4:]) for client in store.clients[:20]]
    assert numbers == (7 * (rows % 4)).tolist()


def test_unpacked_files_in_torchvisions_root_are_read(made, tmp_path):
    raw = tmp_path / "root" / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    for path in made.glob("qmnist-*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    store = prepare(tmp_path / "a", made, writers=tmp_path / "root")
    assert store.checksum == prepare(tmp_path / "b", made).checksum


def rewritten(name, change):
    def apply(folder):
        path = folder / f"qmnist-{name}-labels-idx2-int.gz"
        path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))

    return apply


BAD = {
    "another class": (
        rewritten("train", lambda d: d[: 12 + 32 * 17] + b"\0\0\0\5" + d[16 + 32 * 17 :]),
        r"qmnist-train.*, row 17: class 5, but .*train-labels-idx1-ubyte\.gz has 7; give QMNIST's",
    ),
    "fewer rows": (
        rewritten("test", lambda d: struct.pack(">3I", 0x0C02, 19, 8) + d[12 : 12 + 19 * 32]),
        "qmnist-test.*: 19 rows of 8 columns, expected 8 columns and a row for each of the 20 ",
    ),
    "other columns": (
        rewritten("train", lambda d: struct.pack(">3I", 0x0C02, 80, 4) + d[12:]),
        "qmnist-train.*: 80 rows of 4 columns, expected 8 columns",
    ),
    "bytes": (
        rewritten("train", lambda d: struct.pack(">I", 0x0802) + d[4:]),
        "magic number 2050, expected 3074 of an idx file of a table of whole numbers",
    ),
    "cut": (rewritten("test", lambda d: d[:-1]), "qmnist-test.*1599 bytes, expected 50 x 8"),
    "longer": (rewritten("train", lambda d: d + b"x"), "qmnist-train.*1281 bytes, expected 40 x 8"),
    "missing": (
        lambda folder: (folder / "qmnist-test-labels-idx2-int.gz").unlink(),
        r"neither qmnist-test-labels-idx2-int\.gz nor qmnist-test-labels-idx2-int in it or in QMN",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_labels_that_are_not_mnists_are_refused_in_one_line(made, tmp_path, case):
    alter, message = BAD[case]
    alter(made)
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "store", made)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_only_mnist_has_writers(made, tmp_path):
    with pytest.raises(InputError, match="MNIST alone; leave it out for dataset KMNIST"):
        prepare(tmp_path / "store", made, dataset="KMNIST")


@pytest.fixture(scope="module")
def real(shared_data):
    """Folders of MNIST's and of QMNIST's files; skips where one is absent."""
    for name, number in (("mnist", 4), ("qmnist", 2)):
        if len(list((shared_data / name).glob("*.gz"))) != number:
            pytest.skip(f"no {name} files in {shared_data}; set AUTOPRUNE_TEST_DATA")
    return shared_data / "mnist", shared_data / "qmnist"


def test_the_pinned_labels_are_those_at_hand(real):
    for split in ("train", "test"):
        entry = load_entry(f"qmnist_{split}_labels")
        path = real[1] / entry.file
        assert (sha256_file(path), path.stat().st_size) == (entry.sha256, entry.bytes)


@pytest.mark.long
def test_539_writers_train_and_297_others_are_tested(real, tmp_path):
    store = prepare(tmp_path / "store", real[0], writers=real[1])
    trained, sizes = np.unique(store.clients[store.rows("train")], return_counts=True)
    tested = np.unique(store.clients[store.rows("train").stop :])
    assert (len(trained), len(tested), len({*trained, *tested})) == (539, 297, 836)
    assert (sizes.min(), np.median(sizes), sizes.max()) == (19, 116, 131)
    assert store.samples == {"train": 60000, "validation": 5000, "test": 5000}
