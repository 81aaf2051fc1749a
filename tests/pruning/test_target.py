"""A target in place of k: where searches land, which k that is, and what is refused."""

import itertools
import json
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.core.options import WrongValue, read
from autoprune.methods.autoprune import Method
from autoprune.models import Architecture, base_of, build, cost, new_network
from autoprune.models.counts import Counts
from autoprune.pruning.options import TARGETS, WEIGHTS
from autoprune.pruning.plan import Plan, replay
from autoprune.pruning.rule import boundaries, squared_distances
from autoprune.pruning.search import advance
from autoprune.pruning.settings import Rule
from autoprune.pruning.target import (
    TOLERANCE,
    after,
    aim_of,
    cost_of,
    decided,
    half_width,
    nearest,
    smallest,
    step,
    units,
)

CNN = Architecture("cnn", (12, 14), (1, 28, 28), 10)
COUNTED = (CNN, Architecture("resnet", (8, 10, 9), (3, 84, 84), 2))
WIDE = Architecture("inception", (32, 16, 16, 16, 32, 32, 32, 48, 48), (1, 28, 28), 62)
APART = 1 + Fraction(1, 10**12)  # floats that k could lie between
# few values, so that norms are often equal; and any
NORM = st.one_of(st.integers(0, 3).map(float), st.floats(0, 1e6, width=32))


def rule(of="macs", value=1.0, **more):
    return Rule(**{"patience": 3, "cap": 4, f"target_{of}": float(value), **more})


@cache
def range_of(base, of, multiple):
    costs, least = cost_of(of, Counts(base)), [smallest(w, multiple) for w in base.widths]
    return float(costs(least)), float(costs(base.widths))


def norms_of(data, widths):
    return [data.draw(st.lists(NORM, min_size=w, max_size=w)) for w in widths]


@settings(max_examples=50)
@given(st.data())
def test_every_target_is_met_within_5_percent_where_networks_can_be_counted(data):
    """Whatever the norms: never wider again, never below the least, never past the target."""
    base, of = data.draw(st.sampled_from(COUNTED)), data.draw(st.sampled_from(TARGETS[1:]))
    multiple = data.draw(st.sampled_from([1, 1, 2, 3, 4]))
    low, high = range_of(base, of, multiple)
    value = low + data.draw(st.floats(0, 1)) * (high - low)
    try:
        aim = aim_of(rule(of, value, width_multiple=multiple), base)
    except InputError as error:  # coarse widths, said before anything is trained
        if "the nearest that widths in multiples" in str(error):
            return
        raise
    widths, cap = base.widths, data.draw(st.integers(1, 4))
    statistics = data.draw(st.sampled_from(["layer", "pooled"]))
    for applied in range(1, cap + 1):
        norms = norms_of(data, widths)
        left = step(aim, norms, statistics, applied, cap)
        assert all(now <= before for now, before in zip(left, widths, strict=True))
        for now, whole in zip(left, base.widths, strict=True):
            assert now == whole or now % multiple == 0
            assert now >= smallest(whole, multiple)
        if applied < cap:
            assert aim.off(left) >= 0
        widths = left
        if aim.off(widths) <= 0:
            break
    assert abs(aim.off(widths)) <= TOLERANCE


@settings(max_examples=30)
@given(st.data())
def test_a_network_too_large_to_count_misses_by_one_filter_at_most(data):
    low, high = range_of(WIDE, "parameters", 1)
    value = low + data.draw(st.floats(0, 1)) ** 3 * (high - low)
    aim = aim_of(rule("parameters", value), WIDE)
    assert aim.places is None
    widths, seed = WIDE.widths, data.draw(st.integers(0, 2**32 - 1))
    for applied in range(1, 4):
        stream = np.random.default_rng([seed, applied])
        widths = step(aim, [stream.random(w).tolist() for w in widths], "layer", applied, 3)
    filters = [
        [*widths[:n], width - 1, *widths[n + 1 :]] for n, width in enumerate(widths) if width > 1
    ]
    one = max((float(aim.cost(widths) - aim.cost(less)) for less in filters), default=0)
    assert abs(aim.off(widths)) <= max(TOLERANCE, one / value)


