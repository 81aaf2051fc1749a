"""Held-out images that are trained on are counted; a part that is repeated whole is refused."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from autoprune.core.errors import InputError
from autoprune.data.prepare import partition, pixels
from autoprune.data.prepare.__main__ import main
from autoprune.data.prepare.repeated import ENOUGH, Digests, counted
from autoprune.data.store import ClientStore
from autoprune.evidence.partition import table


def drawn(count, seed):
    """``count`` different images (784 numbers) with labels, as a LEAF user has them."""
    rng = np.random.default_rng(seed)
    return [(rng.integers(0, 2, 784).tolist(), int(rng.integers(62))) for _ in range(count)]


def blank(count):
    return [([1.0] * 784, 0)] * count


def shard(path, **users):
    """A LEAF shard of ``user=[(image, label), ...]``."""
    data = {
        user: {"x": [x for x, _ in samples], "y": [y for _, y in samples]}
        for user, samples in users.items()
    }
    counts = [len(samples) for samples in users.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"users": list(users), "num_samples": counts, "user_data": data}))
    return path


def prepare(folder, *flags):
    """The store of the shards in ``folder``, in its train and test where there are such."""
    parts = [("--train", folder / "train"), ("--test", folder / "test")]
    places = [word for part in parts for word in part] if parts[0][1].exists() else []
    words = ["leaf", "--name", "made", *(places or ("--folder", folder)), "--workers", 1, *flags]
    main([*map(str, [*words, "--output", folder / "store"])])
    return ClientStore.open(folder / "store")


def refused(folder, message, *flags):
    with pytest.raises(InputError, match=message) as caught:
        prepare(folder, *flags)
    assert "\n" not in str(caught.value)
    assert not (folder / "store").exists()


def total(store, key):
    return sum(split[key] for split in store.repeated.values())


def test_test_files_that_copy_the_training_files_are_refused_by_name(tmp_path):
    for split in ("train", "test"):
        for number in range(2):
            shard(tmp_path / split / f"{number}.json", **{f"w{number}": drawn(20, number)})
    refused(
        tmp_path,
        r"test/0\.json: each of its 20 different held-out images is also a training image, most "
        r"often of .*train/0\.json \(and so of 1 more\); what is held out must not be trained on",
    )


def test_a_shard_under_other_names_among_right_ones_is_refused(tmp_path):
    shard(tmp_path / "train/a.json", one=drawn(30, 0), two=drawn(30, 1))
    shard(tmp_path / "train/b.json", three=drawn(30, 2))
    shard(tmp_path / "test/a.json", one=drawn(20, 3), two=drawn(20, 4))
    shard(tmp_path / "test/b.json", **{"3": drawn(30, 2)})
    refused(tmp_path, r"test/b\.json: each of its 30 .*most often of .*train/b\.json; what is held")


def test_a_shard_that_is_there_twice_is_refused_where_there_is_no_split(tmp_path):
    shard(tmp_path / "a.json", one=drawn(40, 0), two=drawn(30, 1))
    shard(tmp_path / "b.json", three=drawn(30, 1))
    refused(
        tmp_path,
        r"b\.json: each of its 30 different images is also one of .*a\.json, and some are both",
    )


def test_a_writer_under_two_names_is_refused(tmp_path):
    shard(tmp_path / "a.json", one=drawn(30, 0), two=drawn(30, 1), again=drawn(30, 0)[::-1])
    refused(tmp_path, "client again: each of its 30 different images is also one of client one, ")


def test_a_writer_all_of_whose_test_images_are_trained_on_is_refused(tmp_path):
    shard(tmp_path / "train/a.json", one=drawn(30, 0), two=drawn(30, 1))
    shard(tmp_path / "test/a.json", one=drawn(12, 0), two=drawn(20, 3))
    refused(tmp_path, "client one: each of its 12 different held-out images is also .* of its own;")


def test_many_small_files_of_small_writers_are_judged_together(tmp_path):
    users = {f"w{number}": drawn(12, number) for number in range(5)}
    shard(tmp_path / "train/a.json", **users)
    for user, samples in users.items():
        shard(tmp_path / f"test/{user}.json", **{user: samples[:4]})
    refused(tmp_path, "the data set: each of its 20 different held-out images .* of its own; what")


def test_a_few_are_counted_and_told(tmp_path, capsys):
    mine, others = drawn(40, 0), drawn(25, 1)
    relabelled = (mine[5][0], (mine[5][1] + 1) % 62)
    shard(tmp_path / "train/a.json", one=mine, two=others)
    shard(tmp_path / "test/a.json", one=[*drawn(20, 2), mine[3], relabelled], two=[others[0]] * 2)
    store = prepare(tmp_path)
    assert (total(store, "images"), total(store, "same_labels")) == (4, 3)
    line = "made: 4 held-out images are also training images, 1 of them with other labels there\n"
    assert line in capsys.readouterr().err
    folders = ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "partition")]
    partition.main([*folders, "--scheme", "natural", "--target", "character"])
    row = table([str(tmp_path / "partition/partition.json")]).iloc[0]
    assert (row["held out, also trained on"], row["of these, other labels"]) == (4, 1)


def test_none_are_counted_where_all_images_differ(tmp_path, real_leaf, capsys):
    main(["leaf", "--name", "f", "--folder", str(real_leaf), "--output", str(tmp_path / "s")])
    none = {"images": 0, "same_labels": 0}
    assert ClientStore.open(tmp_path / "s").repeated == {"validation": none, "test": none}
    assert "also training images" not in capsys.readouterr().err


def test_blank_images_are_nobodys(tmp_path):
    shard(tmp_path / "train/a.json", one=[*drawn(30, 0), *blank(1)])
    shard(tmp_path / "test/a.json", one=blank(2 * ENOUGH))
    assert total(prepare(tmp_path), "images") == 2 * ENOUGH


@pytest.mark.parametrize("number", [ENOUGH - 1, ENOUGH])
def test_fewer_than_enough_may_be_chance(tmp_path, number):
    shard(tmp_path / "train/a.json", one=drawn(30, 0))
    shard(tmp_path / "test/a.json", two=drawn(number, 0))
    if number < ENOUGH:
        assert total(prepare(tmp_path), "images") == number
    else:
        refused(tmp_path, f"each of its {ENOUGH} different held-out images")


def test_blocks_change_nothing(tmp_path, monkeypatch):
    for name in ("a", "b"):
        shard(tmp_path / name / "train/a.json", one=drawn(20, 0), two=drawn(25, 1))
        shard(tmp_path / name / "test/a.json", one=[*drawn(20, 2), *drawn(4, 1)])
    one = prepare(tmp_path / "a")
    monkeypatch.setattr(pixels, "BLOCK", 784)
    assert prepare(tmp_path / "b").repeated == one.repeated


@given(
    arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 2))
)
def test_images_have_one_number_when_they_are_equal(images):
    digests = Digests()
    for first in range(0, len(images), 5):
        digests.add(images[first : first + 5])
    numbers, plain = digests.numbers(), digests.plain()
    equal = (images[:, None] == images).all(axis=2)
    assert np.array_equal(numbers[:, None] == numbers, equal)
    assert set(numbers) == set(range(len(set(numbers))))
    assert plain.tolist() == [len(set(image)) == 1 for image in images.tolist()]


@given(st.lists(st.tuples(*map(st.integers, (0, 0, 0, 0), (5, 2, 1, 2))), min_size=1, max_size=40))
def test_what_is_counted_is_what_a_search_finds(rows):
    numbers = np.unique([row[0] for row in rows], return_inverse=True)[1]
    labels, splits = np.array(rows)[:, 1:3], np.array(rows)[:, 3]
    trained = [
        (n, *row) for n, row, s in zip(numbers, labels.tolist(), splits, strict=True) if not s
    ]
    found = counted(numbers, labels, splits)
    for split, name in ((1, "validation"), (2, "test")):
        held = [
            (n, *row)
            for n, row in zip(
                numbers[splits == split], labels[splits == split].tolist(), strict=True
            )
        ]
        same_image = [one for one in held if one[0] in {two[0] for two in trained}]
        assert found[name]["images"] == len(same_image)
        assert found[name]["same_labels"] == sum(one in trained for one in same_image)


@pytest.mark.long
def test_real_writers_share_images_and_are_not_refused(shared_data, tmp_path):
    folder = shared_data / "unipen"
    if not list(folder.glob("*.parquet")):
        pytest.skip(f"no UNIPEN parquet in {folder}; set AUTOPRUNE_TEST_DATA")
    flags = ["--client-column", "writer_id", "--target-column", "character", "--workers", "1"]
    place = ["--repository", "unipen/train_r01_v07", "--local", str(folder)]
    main(["hub", "--name", "unipen", *place, *flags, "--output", str(tmp_path / "store")])
    store = ClientStore.open(tmp_path / "store")
    assert store.samples == {"train": 84316, "validation": 10533, "test": 10533}
    assert (len(store.client_ids), len(store.classes("character"))) == (318, 62)
    assert (store.kind, store.polarity) == ("real", "light-on-dark")
    assert (round(store.pixels["mean"], 3), round(store.pixels["sd"], 3)) == (0.135, 0.314)
    assert total(store, "images") == 782


def test_a_training_shard_under_two_names_counts_double_and_is_refused(tmp_path):
    """Nothing of it is held out, and its users are the same."""
    shard(tmp_path / "train/a.json", one=drawn(30, 0), two=drawn(30, 1))
    shard(tmp_path / "train/copy of a.json", one=drawn(30, 0), two=drawn(30, 1))
    shard(tmp_path / "test/a.json", one=drawn(20, 3), two=drawn(20, 4))
    message = r"a\.json: each of its 60 different images is also one of .*a\.json; give each image"
    refused(tmp_path, message)


def test_a_training_writer_under_two_names_is_refused(tmp_path):
    shard(tmp_path / "train/a.json", one=drawn(30, 0), again=drawn(30, 0), two=drawn(9, 1))
    shard(tmp_path / "test/a.json", one=drawn(20, 3), two=drawn(20, 4))
    refused(
        tmp_path, "client again: each of its 30 different images is also one of client one; give"
    )


def own_tree(folder):
    """CLIENT/LABEL/image of three clients, two labels, twelve images each."""
    rng = np.random.default_rng(0)
    for client in ("anna", "bob", "eve"):
        for label in ("cat", "dog"):
            (folder / client / label).mkdir(parents=True)
            for number in range(12):
                pixels = rng.integers(0, 256, (6, 6, 3), np.uint8)
                Image.fromarray(pixels).save(folder / client / label / f"{number}.png")


COPIES = {
    "a client's folder": ("anna", "zoe", "client (anna|zoe): each of its 24"),
    "a label's folder": ("anna/cat", "anna/cow", "c(at|ow) of client anna: each of its 12"),
    "a label of another client": ("anna/cat", "bob/cow", "of client (anna|bob): each of its 12"),
}


@pytest.mark.parametrize("source", ["folder", "table"])
@pytest.mark.parametrize("case", COPIES)
def test_a_folder_that_is_there_twice_is_refused(tmp_path, source, case):
    """Of the user's own images, by their folders and by a table of them."""
    own_tree(tmp_path / "own")
    flags = ["--name", "own", "--workers", "1", "--output", str(tmp_path / "store")]

    def prepare_own():
        place = tmp_path / "own"
        if source == "table":
            place = tmp_path / "table.csv"
            files = sorted((tmp_path / "own").glob("*/*/*.png"))
            rows = [f"{f.relative_to(tmp_path)},{f.parts[-2]},{f.parts[-3]}\n" for f in files]
            place.write_text("path,label,client\n" + "".join(rows))
        main([source, f"--{source}", str(place), *flags])

    prepare_own()
    original, copy, message = COPIES[case]
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(tmp_path / "own" / original, tmp_path / "own" / copy)
    with pytest.raises(InputError, match=message):
        prepare_own()
    assert not (tmp_path / "store").exists()


def test_small_clients_with_the_same_few_images_are_not_judged(tmp_path):
    """Fewer than enough may be chance, and a part of another's images is no copy of it."""
    shard(tmp_path / "train/a.json", one=drawn(30, 0), two=drawn(9, 0), three=drawn(40, 5))
    shard(tmp_path / "test/a.json", one=drawn(20, 3), two=drawn(20, 4))
    assert total(prepare(tmp_path), "images") == 0
