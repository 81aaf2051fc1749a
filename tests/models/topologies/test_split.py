"""A layer's filters in two parts, each with a way of its own: it stays whole."""

import pytest
import torch
from law import shaken
from torch import nn
from torch.nn import functional as F

import autoprune
from autoprune.core.errors import InputError


class Split(nn.Module):
    """The first half goes through a layer of its own, as in ShuffleNet; sizes are written in."""

    def __init__(self, half):
        super().__init__()
        self.half = half
        self.both = nn.Conv2d(1, 2 * half, 3)
        self.own = nn.Conv2d(half, 5, 3)
        self.last = nn.Conv2d(5 + half, 3, 1)

    def forward(self, x):
        left, right = F.relu(self.both(x)).split([self.half, self.half], 1)
        return self.last(torch.cat([F.relu(self.own(left)), right[:, :, 1:-1, 1:-1]], 1)).mean(
            (2, 3)
        )


@pytest.mark.parametrize("half", [3, 4])
def test_a_layer_that_is_split_at_a_written_place_stays_whole(half):
    network, example = shaken(Split(half)), torch.zeros(1, 1, 9, 9)
    assert autoprune.prunable(network, example) == {"own": 5}
    with pytest.raises(
        InputError, match=r"layer both: cannot lose filters: .*unequal numbers of places"
    ):
        autoprune.shrink(network, example, {"both": [0, 1]})
    smaller = autoprune.shrink(network, example, {"own": [1, 4]})
    assert smaller.last.in_channels == 2 + half


class Halves(Split):
    """The same by chunk: its parts would trade filters when one loses more than the other."""

    def forward(self, x):
        left, right = F.relu(self.both(x)).chunk(2, 1)
        return self.last(torch.cat([F.relu(self.own(left)), right[:, :, 1:-1, 1:-1]], 1)).mean(
            (2, 3)
        )


def test_halves_that_would_trade_filters_stay_whole():
    network, example = shaken(Halves(4)), torch.zeros(1, 1, 9, 9)
    assert autoprune.prunable(network, example) == {"own": 5}
