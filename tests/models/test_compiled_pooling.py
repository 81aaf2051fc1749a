"""Compiled gradients behind max pools: autograd's, exactly where nothing is rounded."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from autoprune.federation.training import flatten
from autoprune.models import Architecture, new_network
from autoprune.models.compiled import pooling
from autoprune.models.compiled.convolutions import forward
from autoprune.models.layers import COMPILED, Conv2d, Network, to_channels_last

LAST = torch.channels_last
SHAPES = [
    ((32, 64), (1, 28, 28), 62),
    ((17, 43), (1, 28, 28), 62),
    ((1, 1), (1, 28, 28), 2),
    ((40, 3), (3, 31, 29), 5),
    ((14, 9, 14, 9), (3, 84, 84), 2),
    ((32, 7, 1, 20), (3, 84, 67), 2),
]


def whole_numbers(stream, most, *shape):
    return torch.randint(-most, most + 1, shape, generator=stream).float()


class Chain(torch.nn.Module):
    """Convolutions as the network has them, whose numbers are whole and whose sums are exact."""

    def __init__(self, stream, channels, widths, side, padding, sides):
        super().__init__()
        self.convs = torch.nn.ModuleList()
        for filters in widths:
            conv = Conv2d(channels, filters, side, 1, padding, sides)
            conv.weight.data = whole_numbers(stream, 1, *conv.weight.shape)
            conv.bias.data = whole_numbers(stream, 2, filters)
            self.convs.append(conv)
            sides, channels = [side // 2 for side in conv.output_sides], filters

    def forward(self, x):
        for conv in self.convs:
            x = F.relu(F.max_pool2d(conv(x), 2))
        return x


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batch=st.integers(1, 9),
    channels=st.integers(1, 5),
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=2),
    side=st.sampled_from([1, 3, 5]),
    padding=st.sampled_from(["same", "valid"]),
    sides=st.tuples(st.integers(16, 23), st.integers(16, 23)),
)
@example(seed=0, batch=1, channels=2, widths=[1], side=3, padding="same", sides=(16, 16))
def test_gradients_are_autograds_exactly_where_no_sum_is_rounded(
    seed, batch, channels, widths, side, padding, sides
):
    stream = torch.Generator().manual_seed(seed)
    chain = Chain(stream, channels, widths, side, padding, sides).to(memory_format=LAST)
    flatten(chain)
    images = whole_numbers(stream, 1, batch, channels, *sides).contiguous(memory_format=LAST)
    expected = chain(images)
    slope = whole_numbers(stream, 2, *expected.shape)
    expected.backward(slope)
    autograds = [p.grad.clone() for p in chain.parameters()]
    assert max(float(g.abs().max()) for g in autograds) < 2**24
    for parameter in chain.parameters():
        parameter.grad.fill_(3)  # they are added to what is there

    with torch.no_grad():
        maps, down = forward(list(chain.convs), images)
        down(slope)
    assert torch.equal(maps, expected)
    for parameter, right in zip(chain.parameters(), autograds, strict=True):
        assert torch.equal(parameter.grad - 3, right)


def gradients_of(network, backward, images, labels):
    for parameter in network.parameters():
        parameter.grad.zero_()
    loss = backward(images, labels, torch.float32)
    return loss, {name: p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.parametrize(("widths", "shape", "classes"), SHAPES)
def test_a_networks_gradients_are_autograds_to_rounding(widths, shape, classes):
    """No further from autograd's in float64 than a few times as far as torch's in float32."""
    network = new_network(Architecture("cnn", widths, shape, classes), 0)
    to_channels_last(network)
    flatten(network)
    network.gradients = COMPILED
    stream = torch.Generator().manual_seed(3)
    images = torch.rand(11, *shape, generator=stream).contiguous(memory_format=LAST)
    labels = torch.randint(0, classes, (11,), generator=stream)
    loss, ours = gradients_of(network, network.backward, images, labels)
    by_autograd = partial(Network.backward, network)
    torchs_loss, torchs = gradients_of(network, by_autograd, images, labels)
    exact = new_network(Architecture("cnn", widths, shape, classes), 0).double()
    F.cross_entropy(exact(images.double()), labels).backward()
    assert float(loss) == pytest.approx(float(torchs_loss), rel=1e-6)
    for name, parameter in exact.named_parameters():
        right = parameter.grad
        size = float(right.abs().max())
        assert size > 0
        error = float((ours[name] - right).abs().max()) / size
        assert error < 1e-5, name
        assert error < 8 * float((torchs[name] - right).abs().max()) / size + 1e-6, name


def test_what_is_not_a_number_is_not_hidden():
    """A network that has diverged must be seen to have."""
    network = new_network(Architecture("cnn", (3, 4), (1, 28, 28), 5), 0)
    to_channels_last(network)
    flatten(network)
    network.gradients = COMPILED
    network.conv1.weight.data[1, 0, 2, 2] = torch.nan
    loss = network.backward(torch.rand(2, 1, 28, 28), torch.tensor([1, 2]), torch.float32)
    assert torch.isnan(loss)
    assert torch.isnan(network.conv1.weight.grad[1]).any()


@given(seed=st.integers(0, 2**31), height=st.integers(2, 7), width=st.integers(2, 7))
@settings(max_examples=30, deadline=None)
def test_the_pool_is_torchs_with_its_ties(seed, height, width):
    stream = torch.Generator().manual_seed(seed)
    maps = whole_numbers(stream, 1, 2, 5, height, width)  # so few values that many are equal
    expected, places = F.max_pool2d(maps, 2, return_indices=True)
    rows = maps.permute(0, 2, 3, 1).contiguous().numpy()
    _, _, high, wide = expected.shape
    out = np.full((2, high + 4, wide + 4, 5), 7, np.float32)
    wins = np.empty((2, high, wide, 5), np.uint8)
    pooling.pool(rows, 2, out, wins)
    inside = out[:, 2:-2, 2:-2].copy()
    assert np.array_equal(inside, expected.relu().permute(0, 2, 3, 1).numpy())
    out[:, 2:-2, 2:-2] = 7
    assert (out == 7).all()  # the border is as it was
    active = inside > 0
    assert (wins[~active] == pooling.NONE).all()
    i, j = np.ogrid[:high, :wide]
    y, x = 2 * i[..., None] + wins // 2, 2 * j[..., None] + wins % 2
    assert np.array_equal((y * width + x)[active], places.permute(0, 2, 3, 1).numpy()[active])


def test_numba_is_loaded_only_where_it_works():
    code = """
import sys, torch
from autoprune.federation import client_app
from autoprune.federation.training import flatten
from autoprune.models import Architecture, new_network
network = new_network(Architecture("cnn", (2, 3), (1, 28, 28), 5), 0)
flatten(network)
for gradients in ("torch", "compiled"):
    network.gradients = gradients
    network.backward(torch.rand(2, 1, 28, 28), torch.tensor([1, 2]), torch.float32)
    print(gradients, "numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torch", "False", "compiled", "True"]
