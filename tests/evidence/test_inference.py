"""Simultaneous intervals: by hand, by law, and against scipy's procedures where those are right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from autoprune.evidence.inference import (
    LEVEL,
    POOLED,
    Estimate,
    Sample,
    projected,
    simultaneous,
)


def samples(*values, pool=""):
    return [Sample(name, tuple(own), pool) for name, own in enumerate(values)]


def against_first(number):
    return [{at: 1.0, 0: -1.0} for at in range(1, number)]


def test_the_mean_and_the_error_by_hand():
    """Variances 1 and 16, pooled 8.5: a quarter of the way they are 2.875 and 14.125."""
    (found,) = simultaneous(samples([1, 2, 3], [4, 8, 12]), [{1: 1.0, 0: -1.0}])
    assert (found.n, found.mean) == (3, 6)
    assert POOLED == 0.25
    assert found.error == pytest.approx(((2.875 + 14.125) / 3) ** 0.5)
    assert found.high - found.mean == pytest.approx(found.mean - found.low)
    assert found.half_width == pytest.approx(found.critical * found.error)


def test_pools_share_no_variance_and_a_contrast_may_average_over_them():
    """Two pairs of arms, each pooled for itself; half of each difference."""
    values = [*samples([0, 2], [4, 6], pool="a"), *samples([0, 0.2], [1, 1.2], pool="b")]
    values = [sample._replace(arm=(sample.pool, sample.arm)) for sample in values]
    (found,) = simultaneous(values, [{1: 0.5, 0: -0.5, 3: 0.5, 2: -0.5}])
    assert found.mean == pytest.approx((4 + 1) / 2)
    assert found.error == pytest.approx((2 * 0.25 * 2 / 2 + 2 * 0.25 * 0.02 / 2) ** 0.5)


def test_an_arm_that_is_read_twice_is_pooled_once():
    """Variances 2, 2 (the same runs) and 8: pooled 5, not 4."""
    values = [Sample("a", (0.0, 2.0)), Sample("a", (1.0, 3.0)), Sample("b", (0.0, 4.0))]
    found = simultaneous(values, [{2: 1.0, 0: -1.0}, {2: 1.0, 1: -1.0}])
    variance = 0.75 * (2 + 8) + 0.25 * (5 + 5)
    assert [one.error for one in found] == pytest.approx([(variance / 2) ** 0.5] * 2)


def test_with_many_seeds_it_is_dunnetts():
    """Of equal variances, where Dunnett's test is right, as scipy has it."""
    draw = np.random.default_rng(1)
    arms = [stats.zscore(draw.normal(size=300)) for _ in range(6)]
    arms = [arm + shift for arm, shift in zip(arms, (0, 0.1, 0.15, 0.25, 0.02, -0.2), strict=True)]
    oracle = stats.dunnett(*arms[1:], control=arms[0], rng=np.random.default_rng(0))
    bounds = oracle.confidence_interval(1 - LEVEL)
    found = simultaneous(samples(*arms), against_first(6))
    assert [one.p for one in found] == pytest.approx(oracle.pvalue, abs=0.015)
    assert [one.low for one in found] == pytest.approx(bounds.low, abs=0.005)
    assert [one.high for one in found] == pytest.approx(bounds.high, abs=0.005)


def test_two_arms_with_many_seeds_are_welchs():
    draw = np.random.default_rng(2)
    one, other = draw.normal(0, 1, 400), draw.normal(0.2, 1.1, 400)
    oracle = stats.ttest_ind(other, one, equal_var=False)
    (found,) = simultaneous(samples(one, other), against_first(2))
    assert found.p == pytest.approx(oracle.pvalue, abs=0.01)


def test_one_sample_is_students():
    """A contrast of one arm: its mean against nothing."""
    values = [3.0, 5.0, 4.0, 6.5, 4.2]
    (found,) = simultaneous(samples(values), [{0: 1.0}])
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.02)


SEEDS = st.lists(st.floats(-50, 50), min_size=2, max_size=6)


@given(st.lists(SEEDS, min_size=2, max_size=5))
def test_the_interval_excludes_zero_exactly_where_p_is_at_most_the_level(arms):
    for one in simultaneous(samples(*arms), against_first(len(arms)), draws=400):
        if one.p is not None:
            assert (one.p <= LEVEL) == (one.low > 0 or one.high < 0)


@given(st.lists(SEEDS, min_size=2, max_size=4), st.floats(-20, 20), st.integers(1, 100))
def test_units_and_zero_are_a_matter_of_taste(arms, shift, scale):
    before = simultaneous(samples(*arms), against_first(len(arms)), draws=200)
    moved = [[scale * value + shift for value in arm] for arm in arms]
    after = simultaneous(samples(*moved), against_first(len(arms)), draws=200)
    spread = max(abs(value) for arm in moved for value in arm) + 1
    for one, other in zip(before, after, strict=True):
        assert other.mean == pytest.approx(scale * one.mean, abs=1e-9 * spread)
        if one.error and one.error > 1e-3:  # below, the shift's rounding is a spread of its own
            assert other.half_width == pytest.approx(scale * one.half_width, rel=1e-3)


def test_a_larger_family_has_wider_intervals():
    draw = np.random.default_rng(3)
    arms = draw.normal(size=(9, 5)).tolist()
    alone = simultaneous(samples(*arms), against_first(9)[:1])[0]
    among = simultaneous(samples(*arms), against_first(9))[0]
    assert among.critical > 1.2 * alone.critical


def test_what_tells_nothing_has_no_interval():
    """One seed; no spread anywhere; no value at all."""
    assert simultaneous([], []) == []
    (single,) = simultaneous(samples([1.0], [3.0, 4.0]), against_first(2))
    assert single == Estimate(1, 2.5)
    (constant,) = simultaneous(samples([0.1] * 3, [0.3] * 3), against_first(2))
    assert (constant.n, constant.low, constant.p) == (3, None, None)
    (empty,) = simultaneous(samples([], [3.0, 4.0]), against_first(2))
    assert empty == Estimate(0, None)
    with pytest.raises(ValueError, match="finite"):
        simultaneous(samples([1.0, float("nan")]), [{0: 1.0}])


def test_a_constant_arm_has_the_pools_spread_for_what_its_seeds_hide():
    steady, moving = [0.5] * 4, [0.2, 0.4, 0.6, 0.9]
    (found,) = simultaneous(samples(steady, moving), against_first(2))
    assert found.error > np.std(moving, ddof=1) / 2 * 0.75**0.5
    assert found.low < found.mean < found.high


def test_more_seeds_give_the_half_widths_that_were_projected():
    """From a thousand made-up seeds of known spread to ten, against the mean of 200 studies."""
    draw = np.random.default_rng(4)
    sds = np.array([3, 1, 1, 2])
    many = draw.normal(size=(4, 1000)) * sds[:, None]
    expected = projected(samples(*many), against_first(4), 10, draws=4000)
    seen = [
        [
            one.half_width
            for one in simultaneous(
                samples(*(draw.normal(size=(4, 10)) * sds[:, None])), against_first(4), draws=1000
            )
        ]
        for _ in range(200)
    ]
    assert expected == pytest.approx(np.mean(seen, axis=0).tolist(), rel=0.07)
    assert projected(samples([1.0], [2.0]), against_first(2), 5) == [None]
