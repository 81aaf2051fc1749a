"""Two heads on one trunk: the trunk loses filters, the heads' outputs, the classes, never."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, widths
from torch import nn
from torch.nn import functional as F

import autoprune


class Heads(nn.Module):
    def __init__(self, trunk, hidden):
        super().__init__()
        self.trunk = nn.Conv2d(1, trunk, 3)
        self.hidden = nn.Conv2d(trunk, hidden, 1)
        self.one = nn.Linear(hidden, 2)
        self.other = nn.Conv2d(trunk, 3, 1)

    def forward(self, x):
        x = F.relu(self.trunk(x))
        one = self.one(F.relu(self.hidden(x)).mean((2, 3)))
        return torch.cat([one, self.other(x).amax((2, 3))], 1)


@few
@given(widths, widths, st.data())
def test_the_heads_answers_stay(trunk, hidden, data):
    network, example = shaken(Heads(trunk, hidden)), torch.zeros(1, 1, 6, 6)
    assert autoprune.prunable(network, example) == {"trunk": trunk, "hidden": hidden}
    kept = {"trunk": data.draw(choices(trunk)), "hidden": data.draw(choices(hidden))}
    rows = {name: gone(kept[name], width) for name, width in (("trunk", trunk), ("hidden", hidden))}
    smaller = assert_law(network, example, kept, rows)
    assert smaller(torch.zeros(1, 1, 6, 6)).shape == (1, 5)
