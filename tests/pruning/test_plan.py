"""The search and its plan: when it stops, and that a replay repeats it bit for bit."""

import json
import subprocess
import sys

import pytest
import torch

from autoprune.core.errors import InputError
from autoprune.methods._following import Reference
from autoprune.models import Architecture, cost, new_network
from autoprune.models.weights import load_weights, save_weights
from autoprune.pruning.options import WEIGHTS
from autoprune.pruning.plan import Plan, replay
from autoprune.pruning.record import read_plan
from autoprune.pruning.search import advance, began_anew, falls, searching

NETWORKS = [
    Architecture("cnn", (20, 24), (1, 28, 28), 10),
    Architecture("resnet", (16, 20, 18), (3, 84, 84), 2),
    Architecture("inception", (12, 8, 9, 10, 11, 12, 9, 14, 16), (1, 28, 28), 10),
    Architecture("cnn1d", (14, 12, 16), (1, 10, 16), 10),
    Architecture("conformer", (14, 12, 9, 15, 16), (1, 10, 16), 10),
]


def searched(architecture, variant, *, k=1.5, patience=3, cap=8, rounds=12, seed=7):
    """A search with no training between the rounds, so that a replay must meet its end."""
    plan = Plan(architecture, variant, seed, k, patience, cap)
    network = new_network(architecture, seed)
    base = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for server_round in range(1, rounds + 1):
        architecture, network = advance(plan, server_round, architecture, network)
    return plan, base, architecture, network


@pytest.mark.parametrize("variant", WEIGHTS)
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
    assert plan.stopped == {"round": 5, "reason": "cap"}
    assert not searching(plan, 6)


@pytest.mark.parametrize("variant", WEIGHTS)
def test_a_cap_of_50_is_50_applications(variant):
    """The authors apply the rule at the start of their rounds 1 to 50, the first being 0."""
    plan, *_ = searched(NETWORKS[0], variant, k=1.5, patience=1000, cap=50, rounds=80)
    assert [shrink.round for shrink in plan.shrinks] == list(range(2, 52))
    assert plan.stopped == {"round": 51, "reason": "cap"}


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


def applied(variant, *, sizes=(20, 24), k=1.5, patience=3, cap=50, rounds=12, learnt=None):
    """The weights before and after every application, ``learnt`` applied to them in between."""
    architecture = Architecture("cnn", sizes, (1, 28, 28), 10)
    plan = Plan(architecture, variant, 7, k, patience, cap)
    network, seen = new_network(architecture, 7), []
    for server_round in range(1, rounds + 1):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        smaller, network = advance(plan, server_round, architecture, network)
        fell, architecture = smaller != architecture, smaller
        after = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        seen.append((server_round, fell, before, after))
        for tensor in network.parameters() if learnt else ():
            tensor.data.mul_(learnt)
    return plan, seen


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("variant", WEIGHTS)
def test_where_nothing_goes_the_trained_network_goes_on(variant):
    """A hand-made search in which no layer can lose a filter: every byte stays, all rounds."""
    plan, seen = applied(variant, sizes=(5, 5), k=2.0, learnt=1.5, patience=100, cap=9)
    assert len(plan.shrinks) == 9
    for server_round, fell, before, after in seen:
        assert not fell
        ended = plan.stopped["round"] == server_round and variant.endswith("-once")
        assert same(before, after) != ended
        assert began_anew(plan, server_round) == ended


@pytest.mark.parametrize("variant", ["reinit", "rewind"])
def test_weights_are_set_anew_exactly_where_the_network_shrinks(variant):
    """The last three applications of a search that ends by patience keep what was learnt."""
    plan, seen = applied(variant, rounds=40, learnt=1.01)
    assert plan.stopped["reason"] == "patience"
    assert any(fell for _, fell, *_ in seen)
    for server_round, fell, before, after in seen:
        assert began_anew(plan, server_round) == fell
        if not fell:
            assert same(before, after)
    last = plan.stopped["round"]
    assert [fell for server_round, fell, *_ in seen if last - 2 <= server_round <= last] == 3 * [
        False
    ]


def test_rewound_filters_have_their_first_weights():
    """Of the once-variant when the search stops, of the other at every shrink."""
    for variant in ("rewind", "rewind-once"):
        plan, seen = applied(variant, rounds=40, learnt=1.01)
        anew = [after for n, _, _, after in seen if began_anew(plan, n)]
        first = new_network(plan.base, plan.seed).state_dict()["conv1.weight"]
        known = {tuple(kernel.flatten().tolist()) for kernel in first}
        for state in anew:
            assert {tuple(k.flatten().tolist()) for k in state["conv1.weight"]} <= known
        assert len(anew) == (1 if variant == "rewind-once" else len(falls(plan)))


def test_reinit_draws_other_weights_at_each_shrink():
    _, seen = applied("reinit", rounds=6)
    drawn = [after["conv1.weight"].flatten()[:25] for _, fell, _, after in seen if fell]
    assert len(drawn) > 1
    assert not torch.equal(drawn[0], drawn[1])


