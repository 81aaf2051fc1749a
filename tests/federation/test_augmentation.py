"""Augmentation: torchvision's transforms on a client's bytes, drawn from streams of their own."""

import numpy as np
import pytest
import torch
from test_optimizers import TOLD, Settings

from autoprune.core.errors import InputError
from autoprune.core.options import WrongValue, read
from autoprune.core.vision import torchvision
from autoprune.federation.augmentation import Augmentation, try_on
from autoprune.federation.training import to_input

CROP = {"RandomCrop": {"size": 28, "padding": 2}}
FLIP = {"RandomHorizontalFlip": {"p": 0.5}}
MORE = {"augmentation": [CROP, FLIP]}


def pixels(images=8, channels=1):
    draws = np.random.default_rng(0)
    stored = draws.integers(0, 256, (images, 28, 28, channels), np.uint8)
    return torch.from_numpy(stored).permute(0, 3, 1, 2)


def test_each_image_has_draws_of_its_own_and_the_next_batch_others():
    batch = pixels(1).expand(64, 1, 28, 28)
    augment = Augmentation([CROP], 5, (0, 1))
    first, second = augment(batch), augment(batch)
    assert first.shape == batch.shape
    assert first.dtype == torch.float32
    places = {tuple(image.flatten().tolist()) for image in first}
    assert 15 < len(places) <= 25  # of 5 x 5 shifts
    assert not torch.equal(first, second)


def test_it_is_torchvisions_on_bytes_image_by_image():
    """The bytes are scaled to the store's range afterwards, so that fill 0 is its lower end."""
    batch = pixels(6, 3)
    found = Augmentation([CROP, FLIP], 7, (-1, 3))(batch)
    v2 = torchvision.transforms.v2
    transforms = [v2.RandomCrop(28, padding=2), v2.RandomHorizontalFlip(0.5)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        wanted = torch.stack([transforms[1](transforms[0](image)) for image in batch])
    assert torch.equal(found, to_input(wanted.permute(0, 2, 3, 1).numpy(), (-1, 3)))
    assert float(found.min()) == -1


def test_a_seed_decides_all_and_other_draws_are_left_alone():
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    first = Augmentation([CROP, FLIP], 3, (0, 1))(pixels())
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first, Augmentation([CROP, FLIP], 3, (0, 1))(pixels()))
    assert not torch.equal(first, Augmentation([CROP, FLIP], 4, (0, 1))(pixels()))


def test_a_flip_always_is_a_mirror():
    found = Augmentation([{"RandomHorizontalFlip": {"p": 1.0}}], 0, (0, 1))(pixels())
    assert torch.equal(found, to_input(pixels().flip(3).permute(0, 2, 3, 1).numpy()))


@pytest.mark.parametrize(
    "chosen",
    [
        [{"RandomRotation": {"degrees": 10, "interpolation": "bilinear"}}],
        [{"RandomAffine": {"degrees": 0, "translate": [0.1, 0.1]}}],
        [{"ColorJitter": {"brightness": 0.2}}],
        [{"TrivialAugmentWide": None}],
        [{"RandomErasing": {"p": 1.0}}],
    ],
)
def test_others_of_torchvision_work_too(chosen):
    assert read(Settings, TOLD | {"augmentation": chosen}).augmentation == chosen
    try_on(chosen, (28, 28, 1))
    found = Augmentation(chosen, 0, (0, 1))(pixels())
    assert found.shape == (8, 1, 28, 28)
    assert bool(found.isfinite().all())


def test_a_run_gives_the_same_bytes_with_two_workers_and_others_without(train, tmp_path, contents):
    runs = {"one": MORE, "two": MORE | {"workers": 2}, "plain": {}}
    for name, more in runs.items():
        done = train(tmp_path / name, rounds=3, **more)
        assert done.returncode == 0, done.stderr
    one, two, plain = (contents(tmp_path / name) for name in runs)
    assert one == two
    assert one["weights.safetensors"] != plain["weights.safetensors"]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (["RandomCrop"], "augmentation.0: found 'RandomCrop', expected keys and values"),
        ([CROP | FLIP], "expected one transform with its arguments, as {RandomRotation: {...}}"),
        ([{"RandomCropp": {}}], "unknown transform 'RandomCropp'; known are"),
        ([{"RandomCrop": {}}], "RandomCrop: argument 'size' is missing"),
        ([{"RandomCrop": {"size": 28, "pad": 2}}], "RandomCrop: unknown argument 'pad'"),
        ([{"RandomCrop": 28}], "RandomCrop: found 28, expected its arguments by name"),
        ([{"RandomHorizontalFlip": {"p": 2}}], "RandomHorizontalFlip: `p` should be a floating"),
        ([{"MixUp": {"num_classes": 5}}], "transform MixUp: mixes images with others"),
        ([{"RandomApply": {}}], "transform RandomApply: is made of other transforms"),
        ([{"RandomRotation": {"degrees": 5, "interpolation": "fine"}}], "'fine' is not a valid"),
    ],
)
def test_what_torchvision_does_not_have_is_refused_in_a_line(chosen, words):
    with pytest.raises(WrongValue) as refused:
        read(Settings, TOLD | {"augmentation": chosen})
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([FLIP, {"RandomCrop": {"size": 24}}], "RandomCrop: gives images of 1 x 24 x 24, the net"),
        ([{"Grayscale": {"num_output_channels": 3}}], "Grayscale: gives images of 3 x 28 x 28"),
        ([{"RandomCrop": {"size": 40}}], "RandomCrop: cannot be applied to the images"),
        ([{"ToPILImage": {}}], "ToPILImage: gives Image, expected an image"),
        ([{"Normalize": {"mean": [0], "std": [1]}}], "Normalize: cannot be applied"),
        ([{"ConvertImageDtype": {}}], "ConvertImageDtype: gives float32, expected bytes"),
    ],
)
def test_what_changes_size_or_kind_is_refused_before_training(chosen, words, train, tmp_path):
    with pytest.raises(InputError) as refused:
        try_on(chosen, (28, 28, 1))
    assert words in str(refused.value)
    done = train(tmp_path / "run", augmentation=chosen)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr
    assert not (tmp_path / "run").exists()
