"""TensorFlow Federated's databases are read whole, packed or not, or refused in one line."""

import lzma
import os
import sqlite3
from contextlib import closing, suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tff_files import CELEBA, celeba, femnist, serialized, write_sqlite

from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.data.prepare.__main__ import main
from autoprune.data.prepare.readers import tff_example
from autoprune.data.prepare.sources.tff import unpack
from autoprune.data.store import ClientStore

TRAIN = {"f0001_41": femnist(1, [61, 0, 10, 36]), "f0000_14": femnist(2, [5, 11, 5])}
TEST = {"f0000_14": femnist(3, [6, 12]), "f0001_41": femnist(4, [60])}


def prepare(output, *flags, workers=1):
    words = ["tff", "--name", "x", "--output", output, "--workers", workers, *flags]
    main([str(word) for word in words])
    store = ClientStore.open(output)
    store.verify()
    return store


def database(path, train=TRAIN, test=TEST, seed=None, **more):
    """Write a database; the flags that name it."""
    path.parent.mkdir(exist_ok=True)
    return "--database", write_sqlite(path, {"all_train": train, "all_test": test, **more}, seed)


def same(*folders):
    """Whether the stores in ``folders`` are the same bytes."""
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    return all(other == files[0] for other in files)


def stored(store, split):
    """[(client, labels, image bytes)] of a split, in the store's order."""
    rows = store.rows(split)
    return [
        (store.client_ids[client], labels.tolist(), image.tobytes())
        for client, labels, image in zip(
            store.clients[rows], store.labels[rows], store.images[rows], strict=True
        )
    ]


def expected(clients, image, labels, white):
    """What ``stored`` has to give for ``{client: features}``, by client."""
    return [
        (
            client,
            [int(features[name][row]) for name in labels],
            np.rint(features[image][row] * (255 / white)).astype(np.uint8).tobytes(),
        )
        for client, features in sorted(clients.items())
        for row in range(len(features[image]))
    ]


WRITERS = st.dictionaries(st.text("abz_0é", min_size=1, max_size=4), st.integers(1, 6))


def drawn(rng, sizes):
    """Clients of these sizes with random labels."""
    return {c: femnist(rng.integers(99), rng.integers(0, 62, size)) for c, size in sizes.items()}


@settings(max_examples=25)
@given(writers=WRITERS, held_out=WRITERS, seed=st.integers(0, 99), images=st.integers(1, 7))
def test_any_part_size_gives_the_same_store(tmp_path_factory, writers, held_out, seed, images):
    rng = np.random.default_rng(seed)
    train = drawn(rng, writers) | {"w": femnist(seed, [1, 61, 2, 3, 4])}
    test = {"v": femnist(seed, [5, 6])} | drawn(rng, held_out)
    folder = tmp_path_factory.mktemp("tff")
    flags = database(folder / "db" / "x.sqlite", train, test, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tff_example, "BLOCK", images * 784)
        first = prepare(folder / "1", *flags, "--min-samples", 1)
    prepare(folder / "2", *flags, "--min-samples", 1)
    assert same(folder / "1", folder / "2")
    assert stored(first, "train") == expected(train, "pixels", ["label"], 1)
    held = stored(first, "validation") + stored(first, "test")
    assert sorted(held) == sorted(expected(test, "pixels", ["label"], 1))
    assert first.client_ids == sorted(train.keys() | test.keys())


def test_femnist_has_62_dark_characters_of_writers(tmp_path):
    store = prepare(tmp_path / "s", *database(tmp_path / "x.sqlite"))
    assert (store.kind, store.polarity, store.natural_clients) == ("real", "dark-on-light", True)
    assert store.shape == (28, 28, 1)
    assert store.client_ids == ["f0000_14", "f0001_41"]
    names = store.classes("character")
    assert (len(names), names[0], names[11], names[37]) == (62, "0", "B", "b")  # emnist.py there
    assert store.samples == {"train": 7, "validation": 1, "test": 2}


