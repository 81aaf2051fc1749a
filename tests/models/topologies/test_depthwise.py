"""A kernel a channel: its filters are those of the layer before it, and it has no others."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, widths
from torch import nn

import autoprune


class Separable(nn.Sequential):
    def __init__(self, filters, points):
        super().__init__(
            nn.Conv2d(2, filters, 1),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, groups=filters),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, points, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(points, 3),
        )


@few
@given(widths, widths, st.data())
def test_a_depthwise_layer_follows_the_one_before_it(filters, points, data):
    network, example = shaken(Separable(filters, points)), torch.zeros(1, 2, 7, 7)
    assert autoprune.prunable(network, example) == {"0": filters, "5": points}
    kept = {"0": data.draw(choices(filters)), "5": data.draw(choices(points))}
    rows = {"3": gone(kept["0"], filters), "5": gone(kept["5"], points)}
    smaller = assert_law(network, example, kept, rows)
    assert smaller[2].groups == smaller[2].in_channels == smaller[3].num_features == len(kept["0"])
