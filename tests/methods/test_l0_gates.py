"""Gates: their schedule, what they learn at a client, and which filters they leave."""

import json

import numpy as np
import pytest
import torch
from test_importance import batch
from test_methods import CNN, OWN, RESNET, made, planned

from autoprune.core.errors import InputError
from autoprune.federation.training import train
from autoprune.models import Architecture, cost, new_network
from autoprune.models.attached import attach, folded
from autoprune.pruning.shrink import cut

CNN1D = Architecture("cnn1d", (6, 7, 8), (1, 12, 16), 5)
START, GATED = 9, 8  # of 24 rounds 16 are left at the start, of which half train gates


def begun(tmp_path, base=CNN, **settings):
    """The method in its first round with gates, and that round's network."""
    plan, path = planned(tmp_path, base)
    method = made("l0-gates", base, "joint", plan=path, **settings)
    architecture, network = method.before_round(method.start, base, new_network(base, 0))
    return method, architecture, network, plan


def test_the_target_falls_to_the_budget_and_stays(tmp_path):
    method, _, _, plan = begun(tmp_path)
    assert (method.start, method.span) == (START, GATED + 1)
    budget = plan.shrinks[-1].parameters / cost(CNN)
    targets = [method.ask(r)["gates-target"] for r in range(START, START + GATED)]
    fall = (1 - budget) / 4  # a half of the rounds is warm-up
    assert targets == pytest.approx([1 - fall * n for n in (1, 2, 3)] + [budget] * 5)
    assert method.ask(START - 1) == method.ask(START + GATED) == {}
    assert method.teacher(START - 1) == method.teacher(START + GATED) == {}
    assert [r for r in range(1, 25) if method.gating(r)] == list(range(START, START + GATED))


def test_multipliers_rise_with_what_is_too_large_and_fall_with_what_is_too_small(tmp_path):
    method, architecture, network, _ = begun(tmp_path, multiplier_rate=5.0)
    server_round = START + GATED - 1
    target = method.target(server_round)
    for log_alpha, expected in ((30.0, 1.0), (-30.0, None)):
        before = method.multipliers
        with torch.no_grad():
            for gate in network.attached.gates:
                gate.fill_(log_alpha / 100)
        method.learn(server_round, architecture, network, {})
        noted = method.to_json()["gates"][-1]
        if expected:
            assert noted["expected"] == pytest.approx(expected)
            assert (noted["open"], noted["closed"]) == (sum(CNN.widths), 0)
        else:
            assert noted["expected"] < target
            assert (noted["open"], noted["closed"]) == (0, sum(CNN.widths))
        excess = noted["expected"] - target
        gained = [now - then for now, then in zip(method.multipliers, before, strict=True)]
        assert gained == pytest.approx([5 * excess, 5 * excess**2])
        assert method.ask(server_round)["gates-linear"] == method.multipliers[0]


@pytest.mark.parametrize("base", [CNN, RESNET, CNN1D], ids=lambda base: base.family)
def test_the_highest_gates_stay_with_their_value_in_the_weights(tmp_path, base):
    method, architecture, network, plan = begun(tmp_path, base)
    budget = plan.shrinks[-1].parameters
    stream = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for gate in network.attached.gates:
            gate.copy_(torch.randn(gate.shape, generator=stream) / 50)
    gates = [gate.tolist() for gate in network.attached.gates]
    assert json.loads(json.dumps(method.to_json())) == method.to_json()
    smaller, left = method.before_round(START + GATED, architecture, network)
    (made_cut,) = method.to_json()["shrinks"]
    kept = [layer["kept"] for layer in made_cut["layers"]]
    assert cost(smaller) <= budget
    assert not smaller.attached
    gone = sorted(
        g for own, k in zip(gates, kept, strict=True) for n, g in enumerate(own) if n not in k
    )
    for own, stay in zip(gates, kept, strict=True):
        assert max(own) in [own[n] for n in stay]
        assert len(stay) == 1 or min(own[n] for n in stay) >= gone[-1]
    # with the best of those that went it would not have fitted
    number = next(n for n, own in enumerate(gates) if gone[-1] in own)
    wider = [len(k) + (n == number) for n, k in enumerate(kept)]
    assert cost(base.with_widths(wider)) > budget
    whole, plain = folded(architecture, network)
    assert whole == base
    _, right = cut(base, plain.state_dict(), tuple(map(tuple, kept)))
    assert all(map(torch.equal, right.state_dict().values(), left.state_dict().values()))


