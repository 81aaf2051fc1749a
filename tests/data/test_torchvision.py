"""torchvision's idx files give their images and labels; broken ones are refused in one line."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.data.prepare.__main__ import main
from autoprune.data.prepare.sources import torchvision as source
from autoprune.data.store import ClientStore

REPOSITORY = Path(__file__).parents[2]
TRAIN, TEST = 50, 20


def idx(values, magic=None):
    """An idx file's bytes: big-endian magic number and shape, then the values."""
    head = [2048 + values.ndim if magic is None else magic, *values.shape]
    return struct.pack(f">{len(head)}I", *head) + values.astype(np.uint8).tobytes()


def samples(count, first_class=0, classes=10, sides=(6, 5), corner=0):
    """Image i has the level i in its first row and 3 i in its first column, ``corner`` opposite."""
    rows = np.arange(count)
    images = np.zeros((count, *sides), np.uint8)
    images[:, 0] = rows[:, None]
    images[:, :, 0] = 3 * rows[:, None] % 256
    images[:, -1, -1] = corner
    return images, first_class + rows % classes


def write(folder, prefix=("train", "t10k"), packed=True, **how):
    folder.mkdir(parents=True, exist_ok=True)
    for word, count in zip(prefix, (TRAIN, TEST), strict=True):
        how["corner"] = count  # no test image is a training image
        for what, values in zip(("images-idx3", "labels-idx1"), samples(count, **how), strict=True):
            path = folder / f"{word}-{what}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))
    return folder


def prepare(output, folder, *flags, dataset="MNIST"):
    words = ["torchvision", "--name", "made", "--output", output, "--folder", folder]
    main([*map(str, [*words, "--dataset", dataset, *flags]), "--workers", "1"])
    store = ClientStore.open(output)
    store.verify()
    return store


@pytest.mark.parametrize("dataset", ["MNIST", "FashionMNIST", "KMNIST"])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("inside", [True, False])
def test_each_layout_gives_every_image_with_its_label(tmp_path, dataset, packed, inside):
    write(tmp_path / "in" / (f"{dataset}/raw" if inside else "."), packed=packed)
    store = prepare(tmp_path / "store", tmp_path / "in", dataset=dataset)
    assert store.shape == (6, 5, 1)
    assert store.samples == {"train": TRAIN, "validation": TEST // 2, "test": TEST // 2}
    assert (store.kind, store.polarity, store.natural_clients) == ("real", "light-on-dark", False)
    assert store.client_ids == ["pool"]
    assert store.dropped == []
    rows = store.images[:, 0, 1, 0].astype(int)
    assert sorted(rows[:TRAIN]) == list(range(TRAIN))
    assert sorted(rows[TRAIN:]) == list(range(TEST))
    assert (store.images[:, 1:, 0, 0] == 3 * rows[:, None]).all()
    assert (store.images[:, 0, 1:, 0] == rows[:, None]).all()
    assert (store.labels[:, 0] == rows % 10).all()
    assert len(store.targets[0]["classes"]) == 10


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=80),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_a_draw_keeps_the_shares_of_the_classes(labels, share, seed):
    labels = np.array(labels)
    number = max(1, round(share * len(labels)))
    rows, dropped = source._drawn(labels, number, "train", seed)
    assert len(rows) == number
    assert (np.diff(rows) > 0).all()
    drawn = np.bincount(labels[rows], minlength=6)
    assert (np.abs(drawn - number * np.bincount(labels, minlength=6) / len(labels)) < 1).all()
    assert sum(entry["samples"] for entry in dropped) == len(labels) - number
    assert np.array_equal(rows, source._drawn(labels, number, "train", seed)[0])


def test_a_smaller_study_is_seeded_and_says_what_it_left_out(tmp_path):
    write(tmp_path / "in")
    flags = ("--samples", 20, "--test-samples", 10)
    store = prepare(tmp_path / "a", tmp_path / "in", *flags, "--seed", 1)
    assert store.samples == {"train": 20, "validation": 5, "test": 5}
    assert np.bincount(store.labels[:20, 0]).tolist() == [2] * 10
    assert [(entry["client"], entry["samples"]) for entry in store.dropped] == [
        (None, TRAIN - 20),
        (None, TEST - 10),
    ]
    assert "--samples" in store.dropped[0]["reason"]
    same = prepare(tmp_path / "b", tmp_path / "in", *flags, "--seed", 1)
    other = prepare(tmp_path / "c", tmp_path / "in", *flags, "--seed", 2)
    assert store.checksum == same.checksum != other.checksum


