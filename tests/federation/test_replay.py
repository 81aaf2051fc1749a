"""Training by steps that are recorded once: on the processor the bits of the plain loop.

Where to replay a step is to call it, all else is what a GPU runs: the places that stay, the batches
that are gathered from bytes, the steps before recording and that nothing of them is left.
"""

from types import MethodType

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from autoprune.federation import replay, training
from autoprune.federation.importance import importance
from autoprune.federation.training import fresh_moments, to_input, workspace
from autoprune.models import Architecture, build, load_state, new_network
from autoprune.models.layers import Network, to_channels_last

NETWORKS = {
    "cnn": Architecture("cnn", (6, 7), (1, 28, 28), 10),
    "large cnn": Architecture("cnn", (3, 4, 3, 2), (3, 64, 64), 2),
    "resnet": Architecture("resnet", (6, 5, 7), (3, 28, 28), 2),
    "inception": Architecture("inception", (4, 3, 3, 3, 4, 4, 4, 5, 5), (1, 28, 28), 5),
    "cnn1d": Architecture("cnn1d", (6, 5, 7), (1, 10, 16), 3),
    "conformer": Architecture("conformer", (6, 5, 3, 7, 4), (1, 10, 16), 3),
}
NO_SHRINKING = [phase for phase in Phase if phase is not Phase.shrink]  # it takes minutes
RATES = {"learning_rate": 0.003, "epsilon": 1e-7}


def client(architecture, number, images):
    """Bytes and labels of a client."""
    draws = np.random.default_rng(number)
    channels, height, width = architecture.input_shape
    pixels = draws.integers(0, 256, (images, height, width, channels), np.uint8)
    return torch.from_numpy(pixels), torch.from_numpy(
        draws.integers(0, architecture.classes, images)
    )


def weights(architecture, number):
    """What a server sends."""
    return new_network(architecture, number).state_dict()


def masks_of(architecture, number):
    """One of two weights of each kernel and matrix stays as it is."""
    draws = torch.Generator().manual_seed(number)
    return {
        name: torch.rand(tensor.shape, generator=draws) > 0.5
        for name, tensor in weights(architecture, 0).items()
        if tensor.dim() > 1
    }


def plain(architecture):
    """A network whose gradients are autograd's, as they are on a GPU."""
    network = to_channels_last(build(architecture))
    network.backward = MethodType(Network.backward, network)
    return network


class Both:
    """The plain loop and the recorded steps, each on a network of its own, client after client."""

    def __init__(self, architecture):
        self.architecture = architecture
        self.one = plain(architecture)
        self.other = to_channels_last(build(architecture))

    def train(self, number, images, *, pixel_range=(0, 1), asked=False, carried=None, **how):
        """Both train a client; raises unless all that comes of it is the same, bit for bit."""
        state = weights(self.architecture, number)
        pixels, labels = client(self.architecture, number, images)
        found = []
        for network in (self.one, self.other):
            load_state(network, state)
            moments = None if carried is None else {n: t.clone() for n, t in carried.items()}
            gradients = {} if asked else None
            more = how | {"moments": moments, "gradients": gradients} | RATES
            more["shuffle"] = np.random.default_rng(number)
            if network is self.one:
                loss = training.train(network, to_input(pixels, pixel_range), labels, **more)
            else:
                loss = replay.train(network, pixels, labels, pixel_range, **more)
            found.append((loss, network.state_dict(), moments or {}, gradients or {}))
        (loss, *parts), (other_loss, *others) = found
        assert loss == other_loss
        for part, other in zip(parts, others, strict=True):
            assert part.keys() == other.keys()
            for name, tensor in part.items():
                assert torch.equal(tensor, other[name]), name
        assert any(not torch.equal(t, state[name]) for name, t in parts[0].items())
        return parts


@pytest.mark.parametrize("name", NETWORKS)
def test_clients_one_after_the_other_have_the_bits_of_the_plain_loop(name):
    """Ragged: the last batch of an epoch has 4, 5, 8 and 3 images."""
    both = Both(NETWORKS[name])
    for number, images in enumerate((12, 13, 8, 3)):
        both.train(number, images, epochs=2, batch_size=8, precision="fp32")


