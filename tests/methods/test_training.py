"""What methods have a client do in training: shrink scales, add up gradients."""

import numpy as np
import pytest
import torch
from test_importance import CNN, RESNET, batch, shaken

from autoprune.federation.training import train
from autoprune.models import new_network


def test_a_step_takes_a_stated_amount_from_each_scale():
    """Of the same step without the term: rate times weight less, whatever Adam made of the loss."""
    plain, sparse = scaled(), scaled()
    step(plain, RESNET)
    step(sparse, RESNET, norm_l1=0.5)
    less = 0.01 * 0.5
    for one, other in zip(norms_of(plain), norms_of(sparse), strict=True):
        expected = one.weight.sign() * (one.weight.abs() - less).clamp(min=0)
        assert torch.allclose(other.weight, expected, atol=1e-7)
        assert torch.equal(one.bias, other.bias)
    assert torch.equal(plain.stem.weight, sparse.stem.weight)


def test_scales_stop_at_zero():
    """Those within the step's reach are exactly 0, and none changes its sign."""
    network = scaled()
    before = [norm.weight.detach().clone() for norm in norms_of(network)]
    step(network, RESNET, norm_l1=50.0)  # 0.5 a step, beside Adam's 0.01
    for old, norm in zip(before, norms_of(network), strict=True):
        new = norm.weight.detach()
        assert bool((new[old.abs() < 0.48] == 0).all())
        assert bool((new * old >= 0).all())
    assert any(bool((norm.weight == 0).any()) for norm in norms_of(network))
    assert any(bool((norm.weight != 0).any()) for norm in norms_of(network))


def scaled():
    """A network whose batch norms have scales from -1 to 1."""
    network = new_network(RESNET, 0)
    with torch.no_grad():
        for norm in norms_of(network):
            norm.weight.copy_(torch.linspace(-1, 1, norm.num_features))
    return network


def norms_of(network):
    return [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]


@pytest.mark.parametrize("architecture", [CNN, RESNET], ids=["cnn", "resnet"])
def test_gradients_are_summed_over_the_steps_of_training(architecture):
    """Recomputed by autograd at each step's weights, which a twin trains batch by batch."""
    network, twin = shaken(architecture), shaken(architecture)
    images, labels = batch(architecture.input_shape, architecture.classes)
    masks = {n: torch.ones(p.shape).bool() for n, p in twin.named_parameters() if p.dim() > 1}
    name = next(iter(masks))
    masks[name][0] = False  # a filter that is gone is not trained, and has a gradient all the same
    found, moments, expected = {}, {}, {}
    how = {"learning_rate": 0.01, "epsilon": 1e-7, "precision": "fp32", "masks": masks}
    shuffle = np.random.default_rng(0)
    train(network, images, labels, epochs=2, batch_size=8, shuffle=shuffle, gradients=found, **how)
    shuffle = np.random.default_rng(0)
    for _ in range(2):
        order = torch.from_numpy(shuffle.permutation(len(labels)))
        for part in order.split(8):
            copy = shaken(architecture)
            copy.load_state_dict(twin.state_dict())
            copy.train()
            torch.nn.functional.cross_entropy(copy(images[part]), labels[part]).backward()
            for key, weight in copy.named_parameters():
                if weight.dim() > 1:
                    expected[key] = expected.get(key, 0) + weight.grad
            one = np.random.default_rng(1)
            train(
                twin, images[part], labels[part], epochs=1, batch_size=8, shuffle=one,
                moments=moments, **how,
            )  # fmt: skip
    assert found.keys() == expected.keys() == masks.keys()
    for key, total in expected.items():
        assert torch.allclose(found[key], total, rtol=1e-2, atol=1e-5), key
    assert bool((found[name][0] != 0).any())


def step(network, architecture, **more):
    """One step of local training on a batch."""
    images, labels = batch(architecture.input_shape, architecture.classes)
    how = {"epochs": 1, "batch_size": 12, "learning_rate": 0.01, "epsilon": 1e-7}
    shuffle = np.random.default_rng(0)
    return train(network, images, labels, precision="fp32", shuffle=shuffle, **how, **more)
