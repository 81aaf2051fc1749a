"""The client store keeps what it is given, and refuses what is not a store."""

import json
import os
import resource
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.core.files import whole_folder
from autoprune.data.prepare.images import Images
from autoprune.data.prepare.write import write_store
from autoprune.data.store import ClientStore

ARRAYS = ("images", "labels", "clients", "splits")


def settings_of(rng, count, clients, classes):
    """Keywords of ``write_store`` for random samples, every split among them."""
    return {
        "name": "random",
        "source": "test",
        "kind": "stand-in",
        "images": rng.integers(0, 256, (count, 3, 4, 2), np.uint8),
        "labels": rng.integers(0, classes, (count, 2)),
        "clients": rng.integers(0, clients, count),
        "splits": np.concatenate([[0, 1, 2], rng.integers(0, 3, count - 3)]),
        "client_ids": [f"c{number}" for number in range(clients)],
        "targets": [{"name": n, "classes": list(map(str, range(classes)))} for n in ("a", "b")],
        "dropped": [],
        "polarity": "colour",
        "natural_clients": True,
    }


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(3, 60),
    clients=st.integers(1, 9),
    classes=st.sampled_from([2, 256, 257]),
)
def test_a_store_gives_back_every_sample(tmp_path_factory, seed, count, clients, classes):
    folder = tmp_path_factory.mktemp("store")
    given_ = settings_of(np.random.default_rng(seed), count, clients, classes)
    write_store(folder, **given_)
    store = ClientStore.open(folder)
    store.verify()

    order = sorted(range(count), key=lambda row: (given_["splits"][row], given_["clients"][row]))
    for array in ARRAYS:
        assert np.array_equal(getattr(store, array), given_[array][order])
        assert not getattr(store, array).flags.writeable
    assert store.images.dtype == np.uint8
    assert store.labels.dtype == (np.uint16 if classes > 256 else np.uint8)
    assert store.clients.dtype == np.int32
    for number, split in enumerate(("train", "validation", "test")):
        assert (store.splits[store.rows(split)] == number).all()
        assert store.rows(split).stop - store.rows(split).start == store.samples[split]


def test_the_header_says_what_the_store_holds(tmp_path, make_store):
    make_store(tmp_path, [3, 1, 2], [1, 0, 1])
    header = json.loads((tmp_path / "header.json").read_text())
    assert header["schema_version"] == 3
    assert header["shape"] == [2, 2, 1]
    assert header["clients"] == ["c0", "c1"]
    assert header["samples"] == {"train": 3, "validation": 1, "test": 1}
    assert header["dropped"][0]["client"] == "gone"
    store = ClientStore.open(tmp_path)
    assert store.classes("kind")[9] == "k9"
    assert store.target_column("kind") == 0
    with pytest.raises(InputError, match="no target 'sort'; it has kind"):
        store.target_column("sort")
    with pytest.raises(InputError, match="train, validation, test"):
        store.rows("dev")


def test_same_samples_give_the_same_bytes(tmp_path, make_store):
    make_store(tmp_path / "a", [3, 1, 2], [1, 0, 1])
    make_store(tmp_path / "b", [3, 1, 2], [1, 0, 1])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("array", ARRAYS)
def test_one_changed_byte_changes_the_checksum(tmp_path, make_store, array):
    make_store(tmp_path, [3, 1, 2], [1, 0, 1])
    path = tmp_path / f"{array}.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksum"):
        ClientStore.open(tmp_path).verify()


def damage_nothing_there(folder):
    for path in folder.iterdir():
        path.unlink()


def damage_no_header(folder):
    (folder / "header.json").unlink()


def damage_foreign_header(folder):
    (folder / "header.json").write_text('{"a": 1}')


def damage_header_list(folder):
    (folder / "header.json").write_text("[]")


def damage_header_lists(folder):
    path = folder / "header.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "targets": {}}))


def damage_other_version(folder):
    path = folder / "header.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 1}))


def damage_short_array(folder):
    path = folder / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])


def damage_empty_array(folder):
    (folder / "labels.npy").write_bytes(b"")