@given(st.lists(st.lists(NORM, min_size=1, max_size=12), min_size=1, max_size=4), st.data())
def test_the_further_the_order_the_smaller_k_and_the_cost(norms, data):
    distances = [squared_distances(of_layer) for of_layer in norms]
    start, order = tuple(map(len, norms)), units(distances, data.draw(st.integers(1, 4)))
    ks = [half_width(distances, after(start, order[:n])) for n in range(len(order) + 1)]
    assert ks == sorted(ks, reverse=True)
    widths = [after(start, order[:n]) for n in range(len(order) + 1)]
    for before, left in itertools.pairwise(widths):
        assert sum(before) > sum(left)
        assert all(a >= b for a, b in zip(before, left, strict=True))


@given(
    st.lists(
        st.lists(st.floats(0, 1e6, width=32), min_size=2, max_size=30), min_size=1, max_size=4
    ),
    st.data(),
)
def test_k_alone_says_which_filters_go_where_none_are_equally_far(norms, data):
    """What the plan records is the paper's rule: at that k it keeps these filters."""
    distances = [squared_distances(of_layer) for of_layer in norms]
    order, start = units(distances, 1), tuple(map(len, norms))
    number = data.draw(st.integers(0, len(order)))
    gone, stay = order[:number], order[number:]
    k, found = decided(norms, after(start, gone), "layer")
    for of_layer, z, decision in zip(norms, distances, found, strict=True):
        ruled = boundaries(of_layer, k).kept
        apart = bool(stay and gone) and gone[-1].distance > stay[0].distance * APART
        if apart and min(z) < k**2:
            assert decision.kept == ruled
        elif not gone or gone[-1].distance > 0:  # of equally far ones as many stay as must
            assert set(ruled) <= {*decision.kept, *nearest(z, 1)}


def test_counts_are_those_of_the_network():
    """Of every family and of torchvision's, at drawn widths; fvcore agrees in measure's tests."""
    from autoprune.measure.complexity import macs

    stream = np.random.default_rng(0)
    bases = [*COUNTED, WIDE, Architecture("cnn1d", (14, 12, 16), (1, 10, 16), 10)]
    bases.append(base_of("torchvision:mobilenet_v3_small", (), (3, 64, 64), 5))
    for base in bases:
        counts = Counts(base)
        rows = stream.integers(1, np.array(base.widths) + 1, (3, len(base.widths)))
        assert counts.exact
        for row, parameters, found in zip(
            rows.tolist(), counts.parameters(rows), counts.macs(rows), strict=True
        ):
            small = base.with_widths(row)
            assert (parameters, found) == (cost(small), macs(build(small), base.input_shape))


def test_multiply_adds_that_no_layer_has_are_counted_by_running(monkeypatch):
    """As of attention: slower, and as exact."""
    counts = Counts(CNN)
    whole = counts.macs([[7, 9], [12, 14]])
    monkeypatch.setattr(counts, "exact", False)
    assert counts.macs([[7, 9], [12, 14]]).tolist() == whole.tolist()
    assert int(counts.macs((7, 9))) == whole[0]


def searched(base, variant, of, share, **more):
    low, high = range_of(base, of, more.get("width_multiple", 1))
    aimed = rule(of, low + share * (high - low), cap=6, **more)
    method = Method(base, 7, variant, Method.Settings(**aimed.model_dump(exclude_none=True)))
    architecture, network = base, new_network(base, 7)
    first = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for server_round in range(1, 10):
        architecture, network = method.before_round(server_round, architecture, network)
    return method, first, architecture, network


