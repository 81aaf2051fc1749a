"""Live filters: by hand, by a forward pass written out, and in the history of runs."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from autoprune.data.store import ClientStore
from autoprune.federation import live
from autoprune.federation.training import to_input
from autoprune.models import Architecture, load_state, new_network
from autoprune.models.weights import load_weights

IMAGES = np.random.default_rng(0).integers(0, 256, (230, 28, 28, 1), dtype=np.uint8)
STORE = SimpleNamespace(images=IMAGES, pixel_range=(0, 1), rows=lambda split: slice(0, 230))


def fractions(network, images=IMAGES):
    store = SimpleNamespace(images=images, pixel_range=(0, 1))
    return live.live_filters(network, store, np.arange(len(images)))


def silenced(architecture, biases):
    """A network of kernels above 0 whose named biases are so low that their filters never fire."""
    network = new_network(architecture, 0)
    state = {}
    for name, tensor in network.state_dict().items():
        state[name] = tensor.abs() if name.endswith("weight") else tensor + 1.0
        if name in biases:
            state[name][biases[name]] = -1e6
    load_state(network, state)
    return network


def test_dead_filters_are_counted_by_layer():
    cnn = Architecture("cnn", (4, 5), (1, 28, 28), 10)
    assert fractions(silenced(cnn, {"conv1.bias": [0], "conv2.bias": [1, 2]})) == [0.75, 0.6]
    assert fractions(silenced(cnn, {})) == [1, 1]
    inception = Architecture("inception", (2,) * 9, (1, 28, 28), 10)
    dead = {"block1.branch3x3.bias": [0], "conv2.bias": [0, 1]}
    assert fractions(silenced(inception, dead)) == [1, 1, 0.5, 1, 1, 1, 1, 1, 0]
    over_time = Architecture("cnn1d", (4, 5, 2), (1, 28, 28), 10)
    dead = {"norm1.bias": [0], "norm2.bias": [1, 4]}
    assert fractions(silenced(over_time, dead)) == [0.75, 0.6, 1]
    conformer = Architecture("conformer", (4, 5, 2, 3, 4), (1, 28, 28), 10)
    rows = [*range(40, 48)]  # the values of the second head, behind 32 rows of queries and keys
    dead = {"blocks.0.after.up.bias": [0], "blocks.0.attention.qkv.bias": rows}
    assert fractions(silenced(conformer, dead)) == [1, 1, 0.5, 1, 0.75]


def test_behind_a_batch_norm_its_own_output_decides():
    """Not that of the convolution, nor of the other batch norms that hold the stem's filters."""
    resnet = Architecture("resnet", (4, 5, 6), (1, 28, 28), 10)
    dead = {
        "stem_norm.bias": [0],
        "blocks.0.norm1.bias": [1, 2],
        "blocks.1.norm1.bias": [5],
        "blocks.0.norm2.bias": [2, 3],
        "blocks.1.shortcut_norm.bias": [1, 2, 3],
    }
    network = silenced(resnet, dead)
    assert fractions(network) == pytest.approx([3 / 4, 3 / 5, 5 / 6])
    state = network.state_dict()
    state["blocks.0.conv1.bias"].fill_(-1e6)  # below 0 everywhere, until the norm lifts some
    state["blocks.0.norm1.running_mean"].fill_(-1e6)
    assert fractions(network) == pytest.approx([3 / 4, 3 / 5, 5 / 6])


def test_one_image_of_many_makes_a_filter_live():
    """The only bright image is in the last batch; the others are seen before and silent."""
    network = new_network(Architecture("cnn", (3, 4), (1, 28, 28), 10), 0)
    state = {name: torch.ones_like(tensor) for name, tensor in network.state_dict().items()}
    state["conv1.bias"] = torch.full((3,), -20.0)
    state["conv2.bias"] = torch.full((4,), -1.0)
    load_state(network, state)
    images = np.zeros((230, 28, 28, 1), np.uint8)
    assert fractions(network, images) == [0, 0]
    images[229] = 255
    assert fractions(network, images) == [1, 1]


def test_the_network_is_left_without_hooks():
    network = new_network(Architecture("resnet", (4, 5, 6), (1, 28, 28), 10), 0)
    fractions(network)
    assert not any(module._forward_hooks for module in network.modules())


def test_the_sample_is_of_training_images_and_of_the_seed(monkeypatch):
    rows = live.sample(STORE, 0)
    assert sorted(rows) == list(range(230))
    assert rows.tolist() == live.sample(STORE, 0).tolist() != live.sample(STORE, 1).tolist()
    monkeypatch.setattr(live, "SAMPLE", 50)
    assert len(set(live.sample(STORE, 0))) == 50


def test_the_history_has_it_where_a_round_is_evaluated(finished, flags, tiny):
    """The last row's, recounted from the weights that were saved."""
    with (finished / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[-1] == "live"
    assert [bool(row["live"]) for row in rows] == [bool(row["test_accuracy"]) for row in rows]
    for row in rows:
        found = row["live"].split()
        assert not found or len(found) == len(row["widths"].split())
        assert all(0 <= float(share) <= 1 and len(share) == 6 for share in found)
    _, state, _ = load_weights(finished / "weights.safetensors")
    store = ClientStore.open(str(tiny / "store"))
    images = to_input(np.array(store.images[store.rows("train")]), store.pixel_range)
    first = F.relu(F.conv2d(images, state["conv1.weight"], state["conv1.bias"]))
    second = F.conv2d(F.max_pool2d(first, 2), state["conv2.weight"], state["conv2.bias"])
    shares = [float((maps.amax((0, 2, 3)) > 0).double().mean()) for maps in (first, second)]
    assert rows[-1]["live"] == " ".join(f"{share:.4f}" for share in shares)