def damage_no_array(folder):
    (folder / "splits.npy").unlink()


def damage_other_shape(folder):
    np.save(folder / "clients.npy", np.zeros(4, np.int32))


def damage_pickle(folder):
    np.save(folder / "clients.npy", np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    "damage", [value for name, value in sorted(globals().items()) if name.startswith("damage_")]
)
def test_what_is_not_a_whole_store_is_refused_in_one_line(tmp_path, make_store, damage):
    make_store(tmp_path, [3, 1, 2], [1, 0, 1])
    damage(tmp_path)
    with pytest.raises(InputError) as caught:
        ClientStore.open(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_an_empty_split_is_refused_and_nothing_is_left(tmp_path, missing):
    given_ = settings_of(np.random.default_rng(0), 9, 3, 2)
    given_["splits"] = np.where(given_["splits"] == missing, (missing + 1) % 3, given_["splits"])
    with pytest.raises(InputError, match=r"no (train|validation|test) samples"):
        write_store(tmp_path / "store", **given_)
    assert not (tmp_path / "store").exists()


def test_samples_that_contradict_each_other_are_refused_and_nothing_is_left(tmp_path):
    given_ = settings_of(np.random.default_rng(0), 9, 3, 2)
    given_["labels"] = given_["labels"] + 2
    with pytest.raises(InputError, match="labels of 'a': found numbers 2 to 3, expected 0 to 1"):
        write_store(tmp_path / "store", **given_)
    assert not (tmp_path / "store").exists()


def test_a_failed_write_leaves_the_old_files_and_no_new_ones(tmp_path):
    with whole_folder(tmp_path, ["first", "second"]) as scratch:
        for name, path in scratch.items():
            path.write_text(name)

    def half_way():
        with whole_folder(tmp_path, ["first", "second"]) as scratch:
            scratch["second"].write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_way()
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        "first": "first",
        "second": "second",
    }
    blocked = tmp_path / "first" / "below a file"
    with pytest.raises(InputError, match="cannot write there"), whole_folder(blocked, ["x"]):
        pass


IMAGES = np.random.default_rng(0).integers(0, 256, (24, 3, 4, 2), np.uint8)


def read_rows(part):
    """Blocks of IMAGES: a part is a list of lists of row numbers."""
    for rows in part:
        yield np.array(rows, np.int64), IMAGES[rows]


