"""Clients' optimizers, schedules and the proximal term: torch's numbers, and refusals in a line."""

import copy
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from flwr.app import RecordDict
from torch.nn import functional as F

from autoprune.core.errors import InputError
from autoprune.core.options import WrongValue, read
from autoprune.federation.interruption import Interrupted
from autoprune.federation.messages import OPTIMIZER, Unusable, moments_of
from autoprune.federation.optimizers import BY_TENSOR, REFUSED, Chosen, carried_like, rates
from autoprune.federation.run import Run
from autoprune.federation.settings import Settings
from autoprune.federation.training import flatten
from autoprune.federation.training import train as fit
from autoprune.federation.wire import arrays
from autoprune.models import Architecture, new_network

CNN = Architecture("cnn", (3, 4), (1, 28, 28), 5)
RATE, EPSILON = 0.01, 1e-7
EVERY = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and name != "Optimizer"
)
# each with arguments that are not its defaults
WITH = {
    "SGD": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "Adam": {"betas": [0.5, 0.9]},
    "AdamW": {"weight_decay": 0.1},
    "RMSprop": {"momentum": 0.5, "centered": True},
    "Adafactor": {"d": 2.0},
}


def batches():
    draws = np.random.default_rng(0)
    images = torch.from_numpy(draws.random((20, 1, 28, 28), np.float32))
    return images, torch.from_numpy(draws.integers(0, 5, 20))


def trained(optimizer=None, **more):
    """A network after an epoch of steps with 8 images each, and its loss."""
    network = new_network(CNN, 0)
    images, labels = batches()
    settings = {"epochs": 1, "batch_size": 8, "learning_rate": RATE, "epsilon": EPSILON}
    loss = fit(
        network, images, labels, precision="fp32", shuffle=np.random.default_rng(1),
        optimizer=optimizer, **settings | more,
    )  # fmt: skip
    return network, loss


def by_hand(make, penalty=lambda network, received: 0.0):
    """The same with torch's optimizer on the network's own parameters, and autograd's gradients."""
    network = new_network(CNN, 0)
    received = copy.deepcopy(network)
    images, labels = batches()
    order = torch.from_numpy(np.random.default_rng(1).permutation(20))
    optimizer = make(network.parameters())
    for batch, targets in zip(images[order].split(8), labels[order].split(8), strict=True):
        optimizer.zero_grad()
        (F.cross_entropy(network(batch), targets) + penalty(network, received)).backward()
        optimizer.step()
    return network


