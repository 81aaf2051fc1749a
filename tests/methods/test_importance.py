"""What the methods decide on, by hand on tiny kernels, and torch-pruning as an oracle."""

import pytest
import torch
import torch_pruning
from hypothesis import given
from hypothesis import strategies as st

from autoprune.federation.importance import IMPORTANCES, importance
from autoprune.methods.fpgm import Method as Fpgm
from autoprune.methods.geta import forget
from autoprune.methods.slimming import scales
from autoprune.models import Architecture, new_network
from autoprune.models.own import by_filter, own_parameters
from autoprune.models.places import Places
from autoprune.pruning.rule import boundaries, scores
from autoprune.pruning.shrink import decide, group_scores, largest

CNN = Architecture("cnn", (6, 7), (1, 28, 28), 10)
RESNET = Architecture("resnet", (6, 5, 7), (3, 28, 28), 2)
CNN1D = Architecture("cnn1d", (6, 5, 7), (1, 10, 16), 3)
CONFORMER = Architecture("conformer", (6, 5, 3, 7, 4), (1, 10, 16), 3)
NORMAL = torch.nn.init.normal_


def batch(shape, classes, count=12):
    stream = torch.Generator().manual_seed(1)
    images = torch.rand(count, *shape, generator=stream)
    return images, torch.randint(0, classes, (count,), generator=stream)


def test_fpgm_by_hand_with_signs():
    """Filters 1, -1 and 3 on a line: distances 2+2, 2+4, 2+4; by magnitude alone 0+2, 0+2, 2+2."""
    kernel = torch.tensor([1.0, -1.0, 3.0]).view(3, 1, 1, 1)
    assert Fpgm.score(kernel) == [4.0, 6.0, 6.0]


def oracle_group(network, shape, names, wanted):
    """torch-pruning's entries of these convolutions' groups whose layers are ``wanted``, as one.

    It follows identity shortcuts only, so what this project couples beyond them is put together.
    """
    graph = torch_pruning.DependencyGraph().build_dependency(network, torch.zeros(1, *shape))
    prune, joined = torch_pruning.prune_conv_out_channels, torch_pruning.dependency.Group()
    for name in names:
        convolution = network.get_submodule(name)
        whole = graph.get_pruning_group(convolution, prune, list(range(len(convolution.weight))))
        joined._group += [item for item in whole if item.dep.layer in wanted]
    joined._DG = graph
    return joined


def test_l1_is_torch_prunings():
    kernel = NORMAL(torch.empty(9, 4, 3, 3))
    convolution = torch.nn.Conv2d(4, 9, 3)
    convolution.weight.data.copy_(kernel)
    oracle = torch_pruning.importance.GroupMagnitudeImportance(p=1, normalizer=None)
    network = torch.nn.Sequential(convolution, torch.nn.Flatten(), torch.nn.LazyLinear(2))
    network(torch.zeros(1, 4, 8, 8))
    group = oracle_group(network, (4, 8, 8), ["0"], [convolution])
    assert scores(kernel) == pytest.approx(oracle(group).tolist(), rel=1e-5)


@pytest.mark.parametrize("layer", range(3))
def test_slimmings_scales_are_torch_prunings(layer):
    """Its graph names the norms: one behind the stem, two behind each block's sum."""
    network = shaken(RESNET)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    coupled = ["stem", "blocks.0.conv2", "blocks.1.conv2"]
    names = [coupled, ["blocks.0.conv1"], ["blocks.1.conv1"]][layer]
    group = oracle_group(network, RESNET.input_shape, names, norms)
    assert len(group) == [5, 1, 1][layer]
    oracle = torch_pruning.importance.BNScaleImportance(normalizer=None)(group)
    assert torch.allclose(scales(network, layer), oracle, rtol=1e-6)
    assert scales(network, layer).argsort().tolist() == oracle.argsort().tolist()


def test_taylor_is_torch_prunings_squared():
    """Of a kernel, with its ``multivariable``: |sum w·dL/dw|, where else it sums |w·dL/dw|.

    Biases, which it would add as magnitudes, are 0 in a new network.
    """
    network, (images, labels) = new_network(CNN, 0), batch(CNN.input_shape, CNN.classes)
    found = importance("taylor", network, images, labels, len(labels))
    twin = new_network(CNN, 0)
    torch.nn.functional.cross_entropy(twin(images), labels).backward()
    oracle = torch_pruning.importance.TaylorImportance(normalizer=None, multivariable=True)
    for name in twin.prunable:
        group = oracle_group(twin, CNN.input_shape, [name], [twin.get_submodule(name)])
        group._group = group._group[:1]  # as outputs
        expected = oracle(group).square()
        assert torch.allclose(found[name], expected, rtol=1e-4, atol=0)
        assert found[name].argsort().tolist() == expected.argsort().tolist()


