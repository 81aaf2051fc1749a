"""Crop, resize and polarity do to every image what they say, and nothing when not asked."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.data.prepare.__main__ import main
from autoprune.data.prepare.images import BLOCK, Images
from autoprune.data.prepare.preprocess import (
    Preprocessing,
    Steps,
    chosen,
    preprocessed,
    resized,
)
from autoprune.data.store import ClientStore

STEPS = {"crop": None, "resize": None, "inverted": False, "standardised": False}
SIZES = st.tuples(*(st.integers(1, size) for size in (4, 7, 7, 3)))
PIXELS = SIZES.flatmap(lambda shape: arrays(np.uint8, shape))


def samples_of(images, polarity="dark-on-light"):
    count = len(images)
    return sources.by_client(
        sources.Split(min_samples=1),
        images=images,
        labels=np.arange(count)[:, None] % 3,
        clients=np.arange(count) % 2,
        client_ids=["a", "b"],
        targets=[{"name": "kind", "classes": ["x", "y", "z"]}],
        polarity=polarity,
        kind="real",
    )


@given(PIXELS)
def test_nothing_is_done_when_nothing_is_asked(images):
    samples = samples_of(images)
    assert chosen(samples, Preprocessing()) == Steps()
    assert chosen(samples, Preprocessing(polarity="dark-on-light")) == Steps()
    assert preprocessed(samples, Steps()) is samples
    assert np.array_equal(Steps()(images), images)


@given(PIXELS)
def test_inverting_twice_gives_the_images_back(images):
    once = Steps(inverted=True)(images)
    assert np.array_equal(once.astype(int), 255 - images.astype(int))
    assert np.array_equal(Steps(inverted=True)(once), images)


@given(PIXELS, st.data())
def test_a_crop_keeps_exactly_its_rows_and_columns(images, data):
    end = data.draw(st.integers(1, min(images.shape[1:3])))
    first = data.draw(st.integers(0, end - 1))
    steps = chosen(samples_of(images), Preprocessing(crop=(first, end)))
    found = steps(images)
    assert found.shape == steps.shape(images.shape)
    assert found.shape[1:3] == (end - first, end - first)
    assert all(
        np.array_equal(found[:, row, column], images[:, first + row, first + column])
        for row in range(end - first)
        for column in range(end - first)
    )


@given(PIXELS, st.integers(1, 12))
def test_resizing_many_at_once_is_resizing_each_by_pillow(images, side):
    found = resized(images, side)
    assert found.shape == (len(images), side, side, images.shape[3])
    for image, expected in zip(found, images, strict=True):
        for channel in range(images.shape[3]):
            one = Image.fromarray(np.ascontiguousarray(expected[:, :, channel]))
            # One axis a call: Pillow itself chooses which of two it does, and rounds, first.
            one = one.resize((side, one.height), Image.Resampling.BILINEAR)
            one = one.resize((side, side), Image.Resampling.BILINEAR)
            assert np.array_equal(image[:, :, channel], np.asarray(one))


@pytest.mark.parametrize(("small", "large"), [(15, 28), (28, 84), (9, 9)])
def test_enlarging_is_bilinear_about_pixel_centres_within_one_level(small, large):
    from torch import from_numpy
    from torch.nn.functional import interpolate

    images = np.random.default_rng(0).integers(0, 256, (20, small, small, 1), np.uint8)
    planes = from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2)
    exact = interpolate(planes, size=(large, large), mode="bilinear", antialias=False)
    found = resized(images, large).transpose(0, 3, 1, 2)
    assert abs(found - exact.numpy()).max() <= 1


def read_rows(part):
    """Blocks of a part, which is (images, lists of rows)."""
    images, blocks = part
    for rows in blocks:
        yield np.array(rows), images[rows]


@given(PIXELS, st.data())
def test_images_read_later_get_the_same_steps_in_the_same_rows(images, data):
    side = data.draw(st.one_of(st.none(), st.integers(1, 9)))
    crop = data.draw(st.sampled_from([None, (0, 1)]))
    polarity = data.draw(st.sampled_from([None, "dark-on-light", "light-on-dark"]))
    order = data.draw(st.permutations(range(len(images))))
    now = samples_of(images)
    later = samples_of(Images(images.shape, [(images, [order])], read_rows))
    steps = chosen(now, Preprocessing(crop=crop, resize=side, polarity=polarity))
    now, later = preprocessed(now, steps), preprocessed(later, steps)
    assert now.polarity == later.polarity == (polarity or "dark-on-light")
    assert later.images.shape == now.images.shape
    ((rows, found),) = later.images.read(later.images.parts[0])
    assert rows.tolist() == order
    assert np.array_equal(found, now.images[rows])


def test_arrays_longer_than_a_block_keep_the_order_of_their_rows():
    count = 2 * BLOCK + 3
    images = np.zeros((count, 2, 2, 1), np.uint8)
    images[:, :, :, 0] = (np.arange(count) % 251)[:, None, None]
    samples = preprocessed(samples_of(images), Steps((0, 1), 3, True))
    assert samples.images.shape == (count, 3, 3, 1)
    assert np.array_equal(samples.images[:, 1, 1, 0], 255 - images[:, 0, 0, 0])


def prepare(output, *flags):
    main(["digits", "--name", "d", "--output", str(output), *map(str, flags)])
    return ClientStore.open(output)


def test_the_header_says_what_was_done(tmp_path):
    plain = prepare(tmp_path / "plain")
    assert plain.preprocessing == STEPS
    assert plain.pixel_range == [0.0, 1.0]
    flags = ["--crop", 5, 20, "--resize", 28, "--polarity", "dark-on-light"]
    done = prepare(tmp_path / "done", *flags, "--pixel-range", -1, 1)
    done.verify()
    assert done.preprocessing == STEPS | {"crop": [5, 20], "resize": 28, "inverted": True}
    assert (done.pixel_range, done.polarity) == ([-1.0, 1.0], "dark-on-light")
    assert np.array_equal(done.images, 255 - resized(plain.images[:, 5:20, 5:20], 28))
    assert np.array_equal(done.labels, plain.labels)


def test_the_pixel_range_changes_only_the_header(tmp_path):
    prepare(tmp_path / "a")
    prepare(tmp_path / "b", "--pixel-range", -0.5, 0.5)
    a, b = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in "ab")
    headers = [json.loads(files.pop("header.json")) for files in (a, b)]
    assert a == b
    assert headers[1].pop("pixel_range") == [-0.5, 0.5]
    assert headers[0].items() > headers[1].items()


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("digits", ["--crop", 5, 5], r"crop 5 5: the images have 28 rows .* FIRST < END <= 28"),
        ("digits", ["--crop", 20, 5], "crop 20 5"),
        ("digits", ["--crop", 0, 29], "crop 0 29"),
        ("digits", ["--pixel-range", 1, 0], "pixel_range 1 0: expected LOW < HIGH"),
        ("digits", ["--pixel-range", 1, 1], "LOW < HIGH"),
        ("faces", ["--polarity", "dark-on-light", "--clients", 3], "in colour; leave it out"),
    ],
)
def test_steps_that_do_not_fit_are_refused_in_one_line(tmp_path, source, flags, message):
    output = tmp_path / "store"
    with pytest.raises(InputError, match=message) as caught:
        main([source, "--name", "d", "--output", str(output), *map(str, flags)])
    assert "\n" not in str(caught.value)
    assert not output.exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--crop", "5"],
        ["--crop", "-1", "5"],
        ["--crop", "a", "5"],
        ["--resize", "0"],
        ["--resize", "2.5"],
        ["--polarity", "colour"],
        ["--pixel-range", "0", "nan"],
        ["--pixel-range", "0", "inf"],
        ["--workers", "0"],
    ],
)
def test_values_that_are_none_are_refused_by_the_command_line(tmp_path, capsys, flags):
    with pytest.raises((SystemExit, InputError)) as caught:
        main(["digits", "--name", "d", "--output", str(tmp_path / "store"), *flags])
    assert flags[0] in f"{capsys.readouterr().err}{caught.value}"
    assert not (tmp_path / "store").exists()
