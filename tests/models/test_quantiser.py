"""Fake quantisation, its straight-through gradients and packed bits, by law."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.models.quantiser import (
    bits_of,
    gradients,
    integers,
    pack,
    packed_length,
    quantised,
    step_of,
    unpack,
    whole_bits,
)

bit_widths = st.integers(2, 16)
ranges = st.floats(1e-3, 10)


def drawn(seed, number=300):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=number).astype(np.float32))


def grid(bits, most):
    return torch.tensor(step_of(bits, most)), torch.tensor(most)


@given(st.integers(1, 16), st.integers(0, 99), st.integers(0, 40))
def test_packed_integers_come_back_from_the_fewest_bytes(bits, seed, number):
    most = 1 << (bits - 1)
    values = torch.from_numpy(np.random.default_rng(seed).integers(-most, most, number))
    packed = pack(values, bits)
    assert packed.dtype == torch.uint8
    assert len(packed) == packed_length(bits, number) == math.ceil(bits * number / 8)
    assert unpack(packed, bits, number).tolist() == values.tolist()


def test_what_does_not_fit_its_bits_is_a_fault():
    with pytest.raises(ValueError, match="from -9 to 7 do not fit 4 bits"):
        pack(torch.tensor([-9, 7]), 4)
    with pytest.raises(ValueError, match="3 bytes are not 4 numbers of 4 bits"):
        unpack(torch.zeros(3, dtype=torch.uint8), 4, 4)


@given(st.floats(2, 16), ranges)
def test_bits_and_step_are_each_others_inverse(bits, most):
    assert bits_of(step_of(bits, most), most) == pytest.approx(bits, rel=1e-6)


@given(bit_widths, ranges)
def test_a_grid_of_whole_bits_has_them_and_no_more(bits, most):
    assert whole_bits(*grid(bits, most)) == bits


@given(bit_widths, ranges, st.integers(0, 99))
def test_a_quantised_weight_is_on_the_grid_near_it_and_stays(bits, most, seed):
    step, end = grid(bits, most)
    weight = drawn(seed) * most
    found = quantised(weight, step, end)
    whole = integers(weight, step, end)
    assert int(whole.abs().max()) <= 2 ** (bits - 1) - 1
    assert len(pack(whole, bits)) == packed_length(bits, len(weight))
    clipped = weight.clamp(-end, end)
    assert bool(((found - clipped).abs() <= 0.501 * step).all())
    again = quantised(found, step, end)
    assert torch.allclose(again, found, rtol=1e-5, atol=0)
    assert torch.equal(integers(found, step, end), whole)


@given(st.floats(2, 8), ranges, st.integers(0, 99))
def test_gradients_are_autograds_through_an_identity_for_the_rounding(bits, most, seed):
    weight = (drawn(seed) * most).requires_grad_()
    step, end = (tensor.requires_grad_() for tensor in grid(bits, most))
    places = torch.minimum(torch.maximum(weight, -end), end) / step
    rounded = places + (places.round() - places).detach()
    slope = drawn(seed + 1)
    (rounded * step * slope).sum().backward()
    with torch.no_grad():
        found = gradients(weight, step, end, slope)
    for mine, theirs in zip(found, (weight.grad, step.grad, end.grad), strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3)


@given(st.floats(2, 6), st.integers(0, 99))
def test_gradients_of_step_and_range_are_finite_differences_between_roundings(bits, seed):
    """With each weight's rounding error (in steps) held, the quantiser is smooth in both."""
    most = 1.5
    weight, slope = drawn(seed).double(), drawn(seed + 1).double()
    step, end = torch.tensor(step_of(bits, most)).double(), torch.tensor(most).double()
    error = (weight.clamp(-end, end) / step).round() - weight.clamp(-end, end) / step

    def loss(step, end):
        return (slope * (weight.clamp(-end, end) / step + error) * step).sum()

    _, of_step, of_range = gradients(weight, step, end, slope)
    h = 1e-6
    by_step = (loss(step + h, end) - loss(step - h, end)) / (2 * h)
    by_range = (loss(step, end + h) - loss(step, end - h)) / (2 * h)
    beyond = bool(((weight.abs() - end).abs() < 2 * h).any())  # a weight that h clips
    assert float(of_step) == pytest.approx(float(by_step), rel=1e-4, abs=1e-4)
    assert beyond or float(of_range) == pytest.approx(float(by_range), rel=1e-4, abs=1e-4)