def test_coupled_kernels_are_summed():
    network = new_network(RESNET, 0)
    names = network.group(0)
    assert len(names) == 5
    by_hand = sum(network.get_submodule(n).weight.abs().sum((1, 2, 3)).double() for n in names)
    assert group_scores(network, 0, scores) == pytest.approx(by_hand.tolist(), rel=1e-5)


def test_a_head_is_judged_by_its_queries_keys_and_values():
    network = new_network(CONFORMER, 0)
    qkv = network.blocks[0].attention.qkv.weight.abs().double().sum(1)
    by_hand = qkv.reshape(3, 3, 8).sum((0, 2))  # (of what, head, row)
    assert network.group(2) == ["blocks.0.attention"]
    assert group_scores(network, 2, scores) == pytest.approx(by_hand.tolist())
    assert decide(network, 1.0)[2].scores == pytest.approx(by_hand.tolist())


def test_a_heads_own_numbers_are_its_rows_of_all_three_and_their_biases():
    network, qkv = shaken(CONFORMER), "blocks.0.attention.qkv"
    own = own_parameters(network, 2)
    assert list(own) == [f"{qkv}.weight", f"{qkv}.bias"]
    found, layer = by_filter(network, 2, own), network.get_submodule(qkv)
    by_hand = torch.cat([layer.weight, layer.bias[:, None]], 1).reshape(3, 3, 8, -1)
    assert found.shape == (3, 3 * 8 * 65)
    assert torch.allclose(found.sum(1), by_hand.sum((0, 2, 3)), atol=1e-4)
    everything = tuple(tuple(range(width)) for width in CONFORMER.widths)
    before = by_filter(network, 2, own).detach().clone()
    forget(network, (*everything[:2], (0, 2), *everything[3:]), 0.5)
    factors = torch.tensor([1, 0.5, 1])[:, None]
    assert torch.equal(by_filter(network, 2, own), before * factors)


def test_every_norm_of_the_coupled_filters_is_found():
    network = new_network(RESNET, 0)
    blocks = [f"blocks.{n}.{norm}" for n in (0, 1) for norm in ("norm2", "shortcut_norm")]
    assert network.norms(0) == ["stem_norm", *blocks]
    assert network.norms(1) == ["blocks.0.norm1"]
    assert new_network(CNN, 0).norms(0) == []


@pytest.mark.parametrize(
    "architecture", [CNN, RESNET, CNN1D, CONFORMER], ids=lambda one: one.family
)
@pytest.mark.parametrize("kind", IMPORTANCES)
def test_importance_is_autograds(architecture, kind):
    """Means over two batches, from gradients taken by autograd on a network of its own."""
    network, twin = shaken(architecture), shaken(architecture)
    images, labels = batch(architecture.input_shape, architecture.classes)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = importance(kind, network, images, labels, 8)
    assert all(torch.equal(before[n], t) for n, t in network.state_dict().items())
    twin.train()
    gates = gated(twin) if kind == "taylor" else {}
    expected = {}
    for part in (slice(0, 8), slice(8, 12)):
        twin.zero_grad()
        for gate in gates.values():
            gate.grad = None
        torch.nn.functional.cross_entropy(twin(images[part]), labels[part]).backward()
        for name, score in by_autograd(kind, twin, gates).items():
            expected[name] = expected.get(name, 0) + score / 2
    assert found.keys() == expected.keys()
    for name, score in expected.items():
        assert torch.allclose(found[name], score, rtol=1e-3, atol=1e-9), name


def shaken(architecture):
    """Scales, shifts and biases are no longer the 1 and 0 that they start at."""
    network, stream = new_network(architecture, 0), torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=stream), alpha=0.5)
    return network


def gated(network):
    """A gate of ones a filter, which multiplies whatever leaves the layers that hold the filter."""
    gates = {}
    for layer, name in enumerate(network.prunable):
        gates[name] = gate = torch.ones(network.places.widths[layer]).requires_grad_()
        if name.endswith(("attention", "value")):  # what is read of a head, and behind a gated unit
            reader = name.replace("attention", "attention.joined").replace("value", "back")
            rows = network.get_submodule(reader).in_features // len(gate)
            network.get_submodule(reader).register_forward_pre_hook(
                lambda _, x, z=gate, rows=rows: x[0] * z.repeat_interleave(rows)
            )
            continue
        if name.endswith("up"):  # a linear layer's units stand last
            network.get_submodule(name).register_forward_hook(lambda _, __, y, z=gate: y * z)
            continue
        for holder in map(network.get_submodule, network.norms(layer) or network.group(layer)):
            holder.register_forward_hook(
                lambda _, __, y, z=gate: y * z.view(-1, *[1] * (y.dim() - 2))
            )
    return gates


