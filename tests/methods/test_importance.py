"""What the methods decide on, by hand on tiny kernels, and torch-pruning as an oracle."""

import numpy as np
import pytest
import torch
import torch_pruning
from hypothesis import given
from hypothesis import strategies as st

from autoprune.federation.training import importance, train
from autoprune.methods.fpgm import Method as Fpgm
from autoprune.methods.slimming import norms_of
from autoprune.models import Architecture, new_network
from autoprune.pruning.rule import boundaries, scores
from autoprune.pruning.shrink import decide, group_scores, largest

CNN = Architecture("cnn", (6, 7), (1, 28, 28), 10)
RESNET = Architecture("resnet", (6, 5, 7), (3, 28, 28), 2)
NORMAL = torch.nn.init.normal_


def batch(shape, classes, count=12):
    stream = torch.Generator().manual_seed(1)
    images = torch.rand(count, *shape, generator=stream)
    return images, torch.randint(0, classes, (count,), generator=stream)


def test_fpgm_by_hand_with_signs():
    """Filters 1, -1 and 3 on a line: distances 2+2, 2+4, 2+4; by magnitude alone 0+2, 0+2, 2+2."""
    kernel = torch.tensor([1.0, -1.0, 3.0]).view(3, 1, 1, 1)
    assert Fpgm.score(kernel) == [4.0, 6.0, 6.0]


def test_l1_is_torch_prunings():
    kernel = NORMAL(torch.empty(9, 4, 3, 3))
    convolution = torch.nn.Conv2d(4, 9, 3)
    convolution.weight.data.copy_(kernel)
    group = [(torch_pruning.pruner.function.prune_conv_out_channels, convolution)]
    oracle = torch_pruning.importance.GroupMagnitudeImportance(p=1, normalizer=None)
    network = torch.nn.Sequential(convolution, torch.nn.Flatten(), torch.nn.LazyLinear(2))
    network(torch.zeros(1, 4, 8, 8))
    graph = torch_pruning.DependencyGraph().build_dependency(network, torch.zeros(1, 4, 8, 8))
    whole = graph.get_pruning_group(convolution, group[0][0], idxs=list(range(9)))
    first = torch_pruning.dependency.Group()
    first._group, first._DG = [whole[0]], graph
    assert scores(kernel) == pytest.approx(oracle(first).tolist(), rel=1e-5)


def test_coupled_kernels_are_summed():
    network = new_network(RESNET, 0)
    names = network.group(0)
    assert len(names) == 5
    by_hand = sum(network.get_submodule(n).weight.abs().sum((1, 2, 3)).double() for n in names)
    assert group_scores(network, 0, scores) == pytest.approx(by_hand.tolist(), rel=1e-5)


def test_slimming_reads_every_norm_of_the_coupled_filters():
    network = new_network(RESNET, 0)
    assert len(norms_of(network, 0)) == 5
    assert [norm.num_features for norm in norms_of(network, 1)] == [5]
    assert norms_of(new_network(CNN, 0), 0) == []


def test_the_sparsity_term_is_its_gradient():
    """One step of Adam moves by the rate against the sign, where the term outweighs the loss."""
    network = new_network(RESNET, 0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.copy_(torch.linspace(-1, 1, module.num_features))
    before = network.stem_norm.weight.detach().clone()
    step(network, RESNET, norm_l1=1e6)
    moved = network.stem_norm.weight.detach() - before
    assert torch.allclose(moved, -0.01 * before.sign(), atol=1e-6)


def step(network, architecture, **more):
    """One step of local training on a batch."""
    images, labels = batch(architecture.input_shape, architecture.classes)
    how = {"epochs": 1, "batch_size": 12, "learning_rate": 0.01, "epsilon": 1e-7}
    shuffle = np.random.default_rng(0)
    return train(network, images, labels, precision="fp32", shuffle=shuffle, **how, **more)


@pytest.mark.parametrize("architecture", [CNN, RESNET], ids=["cnn", "resnet"])
@pytest.mark.parametrize("kind", ["taylor", "squared-gradients", "sensitivity"])
def test_importance_is_autograds(architecture, kind):
    """Means over two batches, from gradients taken by autograd on a network of its own."""
    network, twin = new_network(architecture, 0), new_network(architecture, 0)
    images, labels = batch(architecture.input_shape, architecture.classes)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = importance(kind, network, images, labels, 8)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    twin.train()
    expected = {}
    for part in (slice(0, 8), slice(8, 12)):
        twin.zero_grad()
        torch.nn.functional.cross_entropy(twin(images[part]), labels[part]).backward()
        for name, score in by_autograd(kind, twin).items():
            expected[name] = expected.get(name, 0) + score / 2
    assert found.keys() == expected.keys()
    for name, score in expected.items():
        assert torch.allclose(found[name], score, rtol=1e-3, atol=1e-9), name


def by_autograd(kind, network):
    weights = {n: p for n, p in network.named_parameters() if p.dim() > 1}
    if kind == "squared-gradients":
        return {n: p.grad**2 for n, p in weights.items()}
    if kind == "sensitivity":
        return {n: (p * p.grad).abs().detach() for n, p in weights.items()}
    found = {}
    for layer, name in enumerate(network.prunable):
        sums = [
            (weights[f"{k}.weight"] * weights[f"{k}.weight"].grad).sum((1, 2, 3))
            for k in network.group(layer)
        ]
        found[name] = (sum(sums) ** 2).detach()
    return found


def test_only_the_low_tail_goes():
    """Nine of ten norms at 10, then 0 and 20 on either side: both, or only the first, go."""
    norms = [10.0] * 9 + [0.0, 20.0]
    assert boundaries(norms, 2.0).kept == tuple(range(9))
    low = boundaries(norms, 2.0, "low")
    assert low.kept == (*range(9), 10)
    assert low.upper is None


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30), st.floats(1, 3))
def test_the_low_tail_takes_no_more_than_both(norms, k):
    assert set(boundaries(norms, k).kept) <= set(boundaries(norms, k, "low").kept)


def test_pooled_statistics_are_of_norms_per_weight():
    """Ten of seventy lie 2.45 deviations below the mean of all: the layer falls to one filter."""
    network = new_network(Architecture("cnn", (10, 60), (1, 28, 28), 10), 0)
    with torch.no_grad():
        network.get_submodule(network.prunable[0]).weight.fill_(0.001)
        NORMAL(network.get_submodule(network.prunable[1]).weight, 1.0, 0.01)
    alone, pooled = decide(network, 2.0), decide(network, 2.0, statistics="pooled")
    assert len(alone[0].kept) == 10
    assert len(pooled[0].kept) == 1
    assert pooled[0].mean == pooled[1].mean


def test_largest_breaks_ties_by_index():
    assert largest([1.0, 3.0, 3.0, 2.0, 3.0], 2) == (1, 2)