@pytest.mark.parametrize("variant", WEIGHTS)
@pytest.mark.parametrize("base", COUNTED, ids=str)
def test_replay_is_bit_exact_and_the_plan_has_each_k(base, variant):
    method, first, small, network = searched(base, variant, "macs", 0.3, width_multiple=2)
    value = json.loads(json.dumps(method.to_json()))
    again = Plan.from_json(value)
    assert again.to_json() == method.to_json()
    found, replayed = replay(again, first)
    assert found == small
    assert all(torch.equal(replayed.state_dict()[n], t) for n, t in network.state_dict().items())
    assert value["k"] is None
    assert all(step["k"] > 0 for step in value["shrinks"])
    assert value["stopped"]["reason"] == "target"
    assert method.figures()["target_reached"] == value["shrinks"][-1]["cost"]
    assert method.figures()["target_reached"] == pytest.approx(method.aim.value, rel=TOLERANCE)
    for name, change in {"k": 1.0, "widths": [1, 1, 1][: len(small.widths)]}.items():
        edited = json.loads(json.dumps(value))
        edited["shrinks"][-1][name] = change
        with pytest.raises(InputError, match="the plan was edited"):
            Plan.from_json(edited)


def test_a_restored_search_goes_on_as_if_it_had_not_stopped():
    whole, _, _, network = searched(CNN, "inherit", "bytes", 0.4)
    method, _, architecture, _ = searched(CNN, "inherit", "bytes", 0.4)
    method.plan = Plan.from_json(json.loads(json.dumps(method.to_json())))
    method.plan.shrinks, method.plan.stopped = method.plan.shrinks[:3], None
    architecture, half = replay(method.plan, new_network(CNN, 7).state_dict())
    for server_round in range(5, 10):
        architecture, half = method.before_round(server_round, architecture, half)
    assert method.to_json() == whole.to_json()
    assert all(torch.equal(half.state_dict()[n], t) for n, t in network.state_dict().items())


def test_without_a_target_a_plan_is_as_before():
    plan = Plan(CNN, "inherit", 0, 1.5, 3, 4)
    advance(plan, 2, CNN, new_network(CNN, 0))
    assert "target" not in plan.to_json()
    assert set(plan.to_json()["shrinks"][0]) == {"round", "layers", "widths", "parameters"}


@pytest.mark.parametrize(
    ("aimed", "words"),
    [
        (rule("macs", 10), r"target_macs: found 10, expected .* \(widths 1 1\) to .* 12 14\)"),
        (rule("parameters", 1e9), r"target_parameters: found 1e\+09, expected"),
        (rule("bytes", 34_900, width_multiple=12), "multiples of 12 give are .* and .*; take one"),
    ],
)
def test_what_cannot_be_reached_is_refused_with_what_can(aimed, words):
    with pytest.raises(InputError, match=words):
        aim_of(aimed, CNN)


def test_the_last_application_must_lie_within_the_run():
    told = Method.Settings(patience=3, cap=50, target_macs=1e5, rounds=50)
    with pytest.raises(InputError, match="cap: found 50, expected at most 49 in 50 rounds"):
        Method(CNN, 0, "inherit", told)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "key 'k' is missing, or a target in its place"),
        ({"target_macs": 9, "target_bytes": 9}, "target_macs and target_bytes, expected one"),
        ({"target_macs": 9, "tails": "low"}, "tails: found 'low' beside target_macs"),
        ({"k": 2, "width_multiple": 8}, "go with a target, found none"),
        ({"target_latency_ms": 1}, "target_latency_ms and latency_table: expected both"),
        ({"target_macs": -1}, "target_macs: found -1, expected a number above 0"),
    ],
)
def test_settings_that_do_not_go_together(given, words):
    with pytest.raises(WrongValue, match=words):
        read(Rule, {"patience": 3, "cap": 3, **given})


def test_a_target_takes_the_place_of_k():
    found = read(Rule, {"k": 2.2, "patience": 3, "cap": 3, "target_macs": 9})
    assert (found.k, found.target) == (None, ("macs", 9.0))
    assert replace(aim_of(rule("macs", 50_000), CNN), value=1.0).off(CNN.widths) > 0
