"""A flatten behind pooling: a filter takes its whole block of inputs with it."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, widths
from torch import nn

import autoprune


@few
@given(widths, st.sampled_from([(8, 8), (9, 6), (4, 13)]), st.data())
def test_a_filter_takes_its_block_with_it(filters, sides, data):
    places = (sides[0] - 2) // 2 * ((sides[1] - 2) // 2)
    network = shaken(
        nn.Sequential(
            nn.Conv2d(2, filters, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(filters * places, 4),
            nn.ReLU(),
            nn.Linear(4, 3),
        )
    )
    example = torch.zeros(1, 2, *sides)
    kept = {"0": data.draw(choices(filters))}
    smaller = assert_law(network, example, kept, {"0": gone(kept["0"], filters)})
    assert smaller[4].in_features == len(kept["0"]) * places
    # units of linear layers go where they are asked for
    assert autoprune.prunable(network, example, linear=True) == {"0": filters, "4": 4}
    assert_law(network, example, {"4": [1, 2]}, {"4": {0, 3}})
