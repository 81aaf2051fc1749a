"""The networks: Keras' padding and initialisation, wiring that covers every tensor."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from autoprune.federation.training import flatten
from autoprune.models import Architecture, build, families, load_state, new_network
from autoprune.models.layers import Conv2d, Network
from autoprune.models.resnet import Shortcut

NETWORKS = [
    Architecture("cnn", (5, 7), (1, 28, 28), 10),
    Architecture("cnn", (4, 3, 5, 2), (3, 84, 84), 2),
    Architecture("resnet", (4, 6, 5), (3, 84, 84), 2),
    Architecture("inception", (4, 2, 3, 4, 3, 2, 3, 6, 5), (1, 28, 28), 10),
    Architecture("inception", (4, 2, 3, 4, 3, 2, 3, 6, 5), (3, 84, 84), 2),
    Architecture("cnn1d", (4, 6, 5), (1, 40, 64), 20),
    Architecture("conformer", (4, 6, 2, 5, 3), (1, 40, 64), 20),
    Architecture("conformer", (4, 6, 3, 5, 3, 2, 1, 4, 7), (2, 5, 9), 3),
]


@pytest.mark.parametrize("architecture", NETWORKS, ids=str)
def test_logits_have_one_row_an_image(architecture):
    network = new_network(architecture, 0)
    logits = network(torch.rand(3, *architecture.input_shape))
    assert logits.shape == (3, architecture.classes)


@pytest.mark.parametrize(
    ("side", "kernel", "stride"), list(itertools.product((5, 6, 7, 8), (1, 3, 5), (1, 2)))
)
def test_same_padding_is_tensorflows(side, kernel, stride):
    """By the definition: output = ceil(side / stride), any odd padding goes after."""
    conv = Conv2d(1, 1, kernel, stride, "same", (side, side))
    with torch.no_grad():
        conv.weight.copy_(torch.rand_like(conv.weight))
        conv.bias.zero_()
    image = torch.rand(1, 1, side, side)
    found = conv(image)[0, 0].detach().numpy()
    size = -(-side // stride)
    assert found.shape == conv.output_sides == (size, size)
    total = max((size - 1) * stride + kernel - side, 0)
    padded = np.zeros((side + total, side + total), dtype=np.float32)
    before = total // 2
    padded[before : before + side, before : before + side] = image[0, 0]
    weight = conv.weight[0, 0].detach().numpy()
    for y, x in itertools.product(range(size), repeat=2):
        window = padded[y * stride : y * stride + kernel, x * stride : x * stride + kernel]
        assert found[y, x] == pytest.approx((window * weight).sum(), abs=1e-5)


def test_pool_before_relu_is_relu_before_pool():
    network = new_network(NETWORKS[0], 1)
    x = torch.rand(2, 1, 28, 28) - 0.5
    for name, pool in (("conv1", "pool1"), ("conv2", "pool2")):
        convolved = network.get_submodule(name)(x)
        after = network.get_submodule(pool)(F.relu(convolved))
        x = F.relu(network.get_submodule(pool)(convolved))
        assert torch.equal(after, x)


def test_initialisation_is_keras():
    network = new_network(Architecture("resnet", (16, 32, 64), (3, 84, 84), 2), 3)
    conv = network.get_submodule("blocks.1.conv1")
    limit = (6 / (9 * 16 + 9 * 64)) ** 0.5  # Glorot: fans count the kernel
    assert conv.weight.abs().max() <= limit
    assert float(conv.weight.detach().std()) == pytest.approx(limit / 3**0.5, rel=0.05)
    assert not conv.bias.any()
    norm = network.get_submodule("stem_norm")
    assert (norm.eps, norm.momentum) == (1e-3, pytest.approx(0.01))
    assert (norm.weight == 1).all()
    assert not norm.bias.any()


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    first, again, other = (new_network(NETWORKS[3], seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.weight"], other["stem.weight"])


def test_initialisation_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    from autoprune.models import initialise

    network = build(NETWORKS[0])
    middle = torch.get_rng_state()
    initialise(network, 0)
    assert torch.equal(middle, torch.get_rng_state())
    torch.set_rng_state(before)


@pytest.mark.parametrize("architecture", NETWORKS, ids=str)
def test_places_explain_every_axis(architecture):
    """Along each axis each filter has its places, and a filter more adds as many."""
    network = build(architecture)
    state, places = network.state_dict(), network.places
    assert places.widths == architecture.widths
    for name, axes in places.owners.items():
        for axis, owner in axes.items():
            assert len(owner) == state[name].shape[axis], name
    for layer in range(len(architecture.widths)):
        widths = list(architecture.widths)
        widths[layer] += 1
        wider = build(architecture.with_widths(widths)).state_dict()
        for name, tensor in state.items():
            for axis in range(tensor.dim()):
                grown = wider[name].shape[axis] - tensor.shape[axis]
                _, told = places.shares(name, axis)
                assert grown == told.get(layer, 0), (name, axis, layer)


def test_load_state_refuses_other_shapes_and_keys():
    network = build(NETWORKS[0])
    state = dict(network.state_dict())
    with pytest.raises(ValueError, match="keys differ"):
        load_state(network, {k: v for k, v in state.items() if k != "linear.bias"})
    state["linear.bias"] = torch.zeros(3)
    with pytest.raises(ValueError, match=r"linear\.bias has shape \(3,\)"):
        load_state(network, state)


def test_families_are_the_modules():
    assert families() == ["cnn", "cnn1d", "conformer", "inception", "resnet"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("widths", "shape", "classes"),
    [
        ((32, 64), (1, 28, 28), 62),
        ((17, 43), (1, 28, 28), 62),
        ((1, 1), (1, 28, 28), 2),
        ((14, 9, 14, 9), (3, 84, 84), 2),
    ],
)
def test_the_cnns_own_backward_is_autograds_bit_for_bit(widths, shape, classes, dtype):
    network = new_network(Architecture("cnn", widths, shape, classes), 0)
    weights = flatten(network)
    stream = torch.Generator().manual_seed(1)
    images = torch.rand(7, *shape, generator=stream).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, classes, (7,), generator=stream)
    found = []
    for backward in (network.backward, partial(Network.backward, network)):
        weights.grad.zero_()
        found.append((backward(images, labels, dtype), weights.grad.clone()))
    (loss, gradients), (expected_loss, expected) = found
    assert loss == expected_loss
    assert torch.equal(gradients, expected)
    assert gradients.abs().max() > 0


def test_flattening_keeps_the_weights_and_ties_them_to_one_tensor():
    network = new_network(Architecture("inception", (2,) * 9, (1, 28, 28), 5), 0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    weights = flatten(network)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    with torch.no_grad():
        weights.fill_(2)
    assert all((tensor == 2).all() for tensor in network.state_dict().values())


@pytest.mark.parametrize(("width", "side"), [(6, 8), (6, 7), (16, 7)])
def test_a_shortcuts_gradients_are_right_with_two_threads(threads, width, side):
    """In each of 100 tries, by torch in float64; in float32 its own at stride 2 fail often at 6."""
    stream = torch.Generator().manual_seed(0)
    last = torch.channels_last
    layer = Shortcut(width, width, (side, side)).to(memory_format=last)
    images = torch.rand(32, width, side, side, generator=stream).contiguous(memory_format=last)
    weighed = torch.rand(32, width, *layer.output_sides, generator=stream)
    weighed = weighed.contiguous(memory_format=last)

    def gradients(call, dtype):
        leaves = [t.detach().to(dtype).requires_grad_() for t in (images, *layer.parameters())]
        y = call(*leaves)
        return [y.detach(), *torch.autograd.grad(y, leaves, weighed.to(dtype))]

    def ours(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    expected = gradients(partial(F.conv2d, stride=2), torch.float64)
    threads(2)
    for _ in range(100):
        for found, right in zip(gradients(ours, torch.float32), expected, strict=True):
            assert torch.allclose(found.double(), right, atol=1e-5 * float(right.abs().max()))


def test_a_shortcut_is_one_operation_outside_training_and_none_of_stride_2_in_it():
    """The graph shows the way taken: a race that went well proves nothing."""
    layer, images = Shortcut(6, 6, (7, 8)), torch.rand(4, 6, 7, 8)

    def goes_around(training):
        graph = torch.export.export(layer.train(training), (images,)).graph
        return any("slice" in str(node.target) for node in graph.nodes)

    assert goes_around(training=True)
    assert not goes_around(training=False)
    own = F.conv2d(images, layer.weight, layer.bias, stride=2)
    assert torch.equal(layer.eval()(images), own)
    assert torch.allclose(layer.train()(images), own, atol=1e-6)
