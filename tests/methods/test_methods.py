"""Each method on a network without training: what it keeps, when, and that it remembers."""

import itertools
import json

import pytest
import torch

from autoprune import methods
from autoprune.errors import InputError
from autoprune.federation.encoding import maskable
from autoprune.kept import survivors
from autoprune.models import Architecture, new_network
from autoprune.pruning.budget import cost, cost_in_bits
from autoprune.pruning.plan import Plan
from autoprune.pruning.search import advance
from autoprune.pruning.shrink import cut

CNN = Architecture("cnn", (12, 20), (1, 28, 28), 10)
RESNET = Architecture("resnet", (12, 14, 16), (3, 84, 84), 2)
SEARCH = {"k": 1.5, "patience": 3, "cap": 6}
OWN = {"interval": 2, "exchange": 0.3, "bits": 32}  # the defaults of the methods' flags
FOLLOWERS = [
    *((name, "one-shot") for name in ("l1-uniform", "fpgm", "taylor", "joint-int8")),
    *((name, "iterative") for name in ("l1-uniform", "fpgm", "taylor", "joint-int8")),
    *(("random-filters", "reinit"), ("narrow", "reinit"), ("found-widths", "reinit")),
    *(("fedmap", "global"), ("prunefl", "adaptive"), ("ssfl", "one-shot")),
]


def planned(folder, base):
    """The plan of a search without training, and its path."""
    plan, architecture = Plan(base, "reinit", 0, 1.5, 3, 6), base
    network = new_network(base, 0)
    for server_round in range(1, 10):
        architecture, network = advance(plan, server_round, architecture, network)
    path = folder / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    return plan, str(path)


def made(name, base, variant, **settings):
    return methods.load(name)(base, 0, variant, OWN | settings)


def answers(method, network, server_round):
    """What clients would answer: random, the same for the same round."""
    if "importance" not in method.ask(server_round):
        return {}
    stream = torch.Generator().manual_seed(server_round)
    if method.ask(server_round)["importance"] == "taylor":
        widths = [network.get_submodule(n).out_channels for n in network.prunable]
        return {
            n: torch.rand(w, generator=stream)
            for n, w in zip(network.prunable, widths, strict=True)
        }
    state = network.state_dict()
    return {n: torch.rand(state[n].shape, generator=stream) for n in maskable(state)}


def played(method, rounds=9):
    """The method through rounds without training, restored from JSON before each of them."""
    architecture = method.begin()
    network = new_network(architecture, 0)
    steps = []
    for server_round in range(1, rounds + 1):
        memory = json.loads(json.dumps(method.to_json()))
        method.restore(memory)
        assert json.loads(json.dumps(method.to_json())) == memory
        architecture, network = method.before_round(server_round, architecture, network)
        masks = method.masks()
        steps.append((architecture, masks and {n: m.clone() for n, m in masks.items()}, network))
        reply = answers(method, network, server_round)
        method.learn(server_round, architecture, network, reply)
    return steps


@pytest.mark.parametrize(("name", "variant"), FOLLOWERS)
@pytest.mark.parametrize("base", [CNN, RESNET], ids=["cnn", "resnet"])
def test_the_budget_is_met_and_nothing_changes_after_the_last_shrink(tmp_path, base, name, variant):
    plan, path = planned(tmp_path, base)
    budget, stop = plan.shrinks[-1].parameters, plan.shrinks[-1].round
    method = made(name, base, variant, plan=path)
    steps = played(method)
    architecture, masks, network = steps[-1]
    if masks is not None:
        state = network.state_dict()
        ones = sum(int(m.sum()) for m in masks.values())
        whole = sum(t.numel() for n, t in state.items() if n not in masks)
        assert ones + whole == budget
        assert all(bool((state[n][~mask] == 0).all()) for n, mask in masks.items())
        assert architecture == base
        for _, later, _ in steps[stop - 1 :]:
            assert all(torch.equal(later[n], masks[n]) for n in masks)
    elif name == "joint-int8":
        assert cost_in_bits(architecture) <= max(32 * budget, cost_in_bits(base))
        assert cost_in_bits(architecture) <= 32 * budget or architecture == base
    else:
        assert cost(architecture) <= budget
        assert {s[0] for s in steps[stop - 1 :]} == {architecture}
    if name in ("found-widths", "random-filters"):
        assert architecture.widths == plan.shrinks[-1].widths


@pytest.mark.parametrize("variant", ["one-shot", "iterative"])
def test_slimming_meets_the_budget_and_asks_until_it_is_applied(tmp_path, variant):
    plan, path = planned(tmp_path, RESNET)
    method = made("slimming", RESNET, variant, plan=path, norm_l1=1e-4)
    architecture, *_ = played(method)[-1]
    assert cost(architecture) <= plan.shrinks[-1].parameters
    stop = plan.shrinks[-1].round
    asked = [bool(method.ask(r)) for r in range(1, stop + 2)]
    assert asked == [True] * (stop - 1) + [False, False]
    with pytest.raises(InputError, match="has no batch norm"):
        made("slimming", CNN, variant, plan=planned(tmp_path, CNN)[1], norm_l1=1e-4)


