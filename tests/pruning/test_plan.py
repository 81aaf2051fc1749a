"""The search and its plan: when it stops, and that a replay repeats it bit for bit."""

import json
import subprocess
import sys

import pytest
import torch

from autoprune.errors import InputError
from autoprune.models import Architecture, new_network
from autoprune.pruning.plan import Plan, replay
from autoprune.pruning.search import advance, searching
from autoprune.weights import load_weights, save_weights

NETWORKS = [
    Architecture("cnn", (20, 24), (1, 28, 28), 10),
    Architecture("resnet", (16, 20, 18), (3, 84, 84), 2),
    Architecture("inception", (12, 8, 9, 10, 11, 12, 9, 14, 16), (1, 28, 28), 10),
]


def searched(architecture, variant, *, k=1.5, patience=3, cap=8, rounds=12, seed=7):
    """A search with no training between the rounds, so that a replay must meet its end."""
    plan = Plan(architecture, variant, seed, k, patience, cap)
    network = new_network(architecture, seed)
    base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for server_round in range(1, rounds + 1):
        architecture, network = advance(plan, server_round, architecture, network)
    return plan, base, architecture, network


@pytest.mark.parametrize("variant", ["reinit", "inherit"])
@pytest.mark.parametrize("architecture", NETWORKS, ids=str)
def test_replay_is_bit_exact(architecture, variant):
    plan, base, small, network = searched(architecture, variant)
    assert small.widths != architecture.widths
    again = Plan.from_json(json.loads(json.dumps(plan.to_json())))
    found, replayed = replay(again, base)
    assert found == small
    for name, tensor in network.state_dict().items():
        assert torch.equal(replayed.state_dict()[name], tensor), name


def test_nothing_is_cut_in_the_first_round_nor_after_the_search():
    plan, *_ = searched(NETWORKS[0], "inherit", cap=4)
    assert plan.shrinks[0].round == 2
    assert plan.stopped == {"round": 4, "reason": "cap"}
    assert not searching(plan, 5)


def test_patience_counts_rounds_in_which_the_total_did_not_fall():
    """Layers of 5 filters cannot lose one at k = 2, so the rounds 2, 3, 4 stall."""
    architecture = Architecture("cnn", (5, 5), (1, 28, 28), 10)
    plan, _, small, _ = searched(architecture, "reinit", k=2.0, cap=50)
    assert small == architecture
    assert plan.stopped == {"round": 4, "reason": "patience"}
    assert len(plan.shrinks) == 3


def test_a_fall_starts_the_patience_anew():
    architecture = Architecture("cnn", (20, 24), (1, 28, 28), 10)
    plan, *_ = searched(architecture, "inherit", k=1.5, cap=100, rounds=60)
    parameters = [shrink.parameters for shrink in plan.shrinks]
    assert plan.stopped["reason"] == "patience"
    assert len(set(parameters[-4:])) == 1
    assert parameters[-5] > parameters[-4]
    assert parameters == sorted(parameters, reverse=True)


def test_reinit_draws_other_weights_each_round_and_drops_the_trained():
    architecture = Architecture("cnn", (5, 5), (1, 28, 28), 10)
    plan = Plan(architecture, "reinit", 0, 2.0, 3, 50)
    first = new_network(architecture, 0)
    _, second = advance(plan, 2, architecture, first)
    _, third = advance(plan, 3, architecture, second)
    weights = [n.state_dict()["conv1.weight"] for n in (first, second, third)]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_the_plan_holds_the_statistics_of_each_layer():
    plan, base, *_ = searched(NETWORKS[0], "inherit")
    layer = plan.shrinks[0].layers[0]
    norms = base["conv1.weight"].double().abs().sum((1, 2, 3))
    assert layer["layer"] == "conv1"
    assert layer["mean"] == pytest.approx(float(norms.mean()))
    assert layer["std"] == pytest.approx(float(norms.std(correction=0)))
    assert layer["lower"] == pytest.approx(layer["mean"] - 1.5 * layer["std"])
    inside = (norms >= layer["lower"]) & (norms <= layer["upper"])
    assert layer["kept"] == inside.nonzero().flatten().tolist()
    assert layer["scores"] == pytest.approx(norms.tolist())


def test_an_edited_plan_is_refused():
    plan, base, *_ = searched(NETWORKS[0], "inherit")
    value = plan.to_json()
    value["shrinks"][0]["layers"][0]["kept"].pop()
    with pytest.raises(InputError, match="edited or cut short"):
        replay(Plan.from_json(value), base)
    with pytest.raises(InputError, match="schema_version"):
        Plan.from_json({**plan.to_json(), "schema_version": 0})
    value.pop("cap")
    with pytest.raises(InputError, match="'cap' is missing"):
        Plan.from_json(value)


def test_the_command_replays(tmp_path):
    plan, base, small, network = searched(NETWORKS[1], "inherit")
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    save_weights(tmp_path / "base.safetensors", plan.base, base)
    command = [sys.executable, "-m", "autoprune.pruning", "--plan", str(tmp_path / "plan.json")]
    command += ["--output", str(tmp_path / "small.safetensors"), "--weights"]
    done = subprocess.run(
        [*command, str(tmp_path / "base.safetensors")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found, state, _ = load_weights(tmp_path / "small.safetensors")
    assert found == small
    assert all(torch.equal(state[n], t) for n, t in network.state_dict().items())

    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "base.safetensors").read_bytes()[:999])
    done = subprocess.run(
        [*command, str(tmp_path / "cut.safetensors")], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "not a whole safetensors file" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