def agree(one, other, tolerance=2e-6):
    return all(
        torch.allclose(a, b, rtol=1e-4, atol=tolerance)
        for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", [name for name in EVERY if name not in REFUSED])
def test_every_optimizer_does_what_torchs_does_on_the_networks_own_parameters(name):
    """Although ours lie flat in one tensor: each number has a step of its own, or Adafactor's."""
    given = WITH.get(name, {})
    read(Settings, TOLD | {"optimizer": {"name": name, **given}})
    network, _ = trained({"name": name, **given})
    eps = {} if name in (*BY_TENSOR, "SGD", "ASGD", "Rprop") else {"eps": EPSILON}
    arguments = {n: tuple(v) if isinstance(v, list) else v for n, v in given.items()}
    kind = getattr(torch.optim, name)
    assert agree(network, by_hand(lambda p: kind(p, lr=RATE, **eps, **arguments)))
    assert not agree(network, new_network(CNN, 0))


TOLD = {
    "dataset": "tiny", "stands_for": "none", "store": "s", "partition": "p", "target": "t",
    "model": "cnn", "widths": [3, 4], "method": "dense", "variant": "fedavg", "seed": 0,
    "rounds": 6, "clients_per_round": 2, "local_epochs": 1, "batch_size": 8,
    "learning_rate": RATE, "epsilon": EPSILON, "precision": "fp32", "optimizer_state": "fresh",
    "batch_norm": "refreshed", "min_clients": 2, "evaluate_every": 2, "checkpoint_every": 2,
    "output": "o",
}  # fmt: skip


def test_adam_by_name_is_the_default_and_with_its_defaults_written_out_has_its_bits():
    default, loss = trained()
    assert read(Settings, TOLD | {"optimizer": {"name": "Adam"}}).optimizer == {}
    network, same = trained({"name": "Adam", "betas": [0.9, 0.999]})
    assert same == loss
    assert all(
        torch.equal(a, b) for a, b in zip(default.parameters(), network.parameters(), strict=True)
    )


def test_what_is_chosen_is_told_in_the_flat_form_alone_where_it_is():
    """So that no run of before has another identity; and it comes back."""
    plain = read(Settings, TOLD)
    names = {"optimizer", "schedule", "server", "augmentation", "proximal-mu", "start"}
    assert not names & plain.run_config().keys()
    chosen = {
        "optimizer": {"name": "SGD", "momentum": 0.9},
        "schedule": {"name": "StepLR", "step_size": 2},
        "server": {"strategy": "FedYogi", "eta": 0.02},
        "augmentation": [{"RandomCrop": {"size": 28, "padding": 2}}],
        "proximal_mu": 0.1,
    }
    given = read(Settings, TOLD | chosen)
    flat = given.run_config()
    assert all(isinstance(value, str | int | float | bool) for value in flat.values())
    assert flat["optimizer"] == '{"name":"SGD","momentum":0.9}'
    assert Settings.from_run_config(json.loads(json.dumps(flat))) == given


@pytest.mark.parametrize("mu", [3.0, 20.0])
def test_the_proximal_term_is_half_mu_times_the_squared_distance(mu):
    """Li et al. 2020, eq. 2, and the formula of Flower's FedProx; autograd is the judge."""

    def penalty(network, received):
        pairs = zip(network.parameters(), received.parameters(), strict=True)
        return mu / 2 * sum((a - b.detach()).square().sum() for a, b in pairs)

    sgd = {"name": "SGD", "momentum": 0.5}
    network, _ = trained(sgd, proximal_mu=mu)
    wanted = by_hand(lambda p: torch.optim.SGD(p, lr=RATE, momentum=0.5), penalty)
    assert agree(network, wanted)
    assert not agree(network, trained(sgd)[0], 1e-4)


def test_the_proximal_term_holds_adam_back():
    start = new_network(CNN, 0)

    def moved(network):
        pairs = zip(network.parameters(), start.parameters(), strict=True)
        return math.sqrt(sum(float((a - b).detach().square().sum()) for a, b in pairs))

    distances = [moved(trained(proximal_mu=mu, epochs=5)[0]) for mu in (0.0, 1.0, 100.0)]
    assert distances == sorted(distances, reverse=True)
    assert distances[2] < 0.7 * distances[0]


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Rprop", "Adafactor"])
def test_masked_weights_stay_under_decay_and_momentum(name):
    start = new_network(CNN, 0)
    masks = {
        name: torch.rand(p.shape, generator=torch.Generator().manual_seed(2)) < 0.5
        for name, p in start.named_parameters()
        if p.dim() > 1
    }
    given = WITH.get(name, {}) | ({"weight_decay": 0.1} if name != "Rprop" else {})
    network, _ = trained({"name": name, **given}, masks=masks)
    for layer, mask in masks.items():
        before, after = start.get_parameter(layer), network.get_parameter(layer)
        assert torch.equal(before[~mask], after[~mask])
        assert not torch.equal(before[mask], after[mask])


@pytest.mark.parametrize(
    ("name", "given"), [("SGD", {"momentum": 0.9}), ("NAdam", {}), ("Adafactor", {})]
)
def test_a_carried_state_goes_on_where_it_was(name, given):
    """Two epochs in one go, or in two with the state between them: the same bits."""
    choice = {"name": name, **given}
    network, weights, half = new_network(CNN, 0), [], {}
    images, labels = batches()
    settings = {"batch_size": 8, "learning_rate": RATE, "epsilon": EPSILON, "precision": "fp32"}
    stream = np.random.default_rng(3)
    fit(network, images, labels, epochs=2, shuffle=stream, optimizer=choice, **settings)
    weights.append(network)
    network, stream = new_network(CNN, 0), np.random.default_rng(3)
    for _ in range(2):
        fit(
            network, images, labels, epochs=1, shuffle=stream, optimizer=choice, moments=half,
            **settings,
        )  # fmt: skip
    assert half.keys() == carried_like(choice, network).keys()
    weights.append(network)
    pairs = zip(weights[0].parameters(), weights[1].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("gradients", ["compiled", "torch"])
@pytest.mark.parametrize(("family", "widths"), [("cnn", (1, 1)), ("resnet", (3, 1, 1))])
def test_one_filter_learns_from_a_batch_of_one_image(family, widths, gradients, threads):
    """torch's own backward refuses such a kernel when the flat weights give it odd strides."""
    threads(1)  # as the clients: torch chooses that backward then
    network = new_network(Architecture(family, widths, (2, 28, 28), 4), 0)
    network.gradients = gradients
    before = copy.deepcopy(network.state_dict())
    images, labels = torch.rand(3, 2, 28, 28), torch.tensor([0, 1, 2])
    fit(network, images, labels, epochs=1, batch_size=2, learning_rate=RATE, epsilon=EPSILON,
        precision="fp32", shuffle=np.random.default_rng(0))  # fmt: skip
    after = network.state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
    assert any(not torch.equal(after[name], before[name]) for name in before)


def test_a_state_has_the_shapes_that_the_server_expects():
    network = new_network(CNN, 0)
    weights = flatten(network)
    for name in ("SGD", "Adagrad", "Adafactor"):
        choice = {"name": name, **WITH.get(name, {})}
        optimizer = Chosen(choice, network, weights, RATE, EPSILON)
        optimizer.step()
        like = carried_like(choice, new_network(CNN, 1))
        assert {n: t.shape for n, t in optimizer.state().items()} == {
            n: t.shape for n, t in like.items()
        }


def test_an_optimizer_without_a_memory_has_nothing_to_carry():
    with pytest.raises(InputError, match="SGD with these arguments remembers nothing"):
        carried_like({"name": "SGD"}, new_network(CNN, 0))


SCHEDULES = {
    "CosineAnnealingLR": {"T_max": 10, "eta_min": 0.001},
    "StepLR": {"step_size": 3, "gamma": 0.5},
    "MultiStepLR": {"milestones": [2, 5]},
    "LinearLR": {"total_iters": 4},
    "ConstantLR": {},
    "ExponentialLR": {"gamma": 0.9},
    "PolynomialLR": {"total_iters": 20, "power": 2.0},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 12},
    "CyclicLR": {"base_lr": 0.001, "max_lr": 0.1, "step_size_up": 4},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_torchs_stepped_once_a_round(name):
    choice = {"name": name, **SCHEDULES[name]}
    assert read(Settings, TOLD | {"schedule": choice}).schedule == choice
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02, momentum=0.9)
    schedule = getattr(torch.optim.lr_scheduler, name)(optimizer, **SCHEDULES[name])
    wanted = []
    for _ in range(12):
        wanted.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(wanted) < 12:
            schedule.step()
    assert rates(json.dumps(choice), 0.02, 12) == tuple(wanted)
    assert len(set(wanted)) > 1


def test_cosine_by_its_formula():
    found = rates(json.dumps({"name": "CosineAnnealingLR", "T_max": 8}), 0.5, 8)
    wanted = [0.25 * (1 + math.cos(math.pi * t / 8)) for t in range(8)]
    assert found == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"optimizer": {"momentum": 0.9}}, "optimizer: key 'name' is missing"),
        ({"optimizer": {"name": "Sgd"}}, "unknown optimizer 'Sgd'; known are"),
        ({"optimizer": {"name": "Muon"}}, "optimizer Muon: takes matrices alone"),
        ({"optimizer": {"name": "LBFGS"}}, "optimizer LBFGS: evaluates each batch several times"),
        ({"optimizer": {"name": "SGD", "lr": 0.1}}, "SGD: lr cannot be given: it is training.lea"),
        ({"optimizer": {"name": "AdamW", "eps": 0.1}}, "eps cannot be given: it is training.eps"),
        ({"optimizer": {"name": "SGD", "momentun": 1}}, "did you mean 'momentum'?"),
        ({"optimizer": {"name": "SGD", "momentum": "x"}}, "momentum: found 'x', expected a number"),
        ({"optimizer": {"name": "SGD", "nesterov": 1}}, "nesterov: found 1, expected true or fal"),
        ({"optimizer": {"name": "SGD", "momentum": -1}}, "SGD: Invalid momentum value: -1"),
        ({"optimizer": {"name": "Adam", "betas": [0.9]}}, "betas: found [0.9], expected a list of"),
        ({"optimizer": {"name": "Adam", "betas": [0.9, 2]}}, "Adam: Invalid beta parameter"),
        (
            {"optimizer": {"name": "SGD", "momentum": math.nan}},
            "found nan, expected finite num",
        ),
        ({"optimizer": "SGD"}, "found 'SGD', expected a mapping or a list"),
        ({"schedule": {"name": "ReduceLROnPlateau"}}, "follows a metric"),
        ({"schedule": {"name": "LambdaLR"}}, "its arguments are functions"),
        ({"schedule": {"name": "StepLR"}}, "StepLR: argument 'step_size' is missing"),
        ({"schedule": {"name": "StepLR", "step_size": 2, "last_epoch": 1}}, "it is the round"),
        ({"schedule": {"name": "CosineLR"}}, "unknown schedule 'CosineLR'; known are"),
        ({"schedule": {"name": "OneCycleLR", "max_lr": 1.0}}, "OneCycleLR: You must define"),
        ({"proximal_mu": -1}, "proximal_mu: found -1, expected at least 0"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_that_says_why(given, words):
    with pytest.raises(WrongValue) as refused:
        read(Settings, TOLD | given)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_schedule_that_ends_too_early_is_refused_before_training(train, tmp_path):
    one_cycle = {"name": "OneCycleLR", "max_lr": 0.1, "total_steps": 3}
    done = train(tmp_path / "run", schedule=one_cycle)
    assert done.returncode == 1
    assert done.stderr.startswith("error: schedule: OneCycleLR: ends after round 4 of 5"), (
        done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_configuration_without_a_choice_loads_no_torch():
    code = """
import sys
from autoprune.core.options import read
from autoprune.federation.settings import Training
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


CHOSEN = {
    "fedprox": {"proximal_mu": 0.5},
    "carried": {
        "optimizer": {"name": "SGD", "momentum": 0.9},
        "optimizer_state": "carried",
        "schedule": {"name": "StepLR", "step_size": 2},
    },
}


@pytest.mark.parametrize("name", CHOSEN)
def test_whole_runs_give_the_same_bytes_with_workers_and_after_a_stop(
    name, train, tmp_path, contents, monkeypatch
):
    step = Run.round

    def stopping(self, server_round):
        if server_round == 4:
            raise Interrupted("SIGTERM")
        return step(self, server_round)

    words = ("autoprune", "inherit")
    for folder, more in (("one", {}), ("two", {"workers": 2})):
        done = train(tmp_path / folder, *words, **CHOSEN[name], **more)
        assert done.returncode == 0, done.stderr
    with monkeypatch.context() as patched:
        patched.setattr(Run, "round", stopping)
        assert "written after round 3" in train(tmp_path / "stopped", *words, **CHOSEN[name]).stderr
    done = train(tmp_path / "stopped", *words, **CHOSEN[name])
    assert "going on after round 3" in done.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "stopped")
    train(tmp_path / "plain", *words)
    assert contents(tmp_path / "plain")["history.csv"] != contents(tmp_path / "one")["history.csv"]


def test_a_state_that_a_client_makes_up_is_refused():
    """Of another network, not finite, or with squares below 0: the client is left out."""
    like = carried_like({"name": "RMSprop"}, new_network(CNN, 0))
    made_up = {n: t.clone() for n, t in like.items()}
    made_up["0/square_avg"][3] = -1
    for state, words in (
        (made_up, "squares below 0"),
        ({n: t + math.nan for n, t in like.items()}, "not finite"),
        ({n: t for n, t in like.items() if n != "0/step"}, "of another network"),
    ):
        with pytest.raises(Unusable, match=words):
            moments_of(RecordDict({OPTIMIZER: arrays(state)}), like)
    assert moments_of(RecordDict({OPTIMIZER: arrays(like)}), like).keys() == like.keys()