def test_a_kept_null_decides_again_on_the_network_that_nothing_went_from():
    """So a search ends at the third application after the first in which nothing goes."""
    for seed in range(5):
        base = Architecture("cnn", (20, 24), (1, 28, 28), 10)
        plan = Plan(base, "reinit", seed, 1.5, 3, 50, norms="null-kept")
        architecture, network = base, new_network(base, seed)
        for server_round in range(1, 53):
            architecture, network = advance(plan, server_round, architecture, network)
        assert plan.stopped["reason"] == "patience"
        assert falls(plan) == [shrink.round for shrink in plan.shrinks][:-3]


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
    plan, *_ = searched(NETWORKS[0], "inherit")
    with pytest.raises(InputError, match="schema_version"):
        Plan.from_json({**plan.to_json(), "schema_version": 0})
    value = plan.to_json()
    value.pop("cap")
    with pytest.raises(InputError, match="'cap' is missing"):
        Plan.from_json(value)


def kept(plan):
    return plan["shrinks"][1]["layers"][0]["kept"]


def layer(plan):
    return plan["shrinks"][-1]["layers"][1]


def another_filter(plan):
    """One filter in the place of one that the rule kept: as many as before."""
    of = layer(plan)
    gone = min(set(range(len(of["scores"]))) - set(of["kept"]))
    of["kept"] = sorted([*of["kept"][1:], gone])


BY_THE_RULE = {  # which takes a network: to count, and to know which filters are coupled
    "another size": (lambda plan: plan["shrinks"][1].update(parameters=9), "says 9 parameters"),
    "a wide base": (
        lambda plan: plan["base"].update(widths=[10**9, 24]),
        "make it narrower|scores",
    ),
    "another filter": (another_filter, r"round \d, layer 2: kept .* its scores keep"),
    "another bound": (lambda plan: layer(plan).update(lower=0.5), r"round \d, layer 2: says lower"),
    "another k": (lambda plan: plan.update(k=1.25), "round 2, layer 1: .*its scores"),
    "no k": (lambda plan: plan.update(k="much"), "k: found 'much', expected a number"),
    "another score": (
        lambda plan: layer(plan)["scores"].__setitem__(layer(plan)["kept"][0], 1e6),
        r"round \d, layer 2: kept .* its scores keep",
    ),
    "no scores": (lambda plan: layer(plan).pop("scores"), r"round \d: no scores of all"),
    "scores of text": (lambda plan: layer(plan)["scores"].__setitem__(0, "a"), "no scores of all"),
    "no mean": (lambda plan: layer(plan).pop("mean"), r"round \d, layer 2: says mean None"),
}
EDITS = {
    **BY_THE_RULE,
    "one filter fewer": (lambda plan: kept(plan).pop(), "its kept filters give"),
    "one twice": (lambda plan: kept(plan).insert(1, kept(plan)[0]), "each once"),
    "another order": (lambda plan: kept(plan).reverse(), "expected ascending numbers"),
    "one that is not there": (lambda plan: kept(plan).append(20), r"some of filters 0\.\."),
    "one below all": (lambda plan: kept(plan).insert(0, -1), r"some of filters 0\.\."),
    "text": (lambda plan: kept(plan).__setitem__(0, "0"), r"some of filters 0\.\."),
    "none": (lambda plan: kept(plan).clear(), r"some of filters 0\.\."),
    "a layer fewer": (lambda plan: plan["shrinks"][1]["layers"].pop(), "1 layers, the network 2"),
    "a round twice": (lambda plan: plan["shrinks"][1].update(round=2), "2 is not after round 2"),
    "no round": (lambda plan: plan["shrinks"][1].pop("round"), "not a pruning plan"),
    "a cut fewer": (lambda plan: plan["shrinks"].pop(0), "scores of|some of filters"),
    "cuts of nothing": (lambda plan: plan.update(shrinks=[7]), "not a pruning plan"),
    "other widths": (lambda plan: plan["shrinks"][1].update(widths=[1, 1]), "says widths"),
    "scores cut": (lambda plan: plan["shrinks"][1]["layers"][0]["scores"].pop(), "scores of"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_plan_that_contradicts_itself_is_refused_by_name(tmp_path, edit):
    """What others follow, count and show: each reader says the file, the round and the layer."""
    change, words = EDITS[edit]
    plan = json.loads(json.dumps(searched(NETWORKS[0], "inherit")[0].to_json()))
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    assert Reference.read(str(path), NETWORKS[0]).budget == plan["shrinks"][-1]["parameters"]
    change(plan)
    path.write_text(json.dumps(plan))
    with pytest.raises(InputError, match=words) as caught:
        Reference.read(str(path), NETWORKS[0])
    assert str(caught.value).startswith(f"{path}: ")
    if edit not in BY_THE_RULE:
        with pytest.raises(InputError, match=words):
            read_plan(path)


def test_of_coupled_filters_the_number_is_the_rules(tmp_path):
    """Which of them stay goes by sums that are in no plan."""
    plan = json.loads(json.dumps(searched(NETWORKS[1], "inherit")[0].to_json()))
    coupled = plan["shrinks"][-1]["layers"][0]
    assert len(new_network(NETWORKS[1], 0).group(0)) > 1
    coupled["kept"] = list(range(len(coupled["kept"])))
    Plan.from_json(plan)
    coupled["kept"].pop()
    plan["shrinks"][-1]["widths"][0] -= 1
    small = NETWORKS[1].with_widths(plan["shrinks"][-1]["widths"])
    plan["shrinks"][-1]["parameters"] = cost(small)
    with pytest.raises(InputError, match=r"layer 1: kept .*, its scores keep \d+ of them"):
        Plan.from_json(plan)


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
