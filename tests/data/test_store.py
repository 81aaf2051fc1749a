"""The client store keeps what it is given, and refuses what is not a store."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.data.store import ClientStore, whole_folder, write_store
from autoprune.errors import InputError

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
    assert header["schema_version"] == 1
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
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema_version": 2}))


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


def test_samples_that_contradict_each_other_are_a_programming_error(tmp_path):
    given_ = settings_of(np.random.default_rng(0), 9, 3, 2)
    given_["labels"] = given_["labels"] + 2
    with pytest.raises(ValueError, match="class number"):
        write_store(tmp_path / "store", **given_)


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
