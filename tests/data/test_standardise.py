"""Inputs are standardised by the training split's own pixels, exactly, and the header says so."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from autoprune.core.errors import InputError
from autoprune.data.prepare import pixels
from autoprune.data.prepare.__main__ import main
from autoprune.data.prepare.write import write_store
from autoprune.data.store import SCHEMA_VERSION, ClientStore
from autoprune.federation.training import to_input

IMAGES = st.tuples(st.integers(1, 9), st.integers(1, 5)).flatmap(lambda s: arrays(np.uint8, s))


def prepare(output, source, *flags):
    main([source, "--name", "d", "--output", str(output), *map(str, flags)])
    return ClientStore.open(output)


def write(folder, images, splits, **changes):
    """A store of images (n, ...) uint8, all of one client."""
    count = len(images)
    given = {
        "name": "made",
        "source": "test",
        "kind": "real",
        "images": images,
        "labels": np.zeros((count, 1), int),
        "clients": np.zeros(count, int),
        "splits": np.array(splits),
        "client_ids": ["c"],
        "targets": [{"name": "kind", "classes": ["a", "b"]}],
        "dropped": [],
        "polarity": "dark-on-light",
        "natural_clients": True,
        "pixel_range": None,
    }
    write_store(folder, **{**given, **changes})
    return ClientStore.open(folder)


@given(IMAGES, st.integers(1, 9))
def test_mean_and_sd_are_exact_whatever_the_blocks(images, step):
    moments = pixels.Moments()
    for first in range(0, len(images), step):
        moments.add(images[first : first + step])
    values = [Fraction(int(value), 255) for value in images.ravel()]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    assert moments.mean == float(mean)
    assert math.isclose(moments.sd, math.sqrt(variance), rel_tol=1e-15)
    assert (moments.sd == 0) == (len(set(values)) == 1)


def test_training_images_get_mean_0_and_sd_1(tmp_path):
    plain = prepare(tmp_path / "plain", "digits")
    store = prepare(tmp_path / "store", "digits", "--standardise")
    inputs = to_input(np.array(store.images[store.rows("train")]), store.pixel_range).double()
    assert abs(float(inputs.mean())) < 1e-6
    assert abs(float(inputs.std(correction=0)) - 1) < 1e-6
    mean, sd = store.pixels["mean"], store.pixels["sd"]
    assert store.pixel_range == [-mean / sd, (1 - mean) / sd]
    assert store.preprocessing["standardised"] is True
    # what is stored is the same: only what training makes of it is not
    assert store.checksum == plain.checksum
    assert (plain.pixels, plain.pixel_range) == (store.pixels, [0, 1])


def test_what_is_held_out_does_not_count(tmp_path):
    images = np.array([0, 255, 0, 255, 9, 200], np.uint8).reshape(6, 1, 1, 1)
    store = write(tmp_path, images, [0, 0, 0, 0, 1, 2])
    assert store.pixels == {"mean": 0.5, "sd": 0.5}
    assert store.pixel_range == [-1, 1]


def test_all_channels_have_one_mean(tmp_path):
    images = np.zeros((3, 1, 1, 2), np.uint8)
    images[..., 1] = 255
    assert write(tmp_path, images, [0, 1, 2]).pixels == {"mean": 0.5, "sd": 0.5}


def test_blocks_and_workers_change_nothing(tmp_path, real_leaf, monkeypatch):
    flags = ("--folder", real_leaf, "--standardise")
    prepare(tmp_path / "one", "leaf", *flags, "--workers", 1)
    monkeypatch.setattr(pixels, "BLOCK", 3 * 784 + 5)  # three images a block
    prepare(tmp_path / "two", "leaf", *flags, "--workers", 2)
    headers = [(tmp_path / name / "header.json").read_bytes() for name in ("one", "two")]
    assert headers[0] == headers[1]
    low, high = json.loads(headers[0])["pixel_range"]
    assert (round(low, 1), round(high, 2)) == (-6.1, 0.23)  # nine tenths are paper, which is 1


def test_images_of_one_level_are_refused_in_one_line(tmp_path):
    images = np.full((4, 2, 2, 1), 255, np.uint8)
    images[2:] = 7  # that what is held out differs does not help
    refused = r"'made': every training pixel is 255 of 255, which standardise cannot scale"
    with pytest.raises(InputError, match=refused) as caught:
        write(tmp_path / "store", images, [0, 0, 1, 2])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()
    assert write(tmp_path / "raw", images, [0, 0, 1, 2], pixel_range=(0, 1)).pixels["sd"] == 0


def test_a_range_and_standardising_exclude_each_other(tmp_path):
    refused = "pixel_range -1 1 and standardise exclude each other; leave one out"
    with pytest.raises(InputError, match=refused):
        prepare(tmp_path / "s", "digits", "--pixel-range", -1, 1, "--standardise")
    assert not (tmp_path / "s").exists()


def test_a_store_of_an_older_version_says_that_it_is_one(tmp_path):
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1)
    write(tmp_path, images, [0, 1, 2])
    path = tmp_path / "header.json"
    header = json.loads(path.read_text())
    del header["pixels"]
    path.write_text(json.dumps({**header, "schema_version": 2}))
    refused = f"schema_version 2, this code reads {SCHEMA_VERSION}; prepare the data again"
    with pytest.raises(InputError, match=refused):
        ClientStore.open(tmp_path)
