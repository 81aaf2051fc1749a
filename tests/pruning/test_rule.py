"""The rule: one shrink by hand, and the laws that follow from population statistics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.pruning.rule import boundaries, scores

NORMS = st.lists(st.floats(0, 1e6, allow_nan=False, width=32), min_size=1, max_size=100)
KS = st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.2, 2.4, 2.5, 3.0])


def test_one_layer_by_hand():
    """Six filters of one 2x2 kernel; norms 4 4 4 4 4 16, mean 6, std sqrt(20), k = 2."""
    weight = torch.full((6, 1, 2, 2), -1.0)
    weight[5] = 4.0
    norms = scores(weight)
    assert norms == [4, 4, 4, 4, 4, 16]
    decision = boundaries(norms, 2.0)
    assert decision.mean == 6
    assert decision.std == pytest.approx(math.sqrt(20))
    assert decision.upper == pytest.approx(6 + 2 * math.sqrt(20))
    assert decision.kept == (0, 1, 2, 3, 4)  # 16 > 14.94


def test_both_tails_go():
    """Mean 5, std sqrt(25/6): 0 and 10 lie at 2.45 standard deviations."""
    norms = [0.0, 10.0, *[5.0] * 10]
    assert boundaries(norms, 2.4).kept == tuple(range(2, 12))
    assert boundaries(norms, 2.5).kept == tuple(range(12))


def test_the_low_tail_alone():
    """0 goes as before, 10 stays, however far above the mean."""
    decision = boundaries([0.0, 10.0, *[5.0] * 10], 2.4, "low")
    assert decision.kept == tuple(range(1, 12))
    assert decision.upper is None


def test_mean_and_std_of_a_population():
    """Mean 3 and std 3 of all layers: 7 goes of a layer whose own boundaries would let it stay."""
    decision = boundaries([5.0, 6.0, 7.0], 1.0, population=[0.0, 0.0, 0.0, 6.0, 6.0, 6.0])
    assert (decision.mean, decision.std) == (3, 3)
    assert decision.kept == (0, 1)


def test_a_filter_on_the_boundary_stays():
    """With five filters one outlier lies at exactly 2 standard deviations, whatever its size."""
    for outlier in (1.1, 3.0, 1e5, 0.3):
        assert boundaries([0.1, 0.1, 0.1, 0.1, outlier], 2.0).kept == (0, 1, 2, 3, 4)


def test_equal_norms_all_stay():
    assert boundaries([2.5] * 7, 0.5).kept == tuple(range(7))


def test_at_least_one_stays():
    """k below 1 can exclude all; the one nearest to the mean stays, the first of equals."""
    assert boundaries([0.0, 2.0], 0.5).kept == (0,)
    assert boundaries([0.0, 9.0, 3.0, 4.0, 10.0], 0.1).kept == (3,)  # the mean is 5.2


@pytest.mark.parametrize("k", [0, -1, float("nan")])
def test_k_must_be_above_zero(k):
    with pytest.raises(InputError, match="above 0"):
        boundaries([1.0], k)


def test_weights_that_diverged_are_refused():
    weight = torch.ones(2, 1, 1, 1)
    weight[1] = torch.nan
    with pytest.raises(InputError, match="not finite"):
        scores(weight)


@given(NORMS, KS)
def test_a_layer_loses_a_filter_only_above_the_floor(norms, k):
    kept = boundaries(norms, k).kept
    if k >= 1 and len(norms) <= k * k + 1:
        assert len(kept) == len(norms)


@given(NORMS, KS)
def test_at_most_the_share_one_over_k_squared_goes(norms, k):
    kept = boundaries(norms, k).kept
    if k >= 1:
        assert len(norms) - len(kept) <= len(norms) / k**2
    assert 1 <= len(kept) <= len(norms)
    assert list(kept) == sorted(set(kept))


@given(NORMS, KS, st.randoms(use_true_random=False))
def test_the_order_of_filters_does_not_matter(norms, k, random):
    order = list(range(len(norms)))
    random.shuffle(order)
    kept = sorted(norms[n] for n in boundaries(norms, k).kept)
    shuffled = [norms[n] for n in order]
    again = sorted(shuffled[n] for n in boundaries(shuffled, k).kept)
    if k >= 1:
        assert kept == again
    else:  # the rule may exclude all; then one of those nearest to the mean stays
        assert len(kept) == len(again)


@given(NORMS, KS, st.fractions(min_value="1/1000", max_value=1000))
def test_scaling_all_weights_does_not_matter(norms, k, factor):
    """In exact arithmetic for any factor; floats are scaled here by a power of two."""
    power = 2.0 ** round(math.log2(factor))
    assert boundaries(norms, k).kept == boundaries([n * power for n in norms], k).kept


@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_scores_ignore_the_order_of_filters_and_channels(filters, channels, seed):
    stream = torch.Generator().manual_seed(seed)
    weight = torch.randn(filters, channels, 3, 3, generator=stream)
    order = torch.randperm(filters, generator=stream)
    channel_order = torch.randperm(channels, generator=stream)
    shuffled = scores(weight[order][:, channel_order])
    assert shuffled == [scores(weight)[n] for n in order]


def test_scores_are_l1_norms():
    weight = torch.randn(4, 3, 5, 5)
    expected = weight.abs().sum((1, 2, 3))
    assert scores(weight) == pytest.approx(expected.tolist(), rel=1e-5)
