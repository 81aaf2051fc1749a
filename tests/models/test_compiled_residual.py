"""The ResNet's compiled step: autograd's gradients, running statistics and loss, to rounding."""

import copy
import gc
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from autoprune.federation.training import FLAT, adam_step, flatten, fresh_moments
from autoprune.models import Architecture, new_network
from autoprune.models.compiled.lanes import Row
from autoprune.models.layers import COMPILED, Network, to_channels_last

LAST = torch.channels_last


def made(widths, shape, classes, batch, seed):
    """A network in training that steps by compiled code, a batch for it, and nothing at its start.

    Some scales of batch norm are negative, and its shifts and the biases before it are not 0.
    """
    network = to_channels_last(new_network(Architecture("resnet", widths, shape, classes), seed))
    stream = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn(parameter.shape, generator=stream).mul_(0.7))
    network.train()
    flatten(network)
    network.gradients = COMPILED
    images = torch.rand(batch, *shape, generator=stream).contiguous(memory_format=LAST)
    labels = torch.randint(0, classes, (batch,), generator=stream)
    return network, images, labels


def stepped(network, backward, images, labels):
    """Loss, gradients and running statistics after one step, the network as before."""
    before = [buffer.clone() for buffer in network.buffers()]
    for parameter in network.parameters():
        parameter.grad.zero_()
    loss = float(backward(images, labels, torch.float32))
    slopes = {name: p.grad.clone() for name, p in network.named_parameters()}
    running = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for buffer, old in zip(network.buffers(), before, strict=True):
        buffer.copy_(old)
    return loss, slopes, running


def exactly(network, images, labels):
    """The same by autograd in float64, and how far from 0 its ReLUs and pools decide."""
    exact = copy.deepcopy(network).double()
    margins, seen = [], []
    # the smallest distance at which a ReLU or a pool would decide otherwise
    for name, module in exact.named_modules():
        if name.endswith("add") or name.endswith("norm1"):
            module.register_forward_hook(
                lambda m, i, o: margins.append(float(o.detach().abs().min()))
            )
        if name == "pool":
            module.register_forward_hook(lambda m, i, o: seen.append((i[0].detach(), o.detach())))
    for parameter in exact.parameters():
        parameter.grad = None
        # torch's convolution in float64 fails on channels-last kernels of one input or filter
        parameter.data = torch.empty(parameter.shape, dtype=torch.float64).copy_(parameter.data)
    loss = F.cross_entropy(exact(images.double()), labels)
    loss.backward()
    maps, pooled = seen[0]
    margins.append(float(pooled.abs().min()))
    windows = F.pad(maps, (0, maps.shape[3] % 2, 0, maps.shape[2] % 2), value=-torch.inf)
    two = F.unfold(windows.reshape(-1, 1, *windows.shape[2:]), 2, stride=2).topk(2, 1).values
    margins.append(float((two[:, 0] - two[:, 1]).min()))
    slopes = {name: p.grad for name, p in exact.named_parameters()}
    return float(loss.detach()), slopes, dict(exact.named_buffers()), min(margins)


def is_before_a_norm(name):
    """Whether it is the bias of a convolution, which batch norm takes out again."""
    return name.endswith(".bias") and ("conv" in name or "shortcut." in name or name == "stem.bias")


SIDES = st.integers(9, 24)


