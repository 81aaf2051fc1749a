"""Tests, corrections and equivalence: by hand, by law, and against scipy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from autoprune.evidence.inference import equivalence_p, holm, paired_p

P = st.one_of(st.none(), st.floats(0, 1))


def test_holm_by_hand():
    """0.01 x 3, 0.02 x 2, 0.04 x 1, and no adjusted value below the one before it."""
    assert holm([0.04, 0.01, None, 0.02]) == pytest.approx([0.04, 0.03, None, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(P, max_size=12), st.randoms())
def test_holm_is_a_law_of_the_set(values, shuffler):
    adjusted = holm(values)
    order = list(range(len(values)))
    shuffler.shuffle(order)
    again = holm([values[n] for n in order])
    assert [adjusted[n] for n in order] == again
    for p, q in zip(values, adjusted, strict=True):
        assert (p is None) == (q is None)
        assert p is None or p <= q <= 1
    known = sorted((p, q) for p, q in zip(values, adjusted, strict=True) if p is not None)
    assert [q for _, q in known] == sorted(q for _, q in known)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=8).filter(lambda v: max(v) - min(v) > 0.1))
def test_paired_p_is_scipys(values):
    assert paired_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6)


def test_equivalence_is_the_ninety_percent_interval():
    """Five differences about 0.1 with a spread of 0.2: the 90 % interval is within ± 1."""
    values = [0.1, 0.3, -0.1, 0.2, 0.0]
    for margin in (0.2, 0.25, 0.3, 1.0):
        error = stats.sem(values)
        low, high = stats.t.interval(0.9, 4, 0.1, error)
        assert (equivalence_p(values, margin) < 0.05) == (-margin < low and high < margin)
    assert equivalence_p(values, 0.05) > 0.5


def test_what_tells_nothing_is_none():
    assert paired_p([]) is None
    assert paired_p([3.0]) is None
    assert equivalence_p([3.0], 1) is None
    assert paired_p([2.0, 2.0, 2.0]) is None
    assert paired_p([0.0, 0.0]) == 1
    assert equivalence_p([0.0, 0.0], 1) == 0