def test_the_digits_only_data_have_ten_classes(tmp_path):
    digits = [{client: femnist(9, [0, 9, 4]) for client in side} for side in (TRAIN, TEST)]
    both = database(tmp_path / "x.sqlite", digits_only_train=digits[0], digits_only_test=digits[1])
    assert len(prepare(tmp_path / "t", *both).classes("character")) == 62
    store = prepare(tmp_path / "t", *both, "--split", "digits_only")
    assert len(store.classes("character")) == 10


def test_celeba_keeps_its_colours_and_all_attributes(tmp_path):
    train = {"7": celeba(1, 3), "10": celeba(2, 4)}
    test = {"3": celeba(3, 1), "8": celeba(4, 2)}
    clients = {"split_by_clients_train": train, "split_by_clients_test": test}
    examples = {"split_by_examples_train": test, "split_by_examples_test": test}
    path = write_sqlite(tmp_path / "celeba.sqlite", clients | examples, seed=1)
    store = prepare(tmp_path / "s", "--database", path)
    assert (store.shape, store.polarity) == ((84, 84, 3), "colour")
    assert store.client_ids == ["10", "3", "7", "8"]  # whoever only tests is kept, however few
    assert store.classes("Male") == store.classes("5_o_Clock_Shadow") == ["no", "yes"]
    assert len(store.targets) == 40
    male = store.labels[store.rows("train"), store.target_column("Male")]
    assert male.tolist() == [*train["10"]["male"], *train["7"]["male"]]
    assert stored(store, "train") == expected(train, "image", CELEBA, 255)
    held = stored(store, "validation") + stored(store, "test")
    assert sorted(held) == sorted(expected(test, "image", CELEBA, 255))


@pytest.mark.parametrize(("test", "half"), [(77_483, 38_741), (19_859, 9_929)])
def test_the_pooled_test_sets_have_the_notebooks_halves(test, half):
    sizes = np.bincount(sources.halved(np.ones(test, bool), 0), minlength=3)
    assert sizes.tolist() == [0, half, half + 1]


def test_small_clients_are_dropped_and_counted(tmp_path, capsys):
    train = {**TRAIN, "tiny": femnist(5, [1]), "none": femnist(5, [])}
    store = prepare(tmp_path / "s", *database(tmp_path / "x.sqlite", train))
    assert [(d["client"], d["samples"]) for d in store.dropped] == [("none", 0), ("tiny", 1)]
    assert stored(store, "train") == expected(TRAIN, "pixels", ["label"], 1)
    assert "dropped 2 of 4 clients" in capsys.readouterr().err


def test_worker_processes_read_a_database(tmp_path, monkeypatch):
    monkeypatch.setattr(tff_example, "BLOCK", 3 * 784)  # so that there are parts to share
    odd = database(tmp_path / "a b#c%20?" / "x.sqlite")
    before = sorted(odd[1].parent.iterdir())
    prepare(tmp_path / "1", *odd)
    prepare(tmp_path / "2", *odd, workers=2)
    assert same(tmp_path / "1", tmp_path / "2")
    assert sorted(odd[1].parent.iterdir()) == before  # no journal beside the user's file


@pytest.fixture
def archive(tmp_path):
    """An archive as downloaded, and beside it a store of its data."""
    raw = database(tmp_path / "raw" / "emnist_all.sqlite")
    prepare(tmp_path / "plain", *raw)
    path = tmp_path / "emnist_all.sqlite.lzma"
    path.write_bytes(lzma.compress(raw[1].read_bytes(), lzma.FORMAT_ALONE))
    return path


def test_an_archive_is_unpacked_once_and_anew_when_it_is_newer(tmp_path, archive):
    prepare(tmp_path / "s", "--archive", archive)
    unpacked = archive.with_suffix("")
    before = unpacked.stat()
    prepare(tmp_path / "t", "--archive", archive)
    assert same(tmp_path / "plain", tmp_path / "s", tmp_path / "t")
    assert (unpacked.stat().st_ino, unpacked.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )
    os.utime(archive, (before.st_mtime + 9, before.st_mtime + 9))
    unpacked.write_bytes(b"of an older archive")
    os.utime(unpacked, (before.st_mtime, before.st_mtime))
    prepare(tmp_path / "u", "--archive", archive, "--unpacked", tmp_path)
    assert same(tmp_path / "plain", tmp_path / "u")
    prepare(tmp_path / "v", "--archive", archive, "--unpacked", tmp_path / "away")
    assert (tmp_path / "away" / "emnist_all.sqlite").is_file()