def in_blocks(data, rows):
    """``rows`` in any order, cut into blocks and these into parts."""
    rows = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(rows)), max_size=6)))
    blocks = [block.tolist() for block in np.split(rows, cuts)]
    middle = data.draw(st.integers(0, len(blocks)))
    return [blocks[:middle], blocks[middle:]]


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_images_read_later_make_the_same_files_as_an_array(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("store")
    images = Images(IMAGES.shape, in_blocks(data, np.arange(24)), read_rows)
    array = IMAGES
    for _ in range(data.draw(st.integers(0, 2))):
        rows = np.array(data.draw(st.permutations(range(len(array)))))[: -1 - len(array) // 6]
        images, array = images.take(rows), array[rows]
    given_ = settings_of(np.random.default_rng(1), len(array), 3, 2)
    write_store(folder / "array", **{**given_, "images": array})
    write_store(folder / "later", **{**given_, "images": images})
    assert bytes_of(folder / "later") == bytes_of(folder / "array")


def test_the_number_of_workers_changes_no_byte(tmp_path):
    parts = [[[row], [row + 1, row + 2]] for row in range(0, 24, 3)]
    given_ = settings_of(np.random.default_rng(1), 24, 3, 2)
    for workers in (1, 3):
        images = Images(IMAGES.shape, parts, read_rows)
        write_store(tmp_path / str(workers), **{**given_, "images": images}, workers=workers)
    write_store(tmp_path / "array", **{**given_, "images": IMAGES})
    expected = bytes_of(tmp_path / "array")
    assert all(bytes_of(tmp_path / str(workers)) == expected for workers in (1, 3))


def test_the_checksum_is_that_of_earlier_versions(tmp_path):
    rows = np.arange(12)
    write_store(
        tmp_path,
        name="a",
        source="b",
        kind="real",
        images=np.arange(12 * 24).astype(np.uint8).reshape(12, 2, 4, 3),
        labels=rows[:, None] % 3,
        clients=rows % 2,
        splits=rows % 3,
        client_ids=["a", "b"],
        targets=[{"name": "q", "classes": ["0", "1", "2"]}],
        dropped=[],
        polarity="colour",
        natural_clients=True,
    )
    expected = "92f19afe025545507badff7486bb48d629e061ae5191464f3e2dc7721cb3b595"
    assert ClientStore.open(tmp_path).checksum == expected


def read_other_shape(part):
    yield np.array(part), IMAGES[part][:, 1:]


def read_floats(part):
    yield np.array(part), IMAGES[part] / 255


def read_refused(part):
    if 5 in part:
        raise InputError(f"row {part[0]}: not an image")
    yield np.array(part), IMAGES[part]


def read_broken_file(part):
    yield from read_rows([part[:1]])
    if 5 in part:
        raise OSError(5, "Input/output error")
    yield from read_rows([part[1:]])


def read_and_die(part):
    yield from read_rows([part])
    if 5 in part:
        os.kill(os.getpid(), signal.SIGKILL)


def read_with_a_full_disk(part):
    # Files may not grow beyond some bytes, which the system tells as it tells a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    yield from read_rows([part])


WHOLE = [[*range(9)], [*range(9, 24)]]
FAULTS = {
    "twice in one part": (read_rows, [[[*range(24), 3]]], ValueError, "row 3 .* more than once"),
    "twice": (read_rows, [[[*range(24)]], [[7]]], ValueError, "row 7 .* more than once"),
    "never": (read_rows, [[[*range(23)]]], ValueError, "row 23 .* never came"),
    "other shape": (read_other_shape, WHOLE, ValueError, r"\(9, 2, 4, 2\) came for 9 rows"),
    "floats": (read_floats, WHOLE, ValueError, "float64 images"),
    "refused": (read_refused, [[5, 6], [1], [*range(5, 9)]], InputError, "row 5: not an image"),
    "broken file": (read_broken_file, WHOLE, InputError, r"cannot be read \(Input/output error\)"),
    "killed": (read_and_die, WHOLE, InputError, "was killed, .* fewer --workers"),
    "full disk": (read_with_a_full_disk, WHOLE, InputError, r"cannot write there \(File"),
}


IN_PROCESS = sorted(FAULTS.keys() - {"killed", "full disk"})  # which would hit the test itself
# found by the process that reads, and by the one that writes
IN_TWO = ("killed", "full disk", "refused", "broken file", "other shape", "never")


@pytest.mark.parametrize(
    ("fault", "workers"), [*((f, 2) for f in IN_TWO), *((f, 1) for f in IN_PROCESS)]
)
def test_a_fault_in_a_part_is_told_and_the_old_store_stays(tmp_path, fault, workers):
    read, parts, kind, message = FAULTS[fault]
    given_ = settings_of(np.random.default_rng(1), 24, 3, 2)
    images = Images(IMAGES.shape, parts, read)
    with pytest.raises(kind, match=message) as caught:
        write_store(tmp_path / "deep" / "store", **{**given_, "images": images}, workers=workers)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "deep").exists()
    write_store(tmp_path, **{**given_, "images": IMAGES})
    before = bytes_of(tmp_path)
    with pytest.raises(kind, match=message):
        write_store(tmp_path, **{**given_, "images": images}, workers=workers)
    assert bytes_of(tmp_path) == before


def test_a_store_larger_than_the_disk_is_refused_before_it_is_begun(tmp_path):
    given_ = settings_of(np.random.default_rng(1), 3, 3, 2)
    images = Images((3, 10**6, 10**6, 3), [], read_rows)
    with pytest.raises(
        InputError, match=r"new/store: the store needs 90000000000\d\d bytes, \d+ are"
    ):
        write_store(tmp_path / "new" / "store", **{**given_, "images": images})
    assert not (tmp_path / "new").exists()
