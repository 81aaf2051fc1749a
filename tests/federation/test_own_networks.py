"""A network that a function makes, through whole runs: pruned, dropped out, followed, loaded."""

import json

import pytest
import torch

import autoprune
from autoprune.models import new_network
from autoprune.models.weights import load_weights
from autoprune.pruning.plan import Plan, replay

NETWORK = "torchvision:squeezenet1_1"  # has a dropout, concatenations, and no batch norm
OWN = {"model": "squeeze", "network": NETWORK, "widths": [], "rounds": 3, "batch_size": 16}


@pytest.fixture(scope="module")
def squeezed(train, tmp_path_factory):
    """A finished run that kept weights, with one worker."""
    folder = tmp_path_factory.mktemp("squeezed")
    done = train(folder, "autoprune", "inherit", **OWN)
    assert done.returncode == 0, done.stderr
    return folder


def test_two_workers_draw_the_same_dropouts(squeezed, train, tmp_path, contents):
    done = train(tmp_path / "run", "autoprune", "inherit", workers=2, **OWN)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "run") == contents(squeezed)


def test_the_run_says_which_network_and_is_loaded_in_one_line(squeezed):
    about = json.loads((squeezed / "run.json").read_text())
    assert about["model"] == "squeeze"
    assert about["settings"]["network"] == NETWORK
    assert about["versions"]["torchvision"]
    architecture, state, _ = load_weights(squeezed / "weights.safetensors")
    network = autoprune.load(squeezed)
    assert network(torch.zeros(2, *architecture.input_shape)).shape == (2, architecture.classes)
    assert sum(tensor.numel() for tensor in network.state_dict().values()) == sum(
        tensor.numel() for tensor in state.values()
    )


def test_its_plan_replays_to_its_shape(squeezed):
    plan = Plan.from_json(json.loads((squeezed / "plan.json").read_text()))
    assert len(plan.shrinks) == 2  # after each round but the last
    assert plan.base.family == NETWORK
    state = new_network(plan.base, plan.seed).state_dict()
    architecture, network = replay(plan, state)
    again, other = replay(plan, state)
    assert architecture == again
    assert architecture.widths == plan.shrinks[-1].widths
    assert all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))
    assert architecture == load_weights(squeezed / "weights.safetensors")[0]


@pytest.mark.long
@pytest.mark.parametrize(
    ("method", "variant"),
    [("found-widths", "inherit"), ("narrow", "inherit"), ("l1-uniform", "one-shot")],
)
def test_controls_follow_it_to_its_size(squeezed, train, tmp_path, method, variant):
    more = {"plan": squeezed / "plan.json"}
    if method == "l1-uniform":
        (tmp_path / "history.csv").write_text("round,validation_accuracy\n1,0.5\n2,0.5\n3,0.5\n")
        more |= {"dense": tmp_path / "history.csv", "prune-at": 0.9}
    done = train(tmp_path / "run", method, variant, **OWN, **more)
    assert done.returncode == 0, done.stderr
    found = load_weights(tmp_path / "run/weights.safetensors")[0]
    budget = json.loads((squeezed / "plan.json").read_text())["shrinks"][-1]["parameters"]
    total = sum(t.numel() for t in autoprune.load(tmp_path / "run").state_dict().values())
    assert 0.97 * budget < total <= budget
    assert found.family == NETWORK


def test_a_network_that_is_absent_ends_in_one_line(train, tmp_path):
    done = train(tmp_path / "run", **OWN | {"network": "nowhere:build"})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "network nowhere:build: the module cannot be imported" in done.stderr
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("*.json"))
