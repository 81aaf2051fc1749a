"""LEAF's shards are read whole, and each kind of bad shard is refused in one line."""

import gzip
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.data.prepare.__main__ import main
from autoprune.data.prepare.sources import files_read
from autoprune.data.store import ClientStore


def prepare(output, *flags):
    names = ["--name", "femnist", "--workers", "1"]  # test_prepare_cli.py has more
    main(["leaf", *names, "--output", str(output), *map(str, flags)])
    store = ClientStore.open(output)
    store.verify()
    return store


def test_real_writers_keep_every_pixel(real_leaf, tmp_path):
    store = prepare(tmp_path / "store", "--folder", real_leaf)
    expected = {}
    for path in real_leaf.glob("*.json"):
        for user, data in json.loads(path.read_text())["user_data"].items():
            expected[user] = sorted(
                (label, np.rint(np.array(x) * 255).astype(np.uint8).tobytes())
                for x, label in zip(data["x"], data["y"], strict=True)
            )
    found = {user: [] for user in store.client_ids}
    for image, (label,), client in zip(store.images, store.labels, store.clients, strict=True):
        found[store.client_ids[client]].append((int(label), image.tobytes()))
    assert {user: sorted(samples) for user, samples in found.items()} == expected
    assert len(expected) == 16
    assert store.shape == (28, 28, 1)
    assert np.median(store.images) == 255  # dark ink on white paper
    assert (store.kind, store.polarity, store.natural_clients) == ("real", "dark-on-light", True)
    held_out = store.samples["validation"] + store.samples["test"]
    assert 0 <= store.samples["test"] - store.samples["validation"] <= 1
    assert held_out == sum(round(0.2 * len(samples)) for samples in expected.values())


def test_leafs_own_split_is_kept_and_users_merge(tmp_path, leaf_shard, capsys):
    leaf_shard(tmp_path / "train" / "a.json", {"w1": [1, 2], "w2": [3, 4], "tiny": [5]})
    leaf_shard(tmp_path / "train" / "b.json", {"w1": [6]})
    leaf_shard(tmp_path / "test" / "a.json", {"w1": [7, 8], "unseen": [9]})
    store = prepare(tmp_path / "s", "--train", tmp_path / "train", "--test", tmp_path / "test")
    messages = capsys.readouterr().err
    assert "user w1 occurred before; merged" in messages
    assert "dropped 1 of 4 clients (1 samples): fewer than 2 samples" in messages
    assert store.client_ids == ["unseen", "w1", "w2"]
    assert store.dropped == [{"client": "tiny", "samples": 1, "reason": "fewer than 2 samples"}]
    train = store.rows("train")
    assert store.labels[train, 0].tolist() == [1, 2, 6, 3, 4]
    assert store.clients[train].tolist() == [1, 1, 1, 2, 2]
    assert store.samples == {"train": 5, "validation": 1, "test": 2}
    assert sorted(store.labels[train.stop :, 0]) == [7, 8, 9]
    assert np.array_equal(store.images[:, 0, 0, 0], np.rint(store.labels[:, 0] / 61 * 255))


def test_a_writers_split_does_not_depend_on_the_others(tmp_path, leaf_shard):
    leaf_shard(tmp_path / "one" / "a.json", {"w1": range(20)})
    leaf_shard(tmp_path / "two" / "a.json", {"w0": range(30), "w1": range(20)})
    trained = []
    for folder in ("one", "two"):
        store = prepare(tmp_path / f"{folder} store", "--folder", tmp_path / folder)
        rows = store.rows("train")
        mine = store.clients[rows] == store.client_ids.index("w1")
        trained.append(store.labels[rows][mine].tolist())
    assert trained[0] == trained[1]


def change(**changes):
    return lambda shard: {**shard, **changes}


def change_user(key, row, value):
    def apply(shard):
        values = shard["user_data"]["w2"][key]
        if row is None:
            shard["user_data"]["w2"][key] = value
        elif value is None:
            del values[row]
        else:
            values[row] = value
        return shard

    return apply


def image(pixel):
    return [0.5] * 700 + [pixel] + [0.5] * 83


