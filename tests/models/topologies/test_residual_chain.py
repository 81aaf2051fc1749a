"""Blocks that add to one another: all that is added loses the same filters."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, widths
from torch import nn
from torch.nn import functional as F

import autoprune


class Block(nn.Module):
    def __init__(self, filters, inner):
        super().__init__()
        self.first = nn.Conv2d(filters, inner, 3, padding=1)
        self.second = nn.Conv2d(inner, filters, 3, padding=1)
        self.norm = nn.BatchNorm2d(filters)

    def forward(self, x):
        return F.relu(x + self.norm(self.second(F.relu(self.first(x)))))


class Chain(nn.Module):
    def __init__(self, filters, inner):
        super().__init__()
        self.stem = nn.Conv2d(1, filters, 3)
        self.blocks = nn.Sequential(Block(filters, inner), Block(filters, inner + 1))
        self.linear = nn.Linear(filters, 4)

    def forward(self, x):
        return self.linear(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


@few
@given(widths, widths, st.data())
def test_a_chain_of_additions_is_one_group(filters, inner, data):
    network, example = shaken(Chain(filters, inner)), torch.zeros(1, 1, 8, 8)
    own = {"stem": filters, "blocks.0.first": inner, "blocks.1.first": inner + 1}
    assert autoprune.prunable(network, example) == own
    kept = {name: data.draw(choices(width)) for name, width in own.items()}
    of_stem = gone(kept["stem"], filters)
    rows = dict.fromkeys(("stem", "blocks.0.norm", "blocks.1.norm"), of_stem)
    rows |= {name: gone(kept[name], own[name]) for name in ("blocks.0.first", "blocks.1.first")}
    smaller = assert_law(network, example, kept, rows)
    assert smaller.blocks[1].second.out_channels == smaller.linear.in_features == len(kept["stem"])
