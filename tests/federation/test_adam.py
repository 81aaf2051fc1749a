"""Adam's step: the bits of torch's own optimizer, without what its class imports."""

import subprocess
import sys

import torch

from autoprune.federation.training import adam_step, fresh_moments

RATE, EPSILON = 0.001, 1e-7


def test_every_step_has_the_bits_of_torchs_optimizer():
    """Some gradients are zero, as behind dead filters, some large, some tiny."""
    draws = torch.Generator().manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(5_003, generator=draws))
    theirs = torch.nn.Parameter(ours.detach().clone())
    optimizer = torch.optim.Adam([theirs], lr=RATE, eps=EPSILON, fused=True)
    state = fresh_moments(ours)
    for step in range(30):
        gradient = torch.randn(5_003, generator=draws) * (0, 1e-6, 1, 1e6)[step % 4]
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        adam_step(ours, state, RATE, EPSILON)
        optimizer.step()
        assert torch.equal(ours, theirs)
    assert state.keys() == optimizer.state[theirs].keys()
    assert all(torch.equal(tensor, optimizer.state[theirs][name]) for name, tensor in state.items())


def test_training_does_not_load_torchs_compiler():
    """A second of every run: `torch._dynamo` with sympy and 800 modules."""
    code = """
import sys
import numpy as np
import torch
from autoprune.federation.__main__ import main
from autoprune.federation.training import train
from autoprune.models import Architecture, new_network

network = new_network(Architecture("cnn", (2, 3), (1, 28, 28), 3), 0)
settings = {"epochs": 1, "batch_size": 4, "learning_rate": 0.001, "epsilon": 1e-7}
train(
    network, torch.zeros(8, 1, 28, 28), torch.zeros(8, dtype=torch.int64), precision="fp32",
    shuffle=np.random.default_rng(0), **settings,
)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
