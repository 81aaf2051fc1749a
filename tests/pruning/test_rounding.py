"""Widths rounded to multiples: up computes the same, down is a cut, never beyond the base."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.models import Architecture, new_network
from autoprune.pruning.plan import Plan
from autoprune.pruning.rounding import history, round_widths, rounded_widths
from autoprune.pruning.search import advance

NETWORKS = [
    Architecture("cnn", (20, 24), (1, 28, 28), 10),
    Architecture("cnn", (13, 9, 16, 11), (3, 84, 84), 2),
    Architecture("resnet", (16, 20, 18), (3, 84, 84), 2),
    Architecture("inception", (12, 8, 9, 10, 11, 12, 9, 14, 16), (1, 28, 28), 10),
    Architecture("cnn1d", (14, 12, 16), (1, 10, 16), 10),
    Architecture("conformer", (14, 12, 9, 15, 16), (1, 10, 16), 10),
]


def searched(base, weights="inherit", seed=3):
    """A pruned network with statistics and biases that are not the initial ones, and its plan."""
    plan = Plan(base, weights, seed, 1.2, 3, 4)
    architecture, network = base, new_network(base, seed)
    for server_round in (1, 2, 3):
        architecture, network = advance(plan, server_round, architecture, network)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(0.01 * torch.rand(tensor.shape, generator=torch.Generator().manual_seed(1)))
    return plan.to_json(), architecture, network.eval()


@pytest.mark.parametrize("weights", ["inherit", "reinit"])
@pytest.mark.parametrize("base", NETWORKS, ids=str)
def test_rounding_up_computes_the_same(base, weights):
    plan, architecture, network = searched(base, weights)
    wider, grown = round_widths(architecture, network.state_dict(), plan, 3, 4, "up")
    assert wider.widths == rounded_widths(architecture.widths, base.widths, 4, "up")
    assert wider.widths != architecture.widths
    images = torch.rand(5, *base.input_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = network(images), grown.eval()(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("base", NETWORKS, ids=str)
def test_rounding_down_keeps_the_largest_filters(base):
    plan, architecture, network = searched(base)
    smaller, cut = round_widths(architecture, network.state_dict(), plan, 3, 4, "down")
    assert smaller.widths == rounded_widths(architecture.widths, base.widths, 4, "down")
    if base.family == "cnn":  # not coupled, so that a layer's own norms say which stay
        name = network.prunable[0]
        norms = network.get_submodule(name).weight.abs().sum((1, 2, 3))
        best = norms.topk(smaller.widths[0]).indices.sort().values
        assert torch.equal(cut.get_submodule(name).weight, network.get_submodule(name).weight[best])


def test_the_largest_scores_of_the_plan_come_back_first():
    base = NETWORKS[0]
    plan, architecture, network = searched(base)
    _, alive, last = history(plan)
    wider, grown = round_widths(architecture, network.state_dict(), plan, 3, 4, "up")
    more = wider.widths[0] - architecture.widths[0]
    gone = sorted(set(range(20)) - set(alive[0]), key=lambda n: -last[0][n])
    union = sorted([*alive[0], *gone[:more]])
    initial = new_network(base, 3).state_dict()["conv1.weight"]
    assert more > 0
    for place, filter_ in enumerate(union):
        kernel = grown.state_dict()["conv1.weight"][place]
        assert torch.equal(kernel, initial[filter_]) == (filter_ in gone)


@given(
    st.lists(st.tuples(st.integers(1, 70), st.integers(0, 40)), min_size=1, max_size=6),
    st.integers(1, 16),
)
def test_widths_are_multiples_within_the_base(pairs, multiple):
    widths = [width for width, _ in pairs]
    base = [width + more for width, more in pairs]
    up, down, near = (rounded_widths(widths, base, multiple, d) for d in ("up", "down", "nearest"))
    for width, most, *rounded in zip(widths, base, up, down, near, strict=True):
        assert all(n == most or (n % multiple == 0 and n < most) for n in rounded)
        high, low, nearest = rounded
        assert high >= min(width, most)
        assert low <= max(width, min(multiple, most))
        assert nearest in (high, low)
    if multiple == 1:
        assert up == down == near == tuple(widths)


def test_what_cannot_be_rounded_is_refused():
    plan, architecture, network = searched(NETWORKS[0])
    state = network.state_dict()
    with pytest.raises(InputError, match="round_widths_to: found 0"):
        round_widths(architecture, state, plan, 3, 0, "up")
    with pytest.raises(InputError, match="unknown 'sideways'"):
        round_widths(architecture, state, plan, 3, 4, "sideways")
    del plan["shrinks"][0]["layers"][0]["scores"]
    narrow = {"base": plan["base"], "shrinks": []}  # narrow from the start, as some controls are
    for without in (plan, narrow, {"base": plan["base"]}, {}):
        with pytest.raises(InputError, match="no scores"):
            round_widths(architecture, state, without, 3, 4, "up")
