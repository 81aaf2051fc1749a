"""Which filters and weights a method keeps, by scores that each test computes in its own way."""

import base64

import pytest
import torch
from test_methods import CNN, OWN, RESNET, answers, drawn, last_of, made, planned

from autoprune.methods import prunefl
from autoprune.models import cost, new_network
from autoprune.models.state import maskable, pack_mask


def kernels(network):
    """The prunable convolutions' kernels, flat: (filter, weights)."""
    return [network.get_submodule(n).weight.detach().flatten(1).clone() for n in network.prunable]


def cuts_of(method, network, architecture):
    """(round, network and widths before it, filters kept by layer) of each cut of a run."""
    found = []
    for server_round in range(1, OWN["rounds"] + 1):
        old, widths, made_before = network, architecture.widths, len(method.cuts)
        architecture, network = method.before_round(server_round, architecture, network)
        if len(method.cuts) > made_before:
            kept = [layer["kept"] for layer in method.cuts[-1]["layers"]]
            found.append((server_round, old, widths, kept))
        method.learn(server_round, architecture, network, answers(method, network, server_round))
    return found


def by_l1(kernel):
    return [sum(abs(x) for x in one) for one in kernel.tolist()]


def by_distance(kernel):
    """How far a filter lies from all others: FPGM drops the nearest to their median."""
    return [sum(float((one - other).norm()) for other in kernel) for one in kernel]


@pytest.mark.parametrize("variant", ["one-shot", "iterative", "classical"])
@pytest.mark.parametrize(("name", "score"), [("l1-uniform", by_l1), ("fpgm", by_distance)])
def test_a_layer_keeps_the_filters_of_the_largest_scores(tmp_path, name, score, variant):
    plan, path = planned(tmp_path, CNN)
    method = made(name, CNN, variant, plan=path)
    found = cuts_of(method, new_network(CNN, 0), CNN)
    rounds = [server_round for server_round, *_ in found]
    assert rounds[0] == method.start
    assert rounds[-1] <= last_of(method, plan)
    assert len(rounds) > 1 if variant == "iterative" else len(rounds) == 1
    for _, network, widths, kept in found:
        assert any(len(k) < w for k, w in zip(kept, widths, strict=True))
        for kernel, stay in zip(kernels(network), kept, strict=True):
            scores = score(kernel)
            order = sorted(range(len(scores)), key=lambda n: -scores[n])
            assert set(stay) == set(order[: len(stay)])


def test_slimming_keeps_the_largest_scales_whatever_their_sign(tmp_path):
    """Scales are set by hand, of both signs, so that the smallest of all layers are known."""
    _, path = planned(tmp_path, RESNET)
    network, stream = new_network(RESNET, 0), torch.Generator().manual_seed(1)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        torch.nn.init.normal_(norm.weight, generator=stream)
    scales = []
    for width in RESNET.widths:  # all differ
        own = [norm.weight.tolist() for norm in norms if norm.num_features == width]
        scales.append([sum(map(abs, filters)) / len(own) for filters in zip(*own, strict=True)])
    method = made("slimming", RESNET, "one-shot", plan=path)
    ((_, _, _, kept),) = cuts_of(method, network, RESNET)
    assert_global(scales, kept)


def test_slimming_does_not_count_the_norms_that_share_a_filter(tmp_path):
    """All but one filter of the stem have 0.5 in each of five norms, all others 0.6 in one."""
    _, path = planned(tmp_path, RESNET)
    network = new_network(RESNET, 0)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            coupled = module.num_features == RESNET.widths[0]
            torch.nn.init.constant_(module.weight, 0.5 if coupled else 0.6)
            module.weight.data[0] = -0.7
    method = made("slimming", RESNET, "one-shot", plan=path)
    first, *others = RESNET.widths
    kept = method.choose(RESNET, network, cost(RESNET.with_widths((first - 3, *others))))
    assert kept == ((0, *range(4, first)), *(tuple(range(width)) for width in others))


def assert_global(scores, kept):
    """No filter went that scores above one that stayed, but for the last one of a layer."""
    gone = [s for own, k in zip(scores, kept, strict=True) for n, s in enumerate(own) if n not in k]
    assert gone
    for own, stay in zip(scores, kept, strict=True):
        assert max(own) in [own[n] for n in stay]
        if len(stay) > 1:
            assert min(own[n] for n in stay) >= max(gone)


def test_taylor_keeps_what_the_clients_call_important(tmp_path):
    _, path = planned(tmp_path, CNN)
    method = made("taylor", CNN, "one-shot", plan=path)
    asked = method.start - 1
    network = new_network(CNN, 0)
    told = answers(method, network, asked)
    cuts_of(method, network, CNN)
    (decided,) = method.cuts
    assert decided["round"] == asked + 1
    kept = [layer["kept"] for layer in decided["layers"]]
    assert_global([told[name].tolist() for name in network.prunable], kept)


def assert_largest(masks, scores):
    """The weights that are held score above all that are not."""
    held = torch.cat([scores[name][mask] for name, mask in masks.items()])
    gone = torch.cat([scores[name][~mask] for name, mask in masks.items()])
    assert len(gone) > 0
    assert held.min() >= gone.max()


