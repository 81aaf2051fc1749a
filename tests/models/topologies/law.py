"""The law that all topologies are held to: a cut network is the whole with its filters silenced."""

import copy
from types import MappingProxyType

import torch
from hypothesis import settings
from hypothesis import strategies as st

import autoprune

few = settings(max_examples=12, deadline=None)
widths = st.integers(2, 7)


@st.composite
def choices(draw, of):
    """An ascending, non-empty choice of 0 to ``of`` - 1."""
    return sorted(draw(st.sets(st.integers(0, of - 1), min_size=1, max_size=of)))


def shaken(network, seed=0):
    """The network with random numbers wherever a fresh one has zeros and ones."""
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=stream) - 0.3)
                if tensor.dim() == 1:
                    tensor.add_(0.8)
    return network.eval()


def silenced(network, rows):
    """A copy in which rows of layers are zero: ``rows`` has layer -> indices.

    Written for these networks by hand: before a ReLU a row of zeros adds nothing downstream.
    """
    quiet = copy.deepcopy(network)
    with torch.no_grad():
        for name, gone in rows.items():
            layer = quiet.get_submodule(name)
            for tensor in (layer.weight, layer.bias):
                if tensor is not None:
                    tensor[sorted(gone)] = 0
    return quiet


def gone(kept, width, offset=0):
    """The indices that are not kept, from ``offset`` on."""
    return {offset + i for i in set(range(width)) - set(kept)}


def assert_law(network, example, kept, rows, each=MappingProxyType({})):
    """Shrink to ``kept``; the result computes what the network with silent ``rows`` does.

    ``each``: of layers the rows of one filter, where it is not one.
    """
    inputs = torch.rand(3, *example.shape[1:], generator=torch.Generator().manual_seed(1))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    smaller = autoprune.shrink(network, example, kept)
    with torch.no_grad():
        expected = silenced(network, rows)(inputs)
        torch.testing.assert_close(smaller(inputs), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())
    for name, indices in kept.items():
        assert len(smaller.get_submodule(name).weight) == len(indices) * each.get(name, 1)
    return smaller
