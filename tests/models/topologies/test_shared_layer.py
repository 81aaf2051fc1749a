"""One layer run twice: its inputs are its outputs, and both lose the same filters."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, widths
from torch import nn
from torch.nn import functional as F

import autoprune


class Twice(nn.Module):
    def __init__(self, filters):
        super().__init__()
        self.stem = nn.Conv2d(1, filters, 3)
        self.shared = nn.Conv2d(filters, filters, 3, padding=1)
        self.linear = nn.Linear(filters, 2)

    def forward(self, x):
        x = F.relu(self.stem(x))
        return self.linear(F.relu(self.shared(F.relu(self.shared(x)))).mean((2, 3)))


@few
@given(widths, st.data())
def test_a_shared_layer_is_cut_once_along_both_axes(filters, data):
    network, example = shaken(Twice(filters)), torch.zeros(1, 1, 6, 6)
    assert autoprune.prunable(network, example) == {"stem": filters}
    kept = {"stem": data.draw(choices(filters))}
    rows = dict.fromkeys(("stem", "shared"), gone(kept["stem"], filters))
    smaller = assert_law(network, example, kept, rows)
    assert smaller.shared.weight.shape[:2] == (len(kept["stem"]), len(kept["stem"]))
