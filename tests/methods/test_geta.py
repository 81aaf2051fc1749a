"""GETA's stages, what is forgotten and cut, and the ranking, without training."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_methods import CNN, RESNET, made, planned

from autoprune.core.errors import InputError
from autoprune.methods._stages import stages
from autoprune.methods.geta import forget, ranked
from autoprune.models import build, cost, new_network
from autoprune.models.attached import attach, folded
from autoprune.models.quantised import bits, grids
from autoprune.models.quantiser import largest
from autoprune.pruning.record import check_cuts
from autoprune.pruning.shrink import cut

ROUNDS = 24


def played(method, rounds=ROUNDS):
    """The method through rounds without training, restored from JSON before each of them."""
    architecture = method.begin()
    network = new_network(architecture, 0)
    for server_round in range(1, rounds + 1):
        memory = json.loads(json.dumps(method.to_json()))
        method.restore(memory)
        assert json.loads(json.dumps(method.to_json())) == memory
        architecture, network = method.before_round(server_round, architecture, network)
        sent = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        stream = torch.Generator().manual_seed(server_round)
        with torch.no_grad():  # what clients do to weights and grids
            for parameter in network.parameters():
                parameter.add_(0.003 * torch.randn(parameter.shape, generator=stream))
        answers = {}
        if method.ask(server_round):
            answers = {
                name: torch.rand((len(network.weight(name)), 2), generator=stream)
                for name in network.prunable
            }
        method.learn(server_round, architecture, network, answers)
        yield server_round, architecture, network, sent


@pytest.mark.parametrize("base", [CNN, RESNET], ids=["cnn", "resnet"])
@pytest.mark.parametrize("target", [2, 4, 6])
def test_parameters_and_mean_bits_are_met_and_stay(tmp_path, base, target):
    plan, path = planned(tmp_path, base)
    method = made("geta", base, "joint", plan=path, bits=target, rounds=ROUNDS)
    steps = list(played(method))
    assert cost(steps[-1][1]) <= plan.shrinks[-1].parameters
    for server_round, architecture, _, sent in steps:
        if server_round >= method.stages.fixed:
            widths = list(bits(sent).values())
            numbers = [sent[name].numel() for name in bits(sent)]
            mean = sum(b * n for b, n in zip(widths, numbers, strict=True)) / sum(numbers)
            assert mean <= target < mean + 1
            assert widths == method.fixed
            assert architecture == steps[-1][1]
    check_cuts(method.to_json())
    assert [s["round"] for s in method.cuts] == [
        r for r in range(2, ROUNDS + 1) if method.stages.begins(r) or r == method.stages.fixed
    ][1:]


def test_the_range_of_bits_narrows_and_never_widens(tmp_path):
    _, path = planned(tmp_path, CNN)
    method = made("geta", CNN, "joint", plan=path, rounds=40)
    means = [method.stages.bits(r, 4) for r in range(1, 41)]
    assert means[:4] == [16] * 4
    assert means[4:12] == pytest.approx([13.6, 13.6, 11.2, 11.2, 8.8, 6.4, 6.4, 4], abs=2.5)
    assert means == sorted(means, reverse=True)
    assert set(means[11:]) == {4}
    for server_round, _, _, sent in played(method, 40):
        most = max(bits(sent).values())
        assert most <= min(16, means[server_round - 1] + method.settings.spread + 1)


def test_ranges_are_the_weights_own_while_it_warms_up(tmp_path):
    _, path = planned(tmp_path, CNN)
    method = made("geta", CNN, "joint", plan=path, rounds=40)
    for server_round, _, network, _ in played(method, 40):
        state = network.state_dict()
        ranges = torch.stack([most for _, most in grids(state).values()])
        if server_round < method.stages.warm_up:
            assert torch.allclose(ranges, largest(state))
        assert bool((ranges <= largest(state) * 1.001).all())


@given(
    st.integers(3, 400),
    st.floats(0, 0.3),
    st.floats(0, 0.3),
    st.floats(0.05, 0.35),
    st.integers(1, 9),
)
def test_stages_follow_one_another_and_fill_the_run(rounds, warm_up, projection, joint, periods):
    found = stages(rounds, warm_up, projection, joint, periods)
    of_rounds = [found.period(r) for r in range(1, rounds + 1)]
    assert of_rounds[: found.first - 1] == [0] * (found.first - 1)
    assert 2 <= found.first < found.fixed <= rounds
    joint_stage = of_rounds[found.first - 1 : found.fixed - 1]
    assert sorted(set(joint_stage)) == list(range(1, found.number() + 1))
    assert joint_stage == sorted(joint_stage)
    assert sum(map(found.begins, range(1, rounds + 1))) == found.number()
    lengths = [joint_stage.count(n) for n in range(1, found.number() + 1)]
    assert max(lengths) - min(lengths) <= 1
    assert all(found.left(r) >= 0 for r in range(found.first, found.fixed))
    assert found.left(found.fixed - 1) == 0


def test_stages_that_leave_no_cool_down_are_refused():
    with pytest.raises(InputError, match="found 2, of which warm-up, projection and joint stage"):
        stages(2, 0.1, 0.2, 0.3, 5)


@pytest.mark.parametrize("base", [CNN, RESNET], ids=["cnn", "resnet"])
def test_what_is_forgotten_can_be_cut_and_nothing_is_computed_otherwise(base):
    """Down by an equal part a round, at the end 0; the grids and the answers stay."""
    larger, network = attach(base, new_network(base, 0), "quantised")
    with torch.no_grad():
        network.attached.log_steps.fill_(-0.4)
        for name, parameter in network.named_parameters():
            if name.endswith("bias") and not name.startswith("attached"):
                parameter.uniform_(-0.1, 0.1)
    kept = tuple(tuple(range(0, width, 2)) for width in base.widths)
    before = network.weight(network.prunable[0]).clone()
    for left in (3, 2, 1, 0):
        forget(network, kept, left / (left + 1))
        found = network.weight(network.prunable[0])
        assert torch.allclose(found[1], before[1] * left / 4)
        assert torch.equal(found[0], before[0])
    images = torch.rand(2, *base.input_shape)
    smaller = cut(larger, network.state_dict(), kept)[1]
    assert smaller.attached is not None
    with torch.no_grad():
        whole, less = network.eval()(images), smaller.eval()(images)
    assert torch.allclose(whole, less, atol=1e-5)
    assert torch.equal(smaller.attached.log_steps, network.attached.log_steps)


def test_the_ranking_weighs_five_criteria_alike():
    """By hand on one filter: its share of each criterion's norm over all filters, averaged."""
    network = new_network(CNN, 0)
    answers = {n: torch.rand((len(network.weight(n)), 2)) for n in network.prunable}
    found = ranked(network, answers)
    own = [
        torch.cat(
            [
                network.weight(n).detach().flatten(1),
                network.get_parameter(f"{n}.bias").detach()[:, None],
            ],
            1,
        )
        for n in network.prunable
    ]
    magnitude = [rows.norm(dim=1) for rows in own]
    taylor = [answers[n][:, 0] for n in network.prunable]
    criteria = [
        magnitude,
        [m / rows.shape[1] for m, rows in zip(magnitude, own, strict=True)],
        [1 + answers[n][:, 1] for n in network.prunable],
        taylor,
        [t**2 / 2 for t in taylor],
    ]
    right = sum(float(c[1][5] / torch.cat(c).norm()) for c in criteria) / 5
    assert found[1][5] == pytest.approx(right, rel=1e-5)
    assert [len(of_layer) for of_layer in found] == list(CNN.widths)


def test_what_is_evaluated_is_on_the_grids(tmp_path):
    _, path = planned(tmp_path, CNN)
    method = made("geta", CNN, "joint", plan=path, bits=3, rounds=ROUNDS)
    *_, (_, architecture, network, _) = played(method)
    small, plain = folded(architecture, network)
    assert plain.state_dict().keys() == build(small).state_dict().keys()
    for name, n in bits(network.state_dict()).items():
        assert len(plain.state_dict()[name].unique()) <= 2**n - 1