@pytest.fixture(scope="module")
def real_mnist():
    """Folder of the four real MNIST files; skips where it is absent."""
    data = Path(os.environ.get("AUTOPRUNE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    folder = data / "mnist"
    if len(list(folder.glob("*.gz"))) != 4:
        pytest.skip(f"no MNIST files at {folder}; set AUTOPRUNE_TEST_DATA")
    return folder


@pytest.mark.long
def test_real_mnist_keeps_every_image(real_mnist, tmp_path):
    store = prepare(tmp_path / "store", real_mnist)
    assert store.shape == (28, 28, 1)
    assert store.samples == {"train": 60000, "validation": 5000, "test": 5000}
    assert store.classes("digit") == list("0123456789")
    counts = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(store.labels[store.rows("train"), 0]).tolist() == counts
    with gzip.open(real_mnist / "train-images-idx3-ubyte.gz") as stream:
        raw = np.frombuffer(stream.read()[16:], np.uint8).reshape(-1, 28, 28, 1)
    assert np.array_equal(store.images[store.rows("train")], raw)
    assert np.median(store.images[:1000]) == 0


def test_real_mnist_is_not_taken_for_another_data_set(real_mnist, tmp_path):
    with pytest.raises(InputError, match=r"ubyte\.gz: this is MNIST's, not KMNIST's"):
        prepare(tmp_path / "store", real_mnist, dataset="KMNIST")
    assert not (tmp_path / "store").exists()


def change(name, content):
    def apply(folder):
        path = folder / f"{name}-ubyte.gz"
        data = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(content(data)))

    return apply


def cut(name, length):
    def apply(folder):
        path = folder / f"{name}-ubyte.gz"
        path.write_bytes(path.read_bytes()[:length])

    return apply


IMAGES, LABELS = "train-images-idx3", "t10k-labels-idx1"
BAD = {
    "missing": (lambda folder: (folder / f"{LABELS}-ubyte.gz").unlink(), "neither t10k-labels"),
    "cut in the head": (cut(IMAGES, 12), "train-images.*(cannot be read|ends too early)"),
    "cut in the middle": (cut(IMAGES, 60), "train-images.*cannot be read"),
    "cut at the sum": (cut(IMAGES, -6), "train-images.*cannot be read"),
    "labels cut": (cut(LABELS, -9), "t10k-labels.*cannot be read"),
    "empty": (cut(IMAGES, 0), "train-images.*ends too early"),
    "a page": (
        lambda folder: (folder / f"{IMAGES}-ubyte.gz").write_text("<html>quota</html>"),
        "train-images.*cannot be read",
    ),
    "images for labels": (
        change(LABELS, lambda data: idx(samples(TEST)[0])),
        "t10k-labels.*magic number 2051, expected 2049 of an idx file of labels",
    ),
    "other numbers": (
        change(IMAGES, lambda data: struct.pack(">I", 0x0D03) + data[4:]),
        "train-images.*magic number 3331, expected 2051",
    ),
    "fewer pixels": (
        change(IMAGES, lambda data: data[:-1]),
        "train-images.*1499 bytes, exp",
    ),
    "more pixels": (
        change(IMAGES, lambda data: data + b"x"),
        "train-images.*1501 bytes",
    ),
    "fewer labels": (
        change(LABELS, lambda data: idx(np.zeros(TEST - 1))),
        "t10k-images.*: 20 images, but 19 labels in .*t10k-labels",
    ),
    "none": (
        change(IMAGES, lambda data: idx(np.zeros((0, 6, 5)))),
        "0 bytes, expected 0 x 6 x 5",
    ),
    "label 10": (
        change(LABELS, lambda data: data[:-3] + b"\x0a\x00\x00"),
        r"t10k-labels.*row 17: label 10, expected 0\.\.9",
    ),
    "another size": (
        change("t10k-images-idx3", lambda data: idx(samples(TEST, sides=(5, 5))[0])),
        "in: training images of 6x5, test images of 5x5",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_refused_in_one_line_and_nothing_is_left(tmp_path, case):
    alter, message = BAD[case]
    alter(write(tmp_path / "in"))
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "store", tmp_path / "in")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("dataset", "flags", "message"),
    [
        ("EMNIST", [], "--dataset: found 'EMNIST'; known are MNIST"),
        ("MNIST", ["--samples", TRAIN + 1], "--samples 51 is more than the 50 train images"),
        ("MNIST", ["--test-samples", 99], "--test-samples 99 is more than the 20 test images"),
        ("MNIST", ["--test-samples", 1], "no validation samples"),
    ],
)
def test_flags_that_do_not_fit_are_refused(tmp_path, dataset, flags, message):
    write(tmp_path / "in")
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "store", tmp_path / "in", *flags, dataset=dataset)
    assert not (tmp_path / "store").exists()


def test_a_bad_file_ends_the_command_in_one_line(tmp_path, stage, refused):
    cut(IMAGES, -6)(write(tmp_path / "in"))
    flags = ["--name", "m", "--folder", tmp_path / "in", "--output", tmp_path / "store"]
    flags += ["--workers", "1"]
    line = refused(stage("data.prepare", "torchvision", "--dataset", "MNIST", *flags))
    assert "train-images-idx3-ubyte.gz: cannot be read" in line
    assert not (tmp_path / "store").exists()
