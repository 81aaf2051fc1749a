"""Budgets: met, within one filter, and the schedule that leads to them."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.models import Architecture, build, cost, count_parameters
from autoprune.pruning.budget import cubic, globally_largest, uniform_widths

BASES = st.sampled_from(
    [
        Architecture("cnn", (9, 14), (1, 28, 28), 10),
        Architecture("cnn", (8, 8, 6, 9), (3, 84, 84), 2),
        Architecture("resnet", (6, 9, 12), (3, 84, 84), 2),
    ]
)
SHARE = st.floats(0.05, 1)


def test_cost_counts_what_the_plan_counts():
    base = Architecture("resnet", (16, 32, 64), (3, 84, 84), 2)
    assert cost(base) == 30626  # Keras' total, of method.md
    assert cost(base) == count_parameters(build(base))[1]


@settings(max_examples=40)
@given(BASES, SHARE)
def test_uniform_widths_are_within_one_filter(base, share):
    budget = max(int(share * cost(base)), cost(base.with_widths([1] * len(base.widths))))
    widths = uniform_widths(base, base.widths, budget)
    assert cost(base.with_widths(widths)) <= budget
    for layer, (width, most) in enumerate(zip(widths, base.widths, strict=True)):
        assert 1 <= width <= most
        more = [*widths[:layer], width + 1, *widths[layer + 1 :]]
        assert width == most or cost(base.with_widths(more)) > budget


@settings(max_examples=20)
@given(BASES, SHARE, SHARE)
def test_a_larger_budget_costs_no_less(base, one, other):
    low, high = sorted(int(share * cost(base)) for share in (one, other))
    costs = [cost(base.with_widths(uniform_widths(base, base.widths, b))) for b in (low, high)]
    assert costs[0] <= costs[1]


@settings(max_examples=30)
@given(BASES, SHARE, st.integers(0, 10**6))
def test_global_ranking_keeps_the_best_and_meets_the_budget(base, share, seed):
    draw = random.Random(seed)
    scores = [[draw.random() for _ in range(width)] for width in base.widths]
    least = cost(base.with_widths([1] * len(base.widths)))
    budget = max(int(share * cost(base)), least)
    kept = globally_largest(base, scores, budget)
    assert cost(base.with_widths([len(k) for k in kept])) <= budget
    gone = []
    for of_layer, indices in zip(scores, kept, strict=True):
        assert of_layer.index(max(of_layer)) in indices
        gone += [(s, of_layer, n) for n, s in enumerate(of_layer) if n not in indices]
    if gone:  # the best that went would not have fitted
        _, of_layer, _ = max(gone, key=lambda entry: entry[0])
        widths = [len(k) + (s is of_layer) for s, k in zip(scores, kept, strict=True)]
        assert cost(base.with_widths(widths)) > budget


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1))
def test_the_cubic_schedule_falls_from_start_to_end(one, other, early, late):
    start, end = max(one, other), min(one, other)
    assert cubic(start, end, 0) == start
    assert cubic(start, end, 1) == end
    early, late = sorted((early, late))
    assert start >= cubic(start, end, early) >= cubic(start, end, late) >= end


def test_the_cubic_schedule_by_hand():
    """Half-way an eighth of the distance is left."""
    assert cubic(900, 100, 0.5) == 200