BAD = {
    "not an object": (lambda shard: [shard], "not a LEAF shard"),
    "no user_data": (lambda shard: {"users": []}, "`user_data`"),
    "user without data": (change(users=["w1", "w2", "w3"]), "user w3 is listed in `users`"),
    "data without user": (change(users=["w1"]), "user w2 is in `user_data`"),
    "user listed twice": (change(users=["w1", "w2", "w1"]), "user w1 is listed more than once"),
    "users no list": (change(users=3), "`users` is not a list"),
    "other counts": (change(num_samples=[2, 4]), "user w2: `num_samples` says 4, found 3"),
    "too few counts": (change(num_samples=[2]), "`num_samples` is not a list of 2"),
    "no x": (change_user("x", None, None), "lists `x` and `y`"),
    "label too many": (change_user("x", 0, None), "user w2: 2 images in `x` but 3 labels"),
    "image short": (change_user("x", 1, [0.5] * 783), "user w2, row 1: 783 pixels, expected 784"),
    "image no list": (change_user("x", 1, 3), "user w2, row 1: 3, expected 784"),
    "label 62": (change_user("y", 2, 62), "user w2, row 2: label 62, expected an integer"),
    "label -1": (change_user("y", 2, -1), "row 2: label -1"),
    "label 1.0": (change_user("y", 2, 1.0), r"row 2: label 1\.0"),
    "label true": (change_user("y", 2, True), "row 2: label True"),
    "label text": (change_user("y", 2, "a" * 99), r"row 2: label 'a+\.\.\.,"),
    "pixel NaN": (change_user("x", 1, image(math.nan)), r"bad\.json: not valid JSON"),
    "pixel 255": (change_user("x", 1, image(255)), r"row 1, pixel 700: 255\.0, .* divide"),
    "pixel below 0": (change_user("x", 1, image(-0.01)), r"pixel 700: -0\.01"),
    "pixel text": (change_user("x", 1, image("0.5")), "row 1: pixel '0.5'"),
    "pixel null": (change_user("x", 1, [None] * 784), "row 1: pixel None"),
    "number too large": (change_user("x", 1, image(10**30)), r"bad\.json: not valid JSON \(parse"),
    "pixel list": (change_user("x", 1, image([0.5])), r"row 1: pixel \[0\.5\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_shard_is_refused_in_one_line_that_names_the_place(tmp_path, leaf_shard, case):
    alter, message = BAD[case]
    path = leaf_shard(tmp_path / "in" / "bad.json", {"w1": [1, 2], "w2": [3, 4, 5]})
    path.write_text(json.dumps(alter(json.loads(path.read_text()))))
    with pytest.raises(InputError, match=message) as caught:
        # Half for test: of so few samples there is one for validation, and the pixels are read.
        prepare(tmp_path / "store", "--folder", tmp_path / "in", "--test-fraction", 0.5)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"1" * 5000])
def test_a_file_that_is_not_json_is_refused(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json"):
        prepare(tmp_path / "store", "--folder", tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"user_data": {"w1": {"x": [], "y": []}, "w1": {"x": [], "y": []}}}', "more than once"),
        ('{"user_data": {"w1": {"x": [], "y": []}}} {}', "not valid JSON .*trailing"),
        ('{"user_data": {"w1": ' + "[0, " * 100_000, "nested too deep"),
        ('{"user_data": {"w1": ' + '{"a": ' * 100_000, "nested too deep"),
        ('{"user_data": {"w1": NaN', "not valid JSON"),
    ],
)
def test_what_one_parser_takes_and_another_does_not_is_refused(tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=rf"x\.json: .*{message}") as caught:
        prepare(tmp_path / "store", "--folder", tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_keys_may_stand_in_any_order_and_users_have_any_name(tmp_path, leaf_shard):
    users = {"a.b": [1, 2, 3], "item": [4, 5, 6], "user_data": [7, 8], "NaN, [{é": [9, 10, 11]}
    path = leaf_shard(tmp_path / "one" / "a.json", users)
    shard = json.loads(path.read_text())
    turned = {"user_data": shard["user_data"], "more": [{"users": 3}], **shard}
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "a.json").write_text(
        json.dumps(dict(sorted(turned.items(), reverse=True)), ensure_ascii=False)
    )
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "a.json").write_text(json.dumps({"user_data": shard["user_data"]}))
    stores = [
        prepare(tmp_path / f"{n} s", "--folder", tmp_path / n) for n in ("one", "two", "three")
    ]
    assert stores[0].client_ids == sorted(users)
    assert len({store.checksum for store in stores}) == 1


def packed(path):
    """The shard packed, as forks of the data have it."""
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return path.with_name(f"{path.name}.gz")