@settings(max_examples=15, deadline=None)
@given(
    widths=st.tuples(*[st.integers(1, 40)] * 3),
    shape=st.tuples(st.sampled_from([1, 2, 3]), SIDES, SIDES),
    batch=st.integers(1, 36),
    seed=st.integers(0, 2**31),
)
def test_a_step_is_autograds_to_rounding(widths, shape, batch, seed):
    """No further from autograd's in float64 than a few times as far as torch's in float32."""
    assume(batch > 1 or max(shape[1:]) > 16)  # else one number a channel is left
    network, images, labels = made(widths, shape, 5, batch, seed)
    right_loss, right, right_running, margin = exactly(network, images, labels)
    _, torchs, _ = stepped(network, partial(Network.backward, network), images, labels)
    loss, ours, running = stepped(network, network.backward, images, labels)
    assert loss == pytest.approx(right_loss, rel=1e-5, abs=1e-6)
    for name, statistic in right_running.items():
        size = max(1.0, float(statistic.abs().max()))
        assert float((running[name] - statistic).abs().max()) < 1e-6 * size, name
    if margin < 5e-6:  # rounding may decide otherwise at a ReLU, in torch's as in ours
        return
    whole = max(float(slope.abs().max()) for slope in right.values())
    for name, slope in right.items():
        if is_before_a_norm(name):
            assert not ours[name].any()
            assert float(slope.abs().max()) < 1e-9 * whole
            continue
        # not of what is next to nothing: batch norm takes out a kernel's size, so that the gradient
        # of one of a single number is what sums of larger ones leave, in torch as in ours
        size = max(float(slope.abs().max()), 0.1 * whole)
        error = float((ours[name] - slope).abs().max()) / size
        assert error < 4 * float((torchs[name] - slope).abs().max()) / size + 1e-4, name


@pytest.mark.parametrize("batch", [1, 16, 20, 21, 32])
@pytest.mark.parametrize(
    ("widths", "shape", "classes"),
    [
        ((16, 32, 64), (1, 28, 28), 62),
        ((9, 11, 22), (1, 28, 28), 62),
        ((16, 32, 64), (3, 84, 84), 2),
        ((9, 11, 22), (3, 84, 84), 2),
        ((5, 3, 17), (1, 20, 7), 4),  # rows that are shorter than a vector
    ],
)
def test_a_studys_networks_step_as_by_autograd(widths, shape, classes, batch):
    network, images, labels = made(widths, shape, classes, batch, 3)
    right_loss, right, _, _ = exactly(network, images, labels)
    _, torchs, _ = stepped(network, partial(Network.backward, network), images, labels)
    loss, ours, _ = stepped(network, network.backward, images, labels)
    assert loss == pytest.approx(right_loss, rel=1e-5)
    kept = [name for name in right if not is_before_a_norm(name)]

    def error(found):
        """Of all gradients as one vector; a few ReLUs near 0 that decide otherwise are in it."""
        of = sum(float((found[name] - right[name]).square().sum()) for name in kept)
        return (of / sum(float(right[name].square().sum()) for name in kept)) ** 0.5

    assert error(ours) < max(2e-3, 4 * error(torchs))


def test_gradients_are_added_to_what_is_there_and_a_step_again_has_the_same_bits():
    network, images, labels = made((9, 11, 22), (1, 28, 28), 5, 21, 1)
    first = stepped(network, network.backward, images, labels)
    again = stepped(network, network.backward, images, labels)
    assert first[0] == again[0]
    assert all(torch.equal(first[1][name], again[1][name]) for name in first[1])
    assert all(torch.equal(first[2][name], again[2][name]) for name in first[2])
    for parameter in network.parameters():
        parameter.grad.fill_(1)
    network.backward(images, labels, torch.float32)
    for name, parameter in network.named_parameters():
        assert torch.allclose(parameter.grad, first[1][name] + 1, atol=1e-5), name


def test_what_moved_to_other_memory_is_found_again():
    """As ``flatten`` moves parameters that are not in one tensor yet."""
    network, images, labels = made((4, 6, 5), (1, 20, 20), 5, 8, 1)
    expected = stepped(network, network.backward, images, labels)
    before = network.stem.weight.grad.data_ptr()
    held = network.__dict__.pop(FLAT)
    assert flatten(network) is not held
    assert network.stem.weight.grad.data_ptr() != before
    found = stepped(network, network.backward, images, labels)
    assert all(torch.equal(expected[1][name], found[1][name]) for name in expected[1])
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin.stem.weight.mul_(-1)
    flatten(twin)
    other = stepped(twin, twin.backward, images, labels)
    assert not torch.equal(other[1]["linear.weight"], found[1]["linear.weight"])
    same = stepped(network, network.backward, images, labels)
    assert all(torch.equal(same[1][name], found[1][name]) for name in found[1])