def by_autograd(kind, network, gates):
    weights = {n: p for n, p in network.named_parameters() if p.dim() > 1}
    if kind == "sensitivity":
        return {n: (p * p.grad).abs().detach() for n, p in weights.items()}
    if kind == "saliency":
        owned = [network.places.filters(layer) for layer in range(len(network.prunable))]
        return {
            name: torch.stack([of_filter(network, int(one)) for one in filters])
            for name, filters in zip(network.prunable, owned, strict=True)
        }
    return {name: gate.grad**2 for name, gate in gates.items()}


def of_filter(network, number):
    """Sum of weights times gradients (1,) of all rows that one filter owns, and their cosine."""
    rows = [
        (p.detach()[axes[0] == number].double().flatten(), p.grad[axes[0] == number].flatten())
        for name, p in network.named_parameters()
        if 0 in (axes := network.places.owners.get(name, {}))
    ]
    own, slopes = (torch.cat(part).double() for part in zip(*rows, strict=True))
    product = (own * slopes).sum()
    length = (own.norm() * slopes.norm()).clamp(min=1e-12)
    return torch.stack([product, product / length]).float()


def test_taylor_by_hand_behind_batch_norm():
    """Scale 2 and shift 3, their gradients 5 and -1, then 1 and 1: 2·5 - 3 = 7 and 2 + 3 = 5.

    Five norms share the stem's filters, so its gates' gradients are 35 and 25. A mean of squares
    over the two batches is due, and the kernels' own gradients do not count.
    """
    network, gradients = new_network(RESNET, 0), [(5.0, -1.0), (1.0, 1.0)]
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]

    def backward(images, labels, dtype):
        of_scale, of_shift = gradients.pop(0)
        for parameter in network.parameters():
            parameter.grad.fill_(9.0)
        for norm in norms:
            norm.weight.grad.fill_(of_scale)
            norm.bias.grad.fill_(of_shift)

    for norm in norms:
        torch.nn.init.constant_(norm.weight, 2.0)
        torch.nn.init.constant_(norm.bias, 3.0)
    network.backward = backward
    found = importance("taylor", network, *batch(RESNET.input_shape, 2), batch_size=6)
    assert found["stem"].tolist() == [(35**2 + 25**2) / 2] * 6
    assert found["blocks.0.conv1"].tolist() == [(7**2 + 5**2) / 2] * 5


def test_a_group_without_every_batch_norm_goes_by_what_is_read_of_it():
    """Kernels in front of a norm say nothing, and there is one in front of none."""
    network = new_network(RESNET, 0)
    owners = dict(network.places.owners)  # as if nothing had coupled this one
    del owners["blocks.1.norm2.weight"]
    network.__dict__["places"] = Places(network.places.widths, owners)
    network.backward = lambda *_: [p.grad.fill_(3.0) for p in network.parameters()]
    found = importance("taylor", network, *batch(RESNET.input_shape, 2), batch_size=12)
    kernels = [f"blocks.{n}.{name}" for n in (0, 1) for name in ("conv1", "shortcut")]
    sums = [3 * network.get_submodule(n).weight.sum((0, 2, 3)) for n in kernels]
    sums.append(3 * network.linear.weight.sum(0).reshape(6, -1).sum(1))
    assert torch.allclose(found["stem"], sum(sums) ** 2, rtol=1e-4)
    assert found["blocks.0.conv1"].tolist() == [9.0] * 5  # scale 1 and shift 0


def test_taylor_does_not_hang_on_batch_norms_epsilon():
    """What sums to 0 but for epsilon is w·dL/dw of kernels in front of a batch norm."""

    def of(epsilon):
        network = shaken(RESNET)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eps = epsilon
        images, labels = batch(RESNET.input_shape, RESNET.classes)
        found = importance("taylor", network, images, labels, len(labels))
        kernel = network.get_submodule("blocks.0.conv1").weight
        return found, (kernel * kernel.grad).sum((1, 2, 3)).square().sum()

    (before, front), (after, front_after) = of(1e-3), of(1e-5)
    for name, score in before.items():
        assert float(after[name].sum()) == pytest.approx(float(score.sum()), rel=0.1)
    assert front_after < front / 1000


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