def test_a_reference_that_removed_nothing_has_no_gates(tmp_path):
    plan, path = planned(tmp_path, CNN)
    (tmp_path / "plan.json").write_text(json.dumps({**plan.to_json(), "shrinks": []}))
    method, network = made("l0-gates", CNN, "joint", plan=path), new_network(CNN, 0)
    for server_round in range(1, OWN["rounds"] + 1):
        assert method.before_round(server_round, CNN, network) == (CNN, network)
        assert method.ask(server_round) == {}


@pytest.mark.parametrize("rounds", [2, 3, 24])
def test_there_is_always_a_round_for_gates_and_one_for_what_they_leave(tmp_path, rounds):
    _, path = planned(tmp_path, CNN)
    method = made("l0-gates", CNN, "joint", plan=path, rounds=rounds)
    gated = [r for r in range(1, rounds + 1) if method.gating(r)]
    assert gated
    assert gated[-1] + 1 == method.start + method.span - 1 <= rounds


def test_one_round_is_too_few(tmp_path):
    _, path = planned(tmp_path, CNN)
    with pytest.raises(InputError, match="l0-gates: found rounds 1, expected at least 2"):
        made("l0-gates", CNN, "joint", plan=path, rounds=1)


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_gate_has_its_own_rate_with_each_optimizer(tmp_path, name):
    """100 times the learning rate; SGD's step is that times the slope, Adam's first is that."""
    _, _, network, _ = begun(tmp_path, optimizer={"name": name})
    gates = network.attached
    before = gates.log_alpha().detach()
    gates.expected().backward()
    slope = torch.cat([gate.grad for gate in gates.gates]) / gates.rate
    getattr(torch.optim, name)(gates.parameters(), lr=0.001).step()
    step = slope if name == "SGD" else slope.sign()
    torch.testing.assert_close(
        gates.log_alpha().detach() - before, -0.1 * step, rtol=1e-2, atol=1e-5
    )


def trained(base, ask, teacher=None, epochs=40):
    """Gates after training a little at a client, and its loss."""
    _, network = attach(base, new_network(base, 0), "gates")
    network.attached.open(rate=100.0, closed=0.1)
    told = {"target": 1.0, "linear": 0.0, "squared": 0.0, "distil": 0.0} | ask
    network.attached.begin({f"gates-{name}": value for name, value in told.items()}, teacher)
    torch.manual_seed(0)
    loss = train(
        network, *batch(base.input_shape, base.classes), epochs=epochs, batch_size=6,
        learning_rate=0.001, epsilon=1e-7, precision="fp32", shuffle=np.random.default_rng(0),
    )  # fmt: skip
    return network, loss


@pytest.mark.parametrize("base", [CNN, CNN1D, RESNET], ids=lambda base: base.family)
def test_a_client_closes_gates_until_the_target_is_met(base):
    """With a heavy squared distance the expected size ends at the target, from above and below."""

    def size(network):
        with torch.no_grad():
            return float(network.attached.expected())

    free = size(trained(base, {})[0])
    for target in (0.3, 0.7):
        network, _ = trained(base, {"target": target, "squared": 1000.0})
        assert size(network) == pytest.approx(target, abs=0.1)
    assert free > 0.75
    assert size(trained(base, {"linear": 50.0})[0]) < 0.1


def test_the_dense_network_holds_the_outputs_of_layers():
    """Its own twin with open gates is no distance away; one that is taught stays nearer."""
    base, (images, _) = CNN1D, batch(CNN1D.input_shape, CNN1D.classes)
    teacher = new_network(base, 0)
    _, network = attach(base, new_network(base, 0), "gates")
    network.attached.open(rate=1.0, closed=1e-9)
    network.attached.begin(
        {"gates-target": 1.0, "gates-linear": 0.0, "gates-squared": 0.0, "gates-distil": 1.0},
        teacher,
    )
    network.train()
    with torch.no_grad():
        assert float(network.attached.penalty(images, network(images))) == pytest.approx(
            0, abs=1e-6
        )
        network.weight("conv2").mul_(-1)
        # of three layers one is the opposite, (2x)² / x² = 4; what is behind it differs too
        assert float(network.attached.penalty(images, network(images))) > 4 / 3

    def moved(ask, of):
        state, before = trained(base, ask, of)[0].state_dict(), new_network(base, 0).state_dict()
        return sum(float((state[n] - t).square().sum()) for n, t in before.items())

    before = {n: t.clone() for n, t in teacher.state_dict().items() if n.endswith("weight")}
    assert moved({"distil": 100.0}, teacher) < moved({}, None)
    assert all(torch.equal(teacher.state_dict()[n], t) for n, t in before.items())
