"""A network on grids: what it computes with, what trains, where training starts."""

import pytest
import torch

from autoprune.models import Architecture, new_network
from autoprune.models.attached import attach, folded
from autoprune.models.quantised import bits, grids, on_grids
from autoprune.models.quantiser import gradients, largest, quantised, step_of

CNN = Architecture("cnn", (5, 7), (1, 28, 28), 10)


@pytest.fixture
def network():
    """A CNN of 3 bits, its ranges three quarters of the largest weights."""
    made = attach(CNN, new_network(CNN, 0), "quantised")[1]
    tops = (0.75 * largest(made.state_dict())).tolist()
    made.attached.set([step_of(3, top) for top in tops], tops)
    return made


def batch(seed=0):
    stream = torch.Generator().manual_seed(seed)
    return torch.rand(8, 1, 28, 28, generator=stream), torch.arange(8)


def test_it_computes_with_its_weights_on_the_grids(network):
    images, _ = batch()
    plain = folded(CNN, network)[1]
    with torch.no_grad():
        assert torch.equal(network(images), plain(images))
    for name, (step, most) in grids(network.state_dict()).items():
        weight = network.get_parameter(name).detach()
        assert torch.equal(plain.get_parameter(name), quantised(weight, step, most))
        assert not torch.equal(plain.get_parameter(name), weight)
    assert set(bits(network.state_dict()).values()) == {3}


def test_weights_steps_and_ranges_get_the_gradients_of_the_plain_network_at_the_grids(network):
    """Those of the plain network go straight through; of logarithms they are times the value."""
    images, labels = batch()
    plain = folded(CNN, network)[1]
    for one in (network, plain):
        for parameter in one.parameters():
            parameter.grad = torch.zeros_like(parameter)
        one.backward(images, labels, torch.float32)
    found = zip(*grids(network.state_dict()).values(), strict=True)
    part = network.attached
    for n, (name, step, most) in enumerate(zip(part.names, *found, strict=True)):
        slope, weight = plain.get_parameter(name).grad, network.get_parameter(name)
        right = gradients(weight.detach(), step, most, slope)
        assert torch.allclose(weight.grad, right[0], atol=1e-6)
        for parameter, value, by in (
            (part.log_steps, step, right[1]),
            (part.log_ranges, most, right[2]),
        ):
            assert float(parameter.grad[n]) == pytest.approx(
                float(10 * value * by), rel=1e-3, abs=1e-5
            )
            assert float(by) != 0


def test_training_starts_anywhere_in_the_cells_of_the_same_network(network):
    images, _ = batch()
    with torch.no_grad():
        before, whole = network(images), on_grids(network.state_dict())
        torch.manual_seed(0)
        network.attached.start(network)
        assert torch.equal(network(images), before)
    for name, steps in on_grids(network.state_dict()).items():
        assert torch.equal(steps, whole[name])
        step, most = grids(network.state_dict())[name]
        apart = network.get_parameter(name).detach() / step - steps
        inner = steps.abs() < steps.abs().max()
        assert float(apart[inner].abs().mean()) == pytest.approx(0.25, abs=0.05)
        assert bool((network.get_parameter(name).abs() <= most).all())
