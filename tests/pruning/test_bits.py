"""Bits by layer within a mean, by law."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.pruning.bits import limits, projected, whole

layers = st.lists(st.tuples(st.floats(2, 16), st.integers(1, 60_000)), min_size=1, max_size=8)
means, spreads = st.integers(2, 8), st.integers(0, 6)


def mean_of(bits, weights):
    return sum(b * w for b, w in zip(bits, weights, strict=True)) / sum(weights)


@given(layers, means, spreads)
def test_a_projection_is_within_its_limits_and_mean_and_keeps_the_order(of, mean, spread):
    bits, weights = zip(*of, strict=True)
    found = projected(bits, weights, mean, spread)
    low, high = limits(mean, spread)
    assert all(low <= b <= high for b in found)
    assert mean_of(found, weights) <= mean + 1e-6
    by_given = sorted(range(len(bits)), key=lambda n: bits[n])
    assert all(found[a] <= found[b] + 1e-6 for a, b in itertools.pairwise(by_given))
    assert projected(found, weights, mean, spread) == pytest.approx(found, abs=1e-6)


@given(layers, means, spreads)
def test_what_is_too_much_meets_the_mean_and_nothing_else_moves(of, mean, spread):
    bits, weights = zip(*of, strict=True)
    low, high = limits(mean, spread)
    clipped = [min(high, max(low, b)) for b in bits]
    found = projected(bits, weights, mean, spread)
    if mean_of(clipped, weights) > mean:
        assert mean_of(found, weights) == pytest.approx(mean, abs=1e-5)
    else:
        assert found == clipped


@given(layers, means, spreads)
def test_whole_bits_are_within_the_mean_and_no_further_bit_is(of, mean, spread):
    bits, weights = zip(*of, strict=True)
    found = whole(projected(bits, weights, mean, spread), weights, mean, spread)
    low, high = limits(mean, spread)
    assert all(isinstance(b, int) and low <= b <= high for b in found)
    assert mean_of(found, weights) <= mean + 1e-9
    for n, b in enumerate(found):
        more = [*found[:n], b + 1, *found[n + 1 :]]
        assert b == high or mean_of(more, weights) > mean


def test_a_mean_that_no_grid_has_is_a_fault():
    with pytest.raises(ValueError, match="found 1 bits, expected at least 2"):
        projected([4], [10], 1, 2)