@pytest.mark.parametrize("name", ["cnn", "resnet"])
@pytest.mark.parametrize(
    "how",
    [
        {"proximal_mu": 0.1},
        {"norm_l1": 0.5},
        {"masked": True},
        {"asked": True},
        {"carried": {}},
        {"precision": "bf16"},
        {"pixel_range": (-1.5, 2.0)},
        {"masked": True, "asked": True, "proximal_mu": 0.2, "norm_l1": 0.1, "carried": {}},
    ],
    ids=lambda how: " ".join(how),
)
def test_what_methods_ask_for_has_the_bits_of_the_plain_loop(name, how):
    """And no client sees what was asked of the one before."""
    how, architecture = dict(how), NETWORKS[name]
    if how.pop("masked", False):
        how["masks"] = masks_of(architecture, 1)
    both = Both(architecture)
    usual = {"epochs": 2, "batch_size": 8, "precision": "fp32"}
    both.train(1, 13, **usual | how)
    both.train(2, 12, **usual)
    both.train(3, 13, **usual | how)


def test_moments_are_carried_from_client_to_client():
    both, usual = Both(NETWORKS["cnn"]), {"epochs": 1, "batch_size": 8, "precision": "fp32"}
    carried = {}
    for number in range(3):
        _, carried, _ = both.train(number, 10, carried=carried, **usual)
        assert carried["step"] == 2 * (number + 1)
    assert carried.keys() == fresh_moments(torch.zeros(1)).keys()


@given(data=st.data())
@settings(max_examples=12, phases=NO_SHRINKING)
def test_any_widths_and_any_clients_have_the_bits_of_the_plain_loop(data):
    family, number = data.draw(st.sampled_from([("cnn", 2), ("resnet", 3)]))
    # torch 2.13 cannot train some convolutions of 1 filter on 1 image
    widths = tuple(data.draw(st.integers(2, 9)) for _ in range(number))
    both = Both(Architecture(family, widths, (1, 28, 28), 4))
    batch_size = data.draw(st.integers(2, 9))
    for client_number in range(2):
        images = data.draw(st.integers(2, 20))
        both.train(client_number, images, epochs=1, batch_size=batch_size, precision="fp32")


def test_a_step_is_recorded_once_for_each_size_of_batch():
    """And again only for another rate, or another network."""
    recorded = []

    def record(step):
        recorded.append(step)
        return replay.called(step)

    architecture = NETWORKS["cnn"]
    network, usual = to_channels_last(build(architecture)), {"batch_size": 8, "precision": "fp32"}

    def train(number, images, rate=0.001):
        load_state(network, weights(architecture, number))
        pixels, labels = client(architecture, number, images)
        replay.train(
            *(network, pixels, labels, (0, 1)), epochs=3, learning_rate=rate, epsilon=1e-7,
            shuffle=np.random.default_rng(0), record=record, **usual,
        )  # fmt: skip

    for number, images, expected in ((0, 16, 1), (1, 20, 2), (2, 28, 2), (3, 21, 3)):
        train(number, images)
        assert len(recorded) == expected
    train(4, 21, rate=0.01)
    assert len(recorded) == 5


def test_networks_that_a_search_has_left_are_let_go():
    """Their recorded steps hold a GPU's memory."""
    for width in range(1, 6):
        architecture = Architecture("cnn", (width, 2), (1, 28, 28), 3)
        both = Both(architecture)
        both.train(0, 4, epochs=1, batch_size=4, precision="fp32")
        assert len(replay._places) <= replay.KEPT
    network = both.other
    assert network in replay._places
    load_state(network, weights(architecture, 9))  # is where the recorded steps read it
    assert torch.equal(
        replay._places[network].weights[:2], network.conv1.weight[:2, 0, 0, 0][:2]
    ) or (replay._places[network].weights.data_ptr() == network.conv1.weight.data_ptr())


def test_importance_leaves_the_weights_where_the_steps_are_recorded():
    both = Both(NETWORKS["resnet"])
    usual = {"epochs": 1, "batch_size": 8, "precision": "fp32"}
    both.train(0, 12, **usual)
    for network in (both.one, both.other):
        pixels, labels = client(both.architecture, 7, 12)
        found = importance("taylor", network, to_input(pixels), labels, 8)
        if network is both.one:
            expected = found
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    both.train(1, 12, **usual)


def test_only_adam_on_a_built_in_network_with_nothing_attached_is_recorded():
    network = workspace(NETWORKS["cnn"])
    assert replay.covers(network, {}, None, "")
    assert not replay.covers(network, {"name": "SGD"}, None, "")
    assert not replay.covers(network, {}, object(), "")
    assert not replay.covers(network, {}, None, "torchvision:resnet18()")
    gated = build(Architecture("cnn", (6, 7), (1, 28, 28), 10, "gates"))
    assert not replay.covers(gated, {}, None, "")