def test_torchs_own_gradients_are_taken_where_they_are_asked_for_or_needed():
    """Each with biases before batch norm whose gradients are rounding, not 0."""
    network, images, labels = made((6, 5, 7), (1, 20, 20), 5, 9, 4)

    def by_torch(dtype=torch.float32):
        for parameter in network.parameters():
            parameter.grad.zero_()
        network.backward(images, labels, dtype)
        return bool(network.blocks[0].conv2.bias.grad.any())

    assert not by_torch()
    assert by_torch(torch.bfloat16)
    network.gradients = "torch"
    assert by_torch()
    network.gradients, network.loss = COMPILED, lambda x, y: F.cross_entropy(x, y) * 2
    assert by_torch()


def test_one_number_a_channel_is_refused_as_by_torch():
    network, images, labels = made((3, 3, 3), (1, 16, 17), 5, 1, 0)
    network.backward(images, labels, torch.float32)  # two pixels are left
    small, images, labels = made((3, 3, 3), (1, 16, 16), 5, 1, 0)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        small.backward(images, labels, torch.float32)


def test_what_is_not_a_number_is_not_hidden():
    """A network that has diverged must be seen to have."""
    network, images, labels = made((4, 6, 5), (1, 28, 28), 5, 8, 1)
    with torch.no_grad():
        network.stem.weight[1, 0, 2, 2] = torch.nan
    assert torch.isnan(network.backward(images, labels, torch.float32))
    assert torch.isnan(network.stem.weight.grad[1]).any()


@given(width=st.integers(1, 90), halvings=st.integers(0, 4), images=st.integers(1, 70))
def test_each_column_of_a_row_has_its_places_and_what_is_beside_it_is_nobodys(
    width, halvings, images
):
    row = Row(width, 2**halvings, images)
    taken = np.concatenate([row.place(w) + np.arange(images) for w in range(width)])
    assert len(set(taken.tolist())) == width * images
    assert np.array_equal(np.flatnonzero(row.mask), np.sort(taken))
    assert not any(row.starts % 16)
    assert not row.length % 16
    beside = np.concatenate([row.place(w) + np.arange(images) for w in (-1, width)])
    assert beside.min() >= 0
    assert not row.mask[beside].any()
    for start, vectors in zip(row.starts, row.vectors, strict=True):
        # a whole phase and the column behind it can be met, from any of its places
        assert start + 16 * vectors + images <= row.length


def test_a_network_that_nobody_needs_is_let_go():
    network, images, labels = made((3, 4, 5), (1, 20, 20), 5, 8, 1)
    network.backward(images, labels, torch.float32)
    kept = weakref.ref(network)
    del network
    gc.collect()
    assert kept() is None


def test_training_goes_as_by_autograd():
    """Thirty steps of Adam: the losses stay together, and fall."""
    losses = []
    for gradients in ("torch", COMPILED):
        network = to_channels_last(
            new_network(Architecture("resnet", (9, 11, 22), (1, 28, 28), 5), 0)
        )
        network.train()
        network.gradients = gradients
        weights = flatten(network)
        state = fresh_moments(weights)
        stream = torch.Generator().manual_seed(1)
        images = torch.rand(32, 1, 28, 28, generator=stream).contiguous(memory_format=LAST)
        labels = torch.randint(0, 5, (32,), generator=stream)
        losses.append([])
        for _ in range(30):
            weights.grad.zero_()
            losses[-1].append(float(network.backward(images, labels, torch.float32)))
            adam_step(weights, state, 0.003, 1e-7)
    torchs, ours = losses
    assert ours == pytest.approx(torchs, rel=0.05, abs=0.02)
    assert ours[-1] < ours[0] / 2
