"""Cutting a network: equal to the dense one with the removed filters silenced."""

import numpy as np
import pytest
import torch

from autoprune.models import Architecture, new_network
from autoprune.pruning.rule import Boundaries
from autoprune.pruning.shrink import cut, decide, inherited_filters

NETWORKS = [
    Architecture("cnn", (8, 9), (1, 28, 28), 10),
    Architecture("cnn", (6, 7, 8, 6), (3, 84, 84), 2),
    Architecture("resnet", (8, 10, 9), (3, 84, 84), 2),
    Architecture("inception", (6, 4, 5, 6, 5, 4, 6, 8, 7), (1, 28, 28), 10),
    Architecture("inception", (6, 4, 5, 6, 5, 4, 6, 8, 7), (3, 84, 84), 2),
    Architecture("cnn1d", (7, 9, 8), (1, 40, 64), 20),
    Architecture("cnn1d", (5, 4, 6), (2, 3, 9), 3),
    Architecture("conformer", (5, 9, 6, 4, 7), (1, 40, 64), 20),
    Architecture("conformer", (5, 9, 6, 4, 7, 8, 3, 5, 6), (2, 3, 9), 3),
]


def some_kept(architecture, stream):
    """A random, ascending, non-empty selection in each layer."""
    kept = []
    for width in architecture.widths:
        number = int(torch.randint(1, width + 1, (), generator=stream))
        kept.append(tuple(sorted(torch.randperm(width, generator=stream)[:number].tolist())))
    return tuple(kept)


def silenced(network, architecture, kept):
    """The same network with removed filters' weights, biases and batch-norm rows at zero."""
    with torch.no_grad():
        places, state = network.places, network.state_dict()
        starts = np.cumsum([0, *architecture.widths])
        alive = [start + filter for start, of in zip(starts, kept, strict=False) for filter in of]
        for name, axes in places.owners.items():
            if 0 in axes and not name.endswith("running_var"):
                state[name][~torch.isin(axes[0], torch.tensor(alive))] = 0
    return network


@pytest.mark.parametrize("architecture", NETWORKS, ids=str)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_cut_network_is_the_dense_one_without_the_removed_filters(architecture, seed):
    """A filter of zeros adds nothing downstream, so both compute one function."""
    stream = torch.Generator().manual_seed(seed)
    network = new_network(architecture, seed)
    with torch.no_grad():
        for tensor in network.state_dict().values():  # biases and statistics that matter
            if tensor.dim() == 1:
                tensor.copy_(torch.rand(tensor.shape, generator=stream) + 0.5)
    kept = some_kept(architecture, stream)
    smaller, small_network = cut(architecture, network.state_dict(), kept)
    assert smaller.widths == tuple(map(len, kept))
    images = torch.rand(3, *architecture.input_shape, generator=stream)
    expected = silenced(network, architecture, kept).eval()(images)
    torch.testing.assert_close(small_network.eval()(images), expected, rtol=1e-4, atol=1e-5)


def test_keeping_all_changes_no_bit():
    for architecture in NETWORKS:
        network = new_network(architecture, 0)
        everything = tuple(tuple(range(width)) for width in architecture.widths)
        same, copy = cut(architecture, network.state_dict(), everything)
        assert same == architecture
        for name, tensor in network.state_dict().items():
            assert torch.equal(copy.state_dict()[name], tensor)


def test_cuts_compose():
    """Cutting twice is cutting once by the composed selection."""
    architecture = NETWORKS[2]
    stream = torch.Generator().manual_seed(5)
    state = new_network(architecture, 5).state_dict()
    first = some_kept(architecture, stream)
    middle, network = cut(architecture, state, first)
    second = some_kept(middle, stream)
    _, twice = cut(middle, network.state_dict(), second)
    composed = tuple(
        tuple(outer[n] for n in inner) for outer, inner in zip(first, second, strict=True)
    )
    _, once = cut(architecture, state, composed)
    for name, tensor in once.state_dict().items():
        assert torch.equal(twice.state_dict()[name], tensor)


def test_a_flattened_filter_takes_its_block_along():
    architecture = Architecture("cnn", (2, 2, 2, 3), (3, 64, 64), 2)  # maps of 4x4 at the end
    network = new_network(architecture, 0)
    _, small = cut(architecture, network.state_dict(), ((0,), (1,), (0, 1), (0, 2)))
    weight = network.state_dict()["linear.weight"]
    assert torch.equal(
        small.state_dict()["linear.weight"], torch.cat([weight[:, :16], weight[:, 32:]], 1)
    )


@pytest.mark.parametrize("kept", [((), (0,)), ((1, 0), (0,)), ((0, 0), (0,)), ((0, 9), (0,))])
def test_a_selection_that_is_none_is_refused(kept):
    architecture = Architecture("cnn", (3, 2), (1, 28, 28), 2)
    with pytest.raises(ValueError, match="kept filters of layer 0"):
        cut(architecture, new_network(architecture, 0).state_dict(), kept)


def test_resnet_couples_stem_second_convolutions_and_shortcuts():
    network = new_network(NETWORKS[2], 0)
    assert network.group(0) == [
        "stem",
        "blocks.0.conv2",
        "blocks.0.shortcut",
        "blocks.1.conv2",
        "blocks.1.shortcut",
    ]
    assert network.group(1) == ["blocks.0.conv1"]


def test_a_coupled_group_keeps_the_largest_summed_norms():
    """The rule on the stem says two stay of eight; the group's sums say which."""
    architecture = NETWORKS[2]
    network = new_network(architecture, 0)
    with torch.no_grad():
        for name in network.group(0):
            network.get_submodule(name).weight.zero_()
        network.get_submodule("stem").weight[6] = 1  # 27 in the stem
        network.get_submodule("blocks.1.shortcut").weight[3] = 5  # 40 in a shortcut
        network.get_submodule("blocks.0.conv2").weight[1] = 0.1  # 9
    decisions = [Boundaries(0, 0, 0, 0, (0, 1))] + [
        Boundaries(0, 0, 0, 0, tuple(range(width))) for width in architecture.widths[1:]
    ]
    assert inherited_filters(network, decisions)[0] == (3, 6)


def test_pooled_scores_are_norms_per_weight():
    """A filter's norm over its own 25 or 200 weights, not over the layer's."""
    network = new_network(NETWORKS[0], 0)
    with torch.no_grad():
        for name, size in (("conv1", 1.0), ("conv2", 3.0)):
            network.get_submodule(name).weight.fill_(size)
    first, second = decide(network, 2.0, statistics="pooled")
    assert (first.scores, second.scores) == ((1,) * 8, (3,) * 9)
    assert first.mean == second.mean == (8 * 1 + 9 * 3) / 17


def test_a_layer_of_its_own_keeps_what_the_rule_keeps():
    network = new_network(NETWORKS[0], 0)
    with torch.no_grad():
        network.get_submodule("conv1").weight[4] = 50
    decisions = decide(network, 2.0)
    assert decisions[0].kept == (0, 1, 2, 3, 5, 6, 7)
    assert inherited_filters(network, decisions)[0] == decisions[0].kept
