"""The generated stand-ins and the digits look as they should and repeat byte for byte."""

import numpy as np
import pytest

from autoprune.data.prepare.__main__ import main
from autoprune.data.store import ClientStore


def prepare(output, source, *flags):
    main([source, "--name", source, "--output", str(output), *map(str, flags)])
    store = ClientStore.open(output)
    store.verify()
    return store


def of_client(store, client):
    """A client's images and labels over all splits, in an order of their own."""
    rows = np.flatnonzero(store.clients == client)
    samples = [(store.images[row].tobytes(), store.labels[row].tolist()) for row in rows]
    return sorted(samples)


SMALL = {
    "glyphs": ["--clients", 6, "--samples", 20],
    "faces": ["--clients", 6, "--samples", 5],
    "digits": [],
}


@pytest.mark.parametrize("source", SMALL)
def test_a_seed_fixes_every_byte_and_another_changes_them(tmp_path, source):
    first = prepare(tmp_path / "a", source, *SMALL[source], "--seed", 1)
    prepare(tmp_path / "b", source, *SMALL[source], "--seed", 1)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    other = prepare(tmp_path / "c", source, *SMALL[source], "--seed", 2)
    assert first.checksum != other.checksum


@pytest.mark.parametrize("source", ["glyphs", "faces"])
def test_a_client_does_not_depend_on_how_many_there_are(tmp_path, source):
    few = prepare(tmp_path / "few", source, *SMALL[source])
    many = prepare(tmp_path / "many", source, *SMALL[source], "--clients", 9)
    assert len(many.client_ids) > len(few.client_ids)
    for number, client in enumerate(few.client_ids):
        assert of_client(few, number) == of_client(many, many.client_ids.index(client))


@pytest.mark.parametrize("source", ["glyphs", "faces"])
def test_every_sample_is_its_own_and_clients_are_uneven(tmp_path, source):
    store = prepare(tmp_path, source, "--clients", 12, "--samples", 12)
    assert len({image.tobytes() for image in store.images}) == len(store.images)
    sizes = np.bincount(store.clients)
    assert sizes.min() >= 2
    assert len(set(sizes.tolist())) > 3
    assert 0.6 < sizes.mean() / 12 < 1.5
    assert (store.kind, store.natural_clients) == ("stand-in", True)
    train = store.rows("train")
    assert set(store.clients[train]) == set(range(len(store.client_ids)))


def test_glyphs_are_dark_ink_on_white_in_62_classes(tmp_path):
    store = prepare(tmp_path, "glyphs", "--clients", 20, "--samples", 80)
    assert store.shape == (28, 28, 1)
    assert store.polarity == "dark-on-light"
    assert len(store.classes("character")) == 62
    assert len(set(store.labels[:, 0])) == 62
    edges = np.concatenate([store.images[:, [0, -1]].ravel(), store.images[:, :, [0, -1]].ravel()])
    assert (edges > 200).mean() > 0.995  # whole characters, inside the frame
    ink = (store.images < 128).reshape(len(store.images), -1).sum(axis=1)
    assert ink.min() >= 5
    assert ink.max() < 28 * 28 / 3


def test_clean_print_of_one_writer_differs_only_by_its_place(tmp_path):
    hard = prepare(tmp_path / "hard", "glyphs", *SMALL["glyphs"], "--difficulty", 2)
    easy = prepare(tmp_path / "easy", "glyphs", *SMALL["glyphs"], "--difficulty", 0)

    def spread(store):
        rows = np.flatnonzero(store.clients == 0)
        labels = store.labels[rows, 0]
        same = [rows[labels == label] for label in set(labels) if (labels == label).sum() > 1]
        return np.mean([store.images[r].astype(float).std(axis=0).mean() for r in same])

    assert spread(easy) == 0
    assert spread(hard) > 5


def test_faces_carry_an_attribute_of_the_identity_and_one_of_the_image(tmp_path):
    store = prepare(tmp_path, "faces", "--clients", 16, "--samples", 8)
    assert store.shape == (84, 84, 3)
    assert [target["name"] for target in store.targets] == ["Male", "Smiling"]
    assert store.classes("Smiling") == ["no", "yes"]
    by_client = [store.labels[store.clients == client] for client in range(16)]
    assert all(len(set(labels[:, 0])) == 1 for labels in by_client)
    assert len({labels[0, 0] for labels in by_client}) == 2
    assert any(len(set(labels[:, 1])) == 2 for labels in by_client)


def test_digits_are_one_pool_split_class_by_class(tmp_path):
    store = prepare(tmp_path, "digits", "--test-fraction", 0.25)
    assert store.shape == (28, 28, 1)
    assert (store.kind, store.polarity, store.natural_clients) == ("real", "light-on-dark", False)
    assert not store.clients.any()
    assert len(store.images) == 1797
    assert np.median(store.images[:, :, 0]) == 0  # the margin is dark
    assert store.images.max() == 255
    counts = np.bincount(store.labels[:, 0])
    trained = np.bincount(store.labels[store.rows("train"), 0])
    assert (counts - trained).tolist() == [round(0.25 * count) for count in counts]
    assert store.samples["test"] - store.samples["validation"] in (0, 1)