def test_a_database_that_somebody_unpacked_is_used(tmp_path, archive):
    """Beside the archive, which `unlzma` takes away; and under the archive's name."""
    unpacked = archive.with_suffix("")
    unpacked.write_bytes((tmp_path / "raw/emnist_all.sqlite").read_bytes())
    archive.unlink()
    prepare(tmp_path / "s", "--archive", archive)
    prepare(tmp_path / "t", "--archive", unpacked)
    unpacked.rename(archive)
    prepare(tmp_path / "u", "--archive", archive)
    assert same(tmp_path / "plain", *(tmp_path / name for name in "stu"))


BAD_ARCHIVES = {
    "cut": (lambda data: data[:-100], "damaged or cut off"),
    "empty": (lambda data: b"", "damaged or cut off"),
    "a page": (lambda data: b"\n<!DOCTYPE html><html>quota</html>", "a web page came in its place"),
    "zeros": (lambda data: b"\0" * 4096, "damaged or cut off"),
    "nothing in it": (lambda data: lzma.compress(b""), "damaged or cut off"),
    "other data": (lambda data: lzma.compress(b"x" * 99), "not a SQLite database"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_a_bad_archive_is_refused_in_one_line(tmp_path, archive, case):
    damage, message = BAD_ARCHIVES[case]
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "out", "--archive", archive)
    assert "emnist_all.sqlite" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert archive.with_suffix("").exists() == (case == "other data")


def test_more_than_the_limit_does_not_come_out_of_an_archive(tmp_path):
    packed = tmp_path / "x.xz"
    packed.write_bytes(lzma.compress(bytes(5_000_000)))
    with pytest.raises(InputError, match="more than the allowed 4999999 bytes come out"):
        unpack(packed, tmp_path / "x", 4_999_999)
    assert not (tmp_path / "x").exists()
    unpack(packed, tmp_path / "x", 5_000_000)
    assert (tmp_path / "x").stat().st_size == 5_000_000


def test_a_missing_or_wrong_file_is_refused_by_name(tmp_path):
    _, base = database(tmp_path / "x.sqlite")
    text = tmp_path / "text"
    text.write_text("SQLite format 2, or so")
    gone = tmp_path / "gone"
    cases = [
        (["--database", gone], r"gone: cannot be read \(No such file"),
        (["--archive", gone], r"gone: cannot be used \(No such file"),
        (["--database", tmp_path], r"cannot be read \(Is a directory\)"),
        (["--database", text], "text: not a SQLite database"),
        (["--database", base, "--split", "some"], "no split 'some'; choose by --split one of all"),
        (["--archive", base, "--database", base], "needs archive, or database alone"),
        (["--database", base, "--unpacked", gone], "unpacked goes with archive"),
        ([], "tff needs archive"),
    ]
    for flags, message in cases:
        with pytest.raises(InputError, match=message) as caught:
            prepare(tmp_path / "out", *flags)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()


def change(name, value, client="w2"):
    """Replace a feature, or remove it."""

    def alter(clients):
        features = clients[client]
        clients[client] = {k: v for k, v in {**features, name: value}.items() if v is not None}
        return clients

    return alter


def pixel(value, row=1):
    ink = femnist(0, [1, 2, 3])["pixels"]
    ink[row, 4, 5] = value
    return change("pixels", ink)


def labels(*values):
    return change("label", np.array(values))


BAD = {  # name: how {client: features} is changed, message
    "no client": (lambda clients: {}, "no client of a training"),
    "no pixels": (change("pixels", None), "w2, row id 5: no feature `pixel"),
    "no label": (change("label", None), "w2, row id 5: no feature `label`"),
    "nothing known": (
        lambda clients: {"w1": {"noise": np.ones((2, 28, 28)), "label": np.ones(2, int)}},
        "w1, row id 1 has neither `pixels`.*label, noise",
    ),
    "small image": (
        change("pixels", np.zeros((3, 28, 27), np.float32)),
        "w2, row id 5: `pixels` has 756 numbers of float_list, expected 784",
    ),
    "whole numbers": (
        change("pixels", np.full((3, 28, 28), 255)),
        "w2, row id 5: `pixels` has 0 numbers of float_list",
    ),
    "NaN": (pixel(np.nan), "w2, row id 6: pixel nan, expected"),
    "255": (pixel(255), "w2, row id 6: pixel 255.0"),
    "below 0": (pixel(-0.5, row=2), "w2, row id 7: pixel -0.5"),
    "62": (labels(1, 62, 3), "row id 6: `label` is 62, .*61"),
    "large": (labels(1, 2, 300), "w2, row id 7: `label` is 300"),
    "-1": (labels(-1, 2, 3), "w2, row id 5: `label` is -1"),
    "a half": (labels(0.5, 2, 3), "row id 5: `label` has 0 numbers of int64_list"),
    "two": (change("label", np.ones((3, 2), int)), "w2, row id 5: `label` has 2 numbers"),
}


def refused(tmp_path, flags, message, path):
    """Check that these files are refused by name in one line and nothing is written."""
    with pytest.raises(InputError, match=message) as caught:
        prepare(tmp_path / "out", *flags)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", BAD)
def test_bad_examples_are_refused_by_client_and_row(tmp_path, case):
    alter, message = BAD[case]
    clients = alter({"w1": femnist(1, [1, 2, 3, 4]), "w2": femnist(2, [1, 2, 3])})
    flags = database(tmp_path / "x.sqlite", clients, {"v": femnist(3, [1, 2])})
    refused(tmp_path, flags, message, flags[1])


@pytest.mark.parametrize("value", [256, 300, -1, 2**62])
def test_a_colour_beyond_a_byte_is_refused(tmp_path, value):
    train = {"7": celeba(1, 3)}
    train["7"]["image"][2, 80, 1, 1] = value
    flags = database(tmp_path / "x.sqlite", train, {"8": celeba(2, 2)})
    refused(tmp_path, flags, rf"7, row id 3: pixel {value}, .* in 0\.\.255", flags[1])


def test_an_attribute_other_than_no_and_yes_is_refused(tmp_path):
    train = {"7": celeba(1, 2)}
    train["7"]["male"] = np.array([1, -1])  # CelebA's own file has -1 for no
    flags = database(tmp_path / "x.sqlite", train, {"8": celeba(2, 2)})
    refused(tmp_path, flags, r"7, row id 2: `male` is -1, .* in 0\.\.1", flags[1])


ROW = "WHERE rowid = 2"
BAD_SQLITE = {
    "no table": ("DROP TABLE examples", "no table `examples`"),
    "no metadata": ("DROP TABLE client_metadata", "no table `client_metadata`"),
    "no column": (
        "DROP INDEX idx_examples_client_id_split; ALTER TABLE examples DROP COLUMN split_name",
        "no column split_name in table `examples`",
    ),
    "no rows": ("DELETE FROM examples", "f0001_41 of all_train has 0 examples, .* says 4"),
    "a row less": (f"DELETE FROM examples {ROW}", "f0001_41 of all_train has 3 .* says 4"),
    "unknown client": (
        f"UPDATE examples SET client_id = 'new' {ROW}",
        "client new, row id 2: client is not in `client_metadata`",
    ),
    "client twice": (
        "INSERT INTO client_metadata SELECT * FROM client_metadata",
        "client f0001_41 of all_train is said to have 4 examples .* one row",
    ),
    "number no number": (
        "UPDATE client_metadata SET num_examples = 'many'",
        "said to have many examples",
    ),
    "cut example": (
        "UPDATE examples SET serialized_example_proto = substr(serialized_example_proto, 1, 99) "
        + ROW,
        "client f0001_41, row id 2: not a tf.train.Example",
    ),
    "text": (
        f"UPDATE examples SET serialized_example_proto = 'text' {ROW}",
        "row id 2: not a tf.train.Example",
    ),
    "empty": (
        f"UPDATE examples SET serialized_example_proto = x'' {ROW}",
        "row id 2: no feature `label`",
    ),
    "no test": (
        "UPDATE client_metadata SET split_name = 'all_train' || client_id "
        "WHERE split_name = 'all_test'",
        "no client of a training and a test split",
    ),
    "only others": (
        "UPDATE client_metadata SET split_name = split_name || 'x'",
        "but of all_testx, all_trainx",
    ),
}


@pytest.mark.parametrize("case", BAD_SQLITE)
def test_a_bad_database_is_refused(tmp_path, case):
    script, message = BAD_SQLITE[case]
    flags = database(tmp_path / "x.sqlite")
    with closing(sqlite3.connect(flags[1])) as connection:
        connection.executescript(script)
        connection.commit()
    refused(tmp_path, flags, message, flags[1])


def test_a_choice_of_splits_is_left_to_the_user(tmp_path):
    path = write_sqlite(
        tmp_path / "x.sqlite",
        {f"{name}_{side}": TRAIN for name in ("a", "b") for side in ("train", "test")},
    )
    refused(tmp_path, ("--database", path), "several splits; choose by --split one of a, b", path)
    assert prepare(tmp_path / "s", "--database", path, "--split", "b").samples["train"] == 7


def varint(number):
    return bytes([number & 127 | 128, number >> 7]) if number > 127 else bytes([number])


def field(number, content):
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def by_hand(floats):
    """A tf.train.Example of these packed floats and label 7, byte by byte."""
    pixels = field(1, field(1, b"pixels") + field(2, field(2, field(1, floats))))
    label = field(1, field(1, b"label") + field(2, field(3, field(1, b"\7"))))
    return field(1, pixels + label)


def test_an_example_is_read_as_it_is_on_the_wire(tmp_path):
    ink = femnist(1, [1])["pixels"]
    made = tff_example.example_class().FromString(by_hand(ink.tobytes()))
    whole = tff_example.example_class().FromString(serialized({"pixels": ink, "label": 7}))
    assert made == whole
    # a piece of a number more
    flags = database(tmp_path / "x.sqlite", {"w": femnist(1, [1, 2])}, {"w": femnist(2, [3, 4])})
    with closing(sqlite3.connect(flags[1])) as connection:
        connection.execute(
            f"UPDATE examples SET serialized_example_proto = ? {ROW}",
            (by_hand(ink.tobytes() + b"\0"),),
        )
        connection.commit()
    refused(tmp_path, flags, "client w, row id 2: not a tf.train.Example", flags[1])


@settings(max_examples=25)
@given(data=st.data())
def test_a_file_truncated_at_any_byte_is_refused(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("tff")
    flags = database(folder / "x.sqlite")
    path = flags[1]
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refused(folder, flags, "not a|cut off|cannot be read", path)


@settings(max_examples=25)
@given(data=st.data())
def test_changed_bytes_are_refused_or_harmless(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("tff")
    flags = database(folder / "x.sqlite")
    path = flags[1]
    content = bytearray(path.read_bytes())
    near = data.draw(st.sampled_from([200, 3000, len(content)]))  # most of a file is pixels
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, near - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with suppress(InputError):  # any other exception is a failure
        prepare(folder / "out", *flags)
    if (folder / "out").exists():
        ClientStore.open(folder / "out").verify()


def test_a_wrong_file_ends_the_command_in_one_line(tmp_path, stage):
    flags = database(tmp_path / "x.sqlite", {"w": femnist(1, [1, 99])}, {"w": femnist(2, [3])})
    process = stage("data.prepare", "tff", "--name", "x", "--output", tmp_path / "out", *flags)
    assert process.returncode == 1
    assert process.stderr.startswith("error: ")
    assert "client w, row id 2: `label` is 99" in process.stderr
    assert process.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