@pytest.mark.parametrize(
    ("name", "variant"), [("fedmap", "global"), ("prunefl", "adaptive"), ("ssfl", "one-shot")]
)
def test_the_first_mask_holds_the_largest(tmp_path, name, variant):
    """Of magnitudes, of either sign, or of the sensitivities that clients sent."""
    _, path = planned(tmp_path, CNN)
    method, network = made(name, CNN, variant, plan=path), new_network(CNN, 0)
    begin = 1 if name == "ssfl" else method.start
    state = {n: t.clone() for n, t in network.state_dict().items()}
    method.learn(begin - 1, CNN, network, answers(method, network, begin - 1))
    kind = method.ask_all(begin)
    told = drawn(kind, network, begin) if kind else {}
    if told:
        method.learn_of_all(begin, told)
    method.before_round(begin, CNN, network)
    scores = told or {n: state[n].abs() for n in maskable(state)}
    assert_largest(method.masks(), scores)


def test_prunefl_lets_the_smaller_weights_compete(tmp_path):
    """By hand, a layer of ten weights in use: the seven largest stay, three compete."""
    _, path = planned(tmp_path, CNN)
    method, network = made("prunefl", CNN, "adaptive", plan=path), new_network(CNN, 0)
    method.learn(method.start - 1, CNN, network, {})
    name = "conv1.weight"
    masks = {n: torch.zeros_like(mask) for n, mask in method.masks().items()}
    others = int(sum(mask.sum() for mask in method.masks().values())) - 10
    masks["conv2.weight"].flatten()[:others] = True  # a view: as many in use as before
    masks[name].flatten()[:10] = True
    method.restore({**method.to_json(), "mask": packed(masks)})
    state = network.state_dict()
    state[name].flatten()[:10] = torch.tensor([9, -8, 7, 6, 5, -4, 3, 0.3, -0.2, 0.1])
    told = {n: torch.zeros(mask.shape) for n, mask in masks.items()}
    # the second layer's are no worse than anything: none of its place is free
    told["conv2.weight"].flatten()[:others] = 1.0
    told[name].flatten()[[7, 9, 20, 30, 40]] = torch.tensor([0.5, 0.01, 0.9, 0.7, 0.2])
    adapted = next(r for r in range(2, OWN["rounds"]) if method.ask(r))
    method.learn(adapted, CNN, network, told)
    kept = method.masks()[name].flatten().nonzero().flatten().tolist()
    # gradients of the seven are 0; of the rest 0.9, 0.7 and 0.5 are the largest
    assert kept == [0, 1, 2, 3, 4, 5, 6, 7, 20, 30]


def packed(masks):
    """Masks as plan.json holds them."""
    bits = pack_mask(masks)
    text = base64.b64encode(bits.numpy().tobytes()).decode()
    return {"as": str(bits.dtype).removeprefix("torch."), "base64": text}


def test_prunefl_without_exchange_keeps_its_first_mask(tmp_path, monkeypatch):
    """And with all exchanged the largest squared gradients alone decide."""
    monkeypatch.setattr(prunefl, "HALF_LIFE", float("inf"))
    _, path = planned(tmp_path, CNN)
    for exchange in (0.0, 1.0):
        method = made("prunefl", CNN, "adaptive", plan=path, exchange=exchange)
        network, adapted = new_network(CNN, 0), 0
        for server_round in range(1, OWN["rounds"]):
            before = method.masks()
            method.before_round(server_round, CNN, network)
            told = answers(method, network, server_round)
            method.learn(server_round, CNN, network, told)
            if told:
                adapted += 1
                if exchange:
                    assert_largest(method.masks(), told)
                else:
                    assert all(torch.equal(m, before[n]) for n, m in method.masks().items())
        assert adapted > 0


def test_prunefls_share_halves_in_its_half_life(tmp_path, monkeypatch):
    """All compete in round 0; one half-life on, the larger half of a layer's weights stays."""
    _, path = planned(tmp_path, CNN)
    method, network = made("prunefl", CNN, "adaptive", plan=path, exchange=1.0), new_network(CNN, 0)
    method.learn(method.start - 1, CNN, network, {})
    before = method.masks()["conv1.weight"]
    adapted = next(r for r in range(2, OWN["rounds"]) if method.ask(r))
    monkeypatch.setattr(prunefl, "HALF_LIFE", adapted)
    told = {name: torch.full(mask.shape, 0.5) for name, mask in method.masks().items()}
    told["conv1.weight"] *= 0  # so that only those stay that need not compete
    method.learn(adapted, CNN, network, told)
    assert int(method.masks()["conv1.weight"].sum()) == int(before.sum()) - int(before.sum()) // 2


def test_fedmap_lets_no_weight_back_that_a_client_moved(tmp_path):
    """Masked places are given the largest values of all before each round."""
    _, path = planned(tmp_path, CNN)
    method, network = made("fedmap", CNN, "global", plan=path), new_network(CNN, 0)
    before = None
    for server_round in range(1, OWN["rounds"]):
        state = network.state_dict()
        for name, mask in (method.masks() or {}).items():
            state[name][~mask] = 99.0
        network.load_state_dict(state)
        _, network = method.before_round(server_round, CNN, network)
        masks = method.masks()
        if before:
            assert not any(bool((masks[name] & ~before[name]).any()) for name in masks)
        before = masks and {name: mask.clone() for name, mask in masks.items()}
    assert before


def test_random_filters_keep_their_weights(tmp_path):
    """The first layer's kernels are those of the filters that the record names."""
    plan, path = planned(tmp_path, CNN)
    method, network = made("random-filters", CNN, "reinit", plan=path), new_network(CNN, 0)
    architecture, whole = CNN, kernels(network)[0]
    for server_round in range(1, 10):
        architecture, network = method.before_round(server_round, architecture, network)
    left = list(range(CNN.widths[0]))
    for each in method.cuts:
        left = [left[n] for n in each["layers"][0]["kept"]]
    assert len(left) == plan.shrinks[-1].widths[0] < CNN.widths[0]
    assert torch.equal(kernels(network)[0], whole[left])