def test_masks_never_grow_but_prunefls(tmp_path):
    _, path = planned(tmp_path, CNN)

    def grown(name, variant):
        masks = [m for _, m, _ in played(made(name, CNN, variant, plan=path)) if m]
        return any(
            bool((late[n] & ~early[n]).any())
            for early, late in itertools.pairwise(masks)
            for n in early
        )

    assert not grown("fedmap", "global")
    assert not grown("ssfl", "one-shot")
    assert grown("prunefl", "adaptive")


def test_random_filters_are_the_plans_number_and_not_its_choice(tmp_path):
    plan, path = planned(tmp_path, CNN)
    method = made("random-filters", CNN, "reinit", plan=path)
    widths = {a.widths for a, *_ in played(method)}
    assert widths == {CNN.widths, *(shrink.widths for shrink in plan.shrinks)}
    assert survivors(method.to_json()) != survivors(plan.to_json())


def search(variant, name="autoprune", seed=0, noise=0.0):
    """A search whose weights are shaken between rounds, as training would; its end."""
    method = methods.load(name)(CNN, seed, variant, SEARCH)
    architecture, network = CNN, new_network(CNN, seed)
    stream = torch.Generator().manual_seed(9)
    for server_round in range(1, 9):
        architecture, network = method.before_round(server_round, architecture, network)
        last = {n: t.clone() for n, t in network.state_dict().items()}
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(noise * torch.randn(parameter.shape, generator=stream))
    return method, architecture, network, last


def test_rewind_goes_back_to_the_first_weights():
    method, architecture, network, _ = search("rewind")
    kept = survivors(method.to_json())
    small, expected = cut(CNN, new_network(CNN, 0).state_dict(), tuple(kept))
    assert small == architecture != CNN
    for name, tensor in expected.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_reinit_once_inherits_and_then_starts_afresh():
    method, architecture, network, _ = search("reinit-once")
    twin, same, inherited, _ = search("inherit")
    assert method.to_json()["shrinks"] == twin.to_json()["shrinks"]
    assert architecture == same
    stopped = method.to_json()["stopped"]["round"]
    fresh = new_network(architecture, 0, "reinit", stopped).state_dict()
    assert all(torch.equal(fresh[n], t) for n, t in network.state_dict().items())
    assert not torch.equal(fresh["conv1.weight"], inherited.state_dict()["conv1.weight"])


def test_null_norms_do_not_look_at_what_was_learnt():
    """Shaken weights change the rule's choice, and never that of the null."""
    calm, shaken = (search("inherit", noise=n)[0].to_json()["shrinks"] for n in (0.0, 0.5))
    assert calm != shaken
    calm, shaken = (
        search("inherit", "null-norms", noise=n)[0].to_json()["shrinks"] for n in (0.0, 0.5)
    )
    assert calm == shaken


def test_the_null_of_each_variant_is_a_sample_of_its_own():
    fresh, kept = (search(variant, "null-norms")[0].to_json() for variant in ("reinit", "inherit"))
    assert fresh["shrinks"][0]["layers"] != kept["shrinks"][0]["layers"]


@pytest.mark.parametrize("base", [CNN, RESNET], ids=["cnn", "resnet"])
def test_int8_with_a_quarter_of_the_bits_prunes_to_that(tmp_path, base):
    """At 32 bits a parameter int8 alone may meet the budget; at 8 filters must go too."""
    plan, path = planned(tmp_path, base)
    budget = plan.shrinks[-1].parameters
    method = made("joint-int8", base, "iterative", plan=path, bits=8)
    widths = played(method)[-1][0].widths
    assert method.to_json()["shrinks"]
    assert cost_in_bits(base.with_widths(widths)) <= 8 * budget
    for layer, width in enumerate(widths):  # to the last filter
        wider = [*widths[:layer], width + 1, *widths[layer + 1 :]]
        assert cost_in_bits(base.with_widths(wider)) > 8 * budget


@pytest.mark.parametrize(
    ("name", "setting", "message"),
    [
        ("prunefl", {"exchange": 1.1}, r"exchange: found 1\.1, expected a share of 0 to 1"),
        ("joint-int8", {"bits": 0}, "bits: found 0, expected 1 to 32"),
    ],
)
def test_a_setting_out_of_range_is_one_line(tmp_path, name, setting, message):
    _, path = planned(tmp_path, CNN)
    with pytest.raises(InputError, match=message):
        made(name, CNN, methods.load(name).variants[-1], plan=path, **setting)


def test_a_plan_of_another_network_is_refused(tmp_path):
    _, path = planned(tmp_path, CNN)
    with pytest.raises(InputError, match=r"starts from cnn of widths \[12, 20\], this run from"):
        made("narrow", CNN.with_widths([12, 21]), "reinit", plan=path)


@pytest.mark.parametrize("name", methods.known())
def test_an_unknown_variant_is_one_line(tmp_path, name):
    if name in ("narrow", "found-widths", "random-filters"):
        return  # named after a variant of autoprune, which the config checks
    _, path = planned(tmp_path, RESNET)
    with pytest.raises(InputError, match="has no 'sometimes'; known are"):
        made(name, RESNET, "sometimes", plan=path, norm_l1=1e-4, **SEARCH)
