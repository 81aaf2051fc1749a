"""Convolutions along time, with batch norm, as for speech."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, widths
from torch import nn

import autoprune


@few
@given(widths, widths, st.data())
def test_filters_over_time_go_as_those_over_space(one, other, data):
    network = shaken(
        nn.Sequential(
            nn.Flatten(1, 2),  # (batch, 1, mel, frame) -> (batch, mel, frame)
            nn.Conv1d(4, one, 3),
            nn.BatchNorm1d(one),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(one, other, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(other, 3),
        )
    )
    example = torch.zeros(1, 1, 4, 16)
    assert autoprune.prunable(network, example) == {"1": one, "5": other}
    kept = {"1": data.draw(choices(one)), "5": data.draw(choices(other))}
    assert_law(network, example, kept, {"2": gone(kept["1"], one), "5": gone(kept["5"], other)})
