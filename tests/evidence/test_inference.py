"""Simultaneous intervals: by hand, by law, and against scipy's procedures where those are right."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from autoprune.evidence.inference import LEVEL, POOLED, Estimate, Sample, projected, simultaneous


def samples(*values, pool=""):
    return [Sample(tuple(own), pool=pool) for own in values]


def against_first(number):
    return [{at: 1.0, 0: -1.0} for at in range(1, number)]


def test_the_mean_and_the_error_by_hand():
    """Differences by seed 3, 6, 9 and 0, 1, 2 and 0, 2, 4: variances 9, 1 and 4, the median 4."""
    arms = samples([1, 2, 3], [4, 8, 12], [1, 3, 5], [1, 4, 7])
    found = simultaneous(arms, against_first(4))
    assert [(one.n, one.mean) for one in found] == [(3, 6), (3, 1), (3, 2)]
    assert POOLED == 0.25
    by_hand = [(0.75 * own + 0.25 * 4) / 3 for own in (9, 1, 4)]
    assert [one.error**2 for one in found] == pytest.approx(by_hand)
    for one in found:
        assert one.high - one.mean == pytest.approx(one.mean - one.low)
        assert one.half_width == pytest.approx(one.critical * one.error)


def test_pools_share_no_variance_and_a_contrast_may_average_over_them():
    """Differences 4 and 6 of one pair of arms, 1 and 1.6 of another; half of each by seed."""
    values = [*samples([0, 2], [4, 8], pool="a"), *samples([0, 0.2], [1, 1.8], pool="b")]
    halves = {1: 0.5, 0: -0.5, 3: 0.5, 2: -0.5}
    found = simultaneous(values, [halves, {1: 1.0, 0: -1.0}, {3: 1.0, 2: -1.0}])
    assert [one.mean for one in found] == pytest.approx([(2.5 + 3.8) / 2, 5, 1.3])
    variances = [1.3**2 / 2, 2, 0.6**2 / 2]
    assert [one.error**2 for one in found] == pytest.approx([v / 2 for v in variances])


def test_arms_are_paired_by_seed_in_any_order():
    """Only the seeds that both have count; those of the third arm are others altogether."""
    arms = [
        Sample((5.0, 1.0, 3.0), (7, 1, 3)),
        Sample((2.0, 4.5, 9.0), (1, 3, 9)),
        Sample((1.0, 2.0), (20, 21)),
    ]
    (paired, apart) = simultaneous(arms, against_first(3))
    assert (paired.n, paired.mean) == (2, pytest.approx(1.25))
    assert paired.error == pytest.approx((0.5**2 / 2 / 2) ** 0.5)
    assert apart == Estimate(0, -1.5)
    with pytest.raises(ValueError, match="zip"):
        simultaneous([Sample((1.0, 2.0), (0,)), Sample((1.0,))], against_first(2))


def test_what_seeds_do_to_all_arms_alike_does_not_widen_an_interval():
    draw = np.random.default_rng(5)
    arms = draw.normal(size=(4, 6))
    moved = arms + 100 * draw.normal(size=6)
    before, after = (simultaneous(samples(*some), against_first(4)) for some in (arms, moved))
    widths = [[one.half_width for one in some] for some in (before, after)]
    assert widths[1] == pytest.approx(widths[0], rel=0.03)


def test_one_arm_that_dies_does_not_widen_the_others():
    draw = np.random.default_rng(6)
    arms = draw.normal(size=(6, 5))
    before = simultaneous(samples(*arms), against_first(6))
    arms[5, 0] -= 60
    after = simultaneous(samples(*arms), against_first(6))
    assert after[4].half_width > 10 * before[4].half_width
    for one, other in zip(before[:4], after[:4], strict=True):
        assert other.half_width < 1.5 * one.half_width


def test_with_many_seeds_it_is_dunnetts():
    """Of equal variances, where Dunnett's test is right, as scipy has it."""
    draw = np.random.default_rng(1)
    arms = list(stats.zscore(np.linalg.qr(draw.normal(size=(300, 7)))[0][:, 1:]).T)  # unrelated
    arms = [arm + shift for arm, shift in zip(arms, (0, 0.1, 0.15, 0.25, 0.02, -0.2), strict=True)]
    oracle = stats.dunnett(*arms[1:], control=arms[0], rng=np.random.default_rng(0))
    bounds = oracle.confidence_interval(1 - LEVEL)
    found = simultaneous(samples(*arms), against_first(6))
    assert [one.p for one in found] == pytest.approx(oracle.pvalue, abs=0.03)
    assert [one.low for one in found] == pytest.approx(bounds.low, abs=0.01)
    assert [one.high for one in found] == pytest.approx(bounds.high, abs=0.01)


def test_two_arms_are_the_paired_t_test():
    draw = np.random.default_rng(2)
    one, other = draw.normal(0, 1, 7), draw.normal(0.6, 1.1, 7)
    oracle = stats.ttest_rel(other, one)
    (found,) = simultaneous(samples(one, other), against_first(2))
    assert found.p == pytest.approx(oracle.pvalue, abs=0.01)
    bounds = oracle.confidence_interval()
    assert (found.low, found.high) == pytest.approx(tuple(bounds), rel=0.02)


def test_one_sample_is_students():
    """A contrast of one arm: its mean against nothing."""
    values = [3.0, 5.0, 4.0, 6.5, 4.2]
    (found,) = simultaneous(samples(values), [{0: 1.0}])
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.02)


# to the sixth digit: values a rounding apart are equal in one unit and differ in another
VALUES = st.floats(-50, 50).map(lambda value: round(value, 6))
SEEDS = st.lists(VALUES, min_size=2, max_size=6)


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
    assert single == Estimate(1, 2.0)
    (constant,) = simultaneous(samples([0.1] * 3, [0.3] * 3), against_first(2))
    assert (constant.n, constant.low, constant.p) == (3, None, None)
    (empty,) = simultaneous(samples([], [3.0, 4.0]), against_first(2))
    assert empty == Estimate(0, None)
    with pytest.raises(ValueError, match="finite"):
        simultaneous(samples([1.0, float("nan")]), [{0: 1.0}])


def test_arms_that_differ_alike_in_every_seed_have_the_familys_spread_for_what_seeds_hide():
    arms = samples([1, 2, 3, 4], [2, 3, 4, 5], [1, 5, 3, 8])
    steady, moving = simultaneous(arms, against_first(3))
    assert steady.error == pytest.approx(moving.error / 2)
    assert steady.low < 1 < steady.high


def test_more_seeds_give_the_half_widths_that_were_projected():
    """From a thousand made-up seeds of known spread to ten, against the mean of 200 studies.

    The root of a variance of few seeds is below its mean, so that intervals come out shorter.
    """
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
    assert expected == pytest.approx(np.mean(seen, axis=0).tolist(), rel=0.12)
    assert projected(samples([1.0], [2.0]), against_first(2), 5) == [None]
