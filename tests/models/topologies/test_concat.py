"""Branches side by side: what reads them has the places of one behind those of the other."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, widths
from torch import nn
from torch.nn import functional as F

import autoprune


class Concat(nn.Module):
    def __init__(self, one, other):
        super().__init__()
        self.one = nn.Conv2d(2, one, 3, padding=1)
        self.other = nn.Conv2d(2, other, 1)
        self.norm = nn.BatchNorm2d(one + other)
        self.last = nn.Conv2d(one + other, 3, 1)

    def forward(self, x):
        x = torch.cat([self.one(x), self.other(x)], 1)
        return self.last(F.relu(self.norm(x))).mean((2, 3))


@few
@given(widths, widths, st.data())
def test_a_concatenation_loses_what_each_branch_loses(one, other, data):
    network, example = shaken(Concat(one, other)), torch.zeros(1, 2, 6, 6)
    kept = {"one": data.draw(choices(one)), "other": data.draw(choices(other))}
    of_norm = gone(kept["one"], one) | gone(kept["other"], other, one)
    smaller = assert_law(network, example, kept, {"norm": of_norm})
    assert smaller.last.in_channels == len(kept["one"]) + len(kept["other"])
    # the last layer's filters are the classes
    assert autoprune.prunable(network, example) == {"one": one, "other": other}