def marked(path):
    """With a byte-order mark, as some editors of Windows save it."""
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())


def deeper(path):
    """In a folder of the folder."""
    (path.parent / "all_data/niid").mkdir(parents=True)
    path.rename(path.parent / "all_data/niid" / path.name)


@pytest.mark.parametrize("form", [packed, marked, deeper])
def test_shards_may_be_packed_marked_or_deeper(tmp_path, leaf_shard, form):
    for name in ("plain", "other"):
        leaf_shard(tmp_path / name / "b.json", {"w3": range(30, 50)})
        path = leaf_shard(tmp_path / name / "a.json", {"w1": range(20), "w2": range(20, 30)})
    if form is deeper:
        for name in ("plain", "other"):
            (tmp_path / name / "b.json").unlink()  # which would be all that is read
    form(path)
    plain, other = (
        prepare(tmp_path / f"{n} s", "--folder", tmp_path / n) for n in ("plain", "other")
    )
    assert other.checksum == plain.checksum
    watched = files_read("leaf", {"folder": str(tmp_path / "other")})
    assert len(watched) == 1 if form is deeper else 2


def test_a_packed_shard_that_is_cut_or_none_is_refused(tmp_path, leaf_shard):
    path = packed(leaf_shard(tmp_path / "in/a.json", {"w1": range(20)}))
    whole = path.read_bytes()
    for content in (whole[:-9], whole[: len(whole) // 2], b"", b"{}", whole[:40] + b"x" * 99):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.json\.gz: ") as caught:
            prepare(tmp_path / "store", "--folder", tmp_path / "in")
        assert "\n" not in str(caught.value)
    leaf_shard(tmp_path / "in/a.json", {"w1": range(20)})
    with pytest.raises(InputError, match="the same shard lies unpacked beside it"):
        prepare(tmp_path / "store", "--folder", tmp_path / "in")


def test_a_folder_of_leafs_split_is_not_taken_for_one_without(tmp_path, leaf_shard):
    for split, labels in (("train", range(20)), ("test", range(20, 30))):
        leaf_shard(tmp_path / "data" / split / "a.json", {"w1": labels})
    with pytest.raises(InputError, match="has LEAF's split, folders train and test; give them"):
        prepare(tmp_path / "store", "--folder", tmp_path / "data")


def test_a_name_that_steers_a_terminal_is_refused_and_shown_as_text(tmp_path, leaf_shard, stage):
    leaf_shard(tmp_path / "in/a.json", {"\x1b[2Jw1": range(20)})
    flags = ["--name", "n", "--folder", tmp_path / "in", "--output", tmp_path / "store"]
    done = stage("data.prepare", "leaf", *flags)
    assert done.returncode == 1
    assert done.stderr.endswith(r"client '\x1b[2Jw1' cannot be shown; rename it" + "\n")
    leaf_shard(tmp_path / "in/a.json", {"\x1b[2Jw1": [99]})
    done = stage("data.prepare", "leaf", *flags)
    assert r"user \x1b[2Jw1, row 0: label 99" in done.stderr
    assert "\x1b" not in done.stderr


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_shard_truncated_at_any_byte_is_refused(tmp_path_factory, leaf_shard, data):
    folder = tmp_path_factory.mktemp("leaf")
    path = leaf_shard(folder / "in" / "a.json", {"w1": [1, 2]})
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        prepare(folder / "store", "--folder", folder / "in")
    assert not (folder / "store").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "train and test, or folder alone"),
        (["--train", "."], "train and test, or folder alone"),
        (["--train", ".", "--test", ".", "--folder", "."], "or folder alone"),
        (["--train", ".", "--test", "."], "one folder"),
        (["--folder", "absent"], "absent: no such folder"),
        (["--folder", "."], r"no \*\.json or \*\.json\.gz file"),
    ],
)
def test_wrong_folders_are_refused(tmp_path, monkeypatch, flags, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        prepare(tmp_path / "store", *flags)


def test_data_with_no_client_left_is_refused(tmp_path, leaf_shard):
    leaf_shard(tmp_path / "in" / "a.json", {"w1": [1], "w2": []})
    with pytest.raises(InputError, match="no client is left"):
        prepare(tmp_path / "store", "--folder", tmp_path / "in")
    leaf_shard(tmp_path / "in" / "a.json", {})
    with pytest.raises(InputError, match="hold no user"):
        prepare(tmp_path / "store", "--folder", tmp_path / "in")
