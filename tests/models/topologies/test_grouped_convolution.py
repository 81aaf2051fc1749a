"""Convolutions in groups: a whole group goes, with the channels that it reads and gives."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, widths
from torch import nn
from torch.nn import functional as F

import autoprune
from autoprune.core.errors import InputError


class Bottleneck(nn.Module):
    """As in ResNeXt, with a squeeze and excitation of what the groups give, as in RegNet."""

    def __init__(self, groups, reads, gives, features=5):
        super().__init__()
        self.stem = nn.Conv2d(1, features, 3)
        self.up = nn.Conv2d(features, groups * reads, 1)
        self.norm = nn.BatchNorm2d(groups * reads)
        self.grouped = nn.Conv2d(groups * reads, groups * gives, 3, padding=1, groups=groups)
        self.grouped_norm = nn.BatchNorm2d(groups * gives)
        self.squeeze = nn.Conv2d(groups * gives, 3, 1)
        self.excite = nn.Conv2d(3, groups * gives, 1)
        self.down = nn.Conv2d(groups * gives, features, 1)
        self.linear = nn.Linear(features, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = F.relu(self.grouped_norm(self.grouped(F.relu(self.norm(self.up(x))))))
        y = y * self.excite(F.relu(self.squeeze(y.mean((2, 3), True)))).sigmoid()
        return self.linear(F.relu(x + self.down(y)).mean((2, 3)))


def blocks(indices, size):
    """The channels of groups of this size."""
    return {size * index + i for index in indices for i in range(size)}


@few
@given(widths, st.integers(1, 3), st.integers(2, 3), st.data())
def test_a_group_takes_what_it_reads_and_what_it_gives(groups, reads, gives, data):
    network, example = shaken(Bottleneck(groups, reads, gives)), torch.zeros(1, 1, 7, 7)
    own = {"stem": 5, "up": groups, "squeeze": 3}
    assert autoprune.prunable(network, example) == own
    kept = {name: data.draw(choices(width)) for name, width in own.items()}
    lost = gone(kept["up"], groups)
    rows = {"norm": blocks(lost, reads), "grouped_norm": blocks(lost, gives)}
    rows |= {"stem": gone(kept["stem"], 5), "down": gone(kept["stem"], 5)}
    rows["squeeze"] = gone(kept["squeeze"], 3)
    smaller = assert_law(network, example, kept, rows, each={"up": reads})
    assert smaller.grouped.groups == len(kept["up"])
    assert smaller.grouped.in_channels == reads * len(kept["up"])
    assert smaller.grouped.weight.shape[:2] == (gives * len(kept["up"]), reads)


def in_a_row(*groups, between=None):
    """Convolutions in so many groups one behind the other, and a layer that reads them."""
    inner = [nn.Conv2d(12, 12, 3, padding=1, groups=number) for number in groups]
    if between:
        inner.insert(1, between)
    last = [nn.ReLU(), nn.Conv2d(12, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return shaken(nn.Sequential(nn.Conv2d(1, 12, 3), *inner, *last, nn.Linear(5, 3)))


def test_equal_groups_in_a_row_go_together():
    example, kept = torch.zeros(1, 1, 7, 7), {"0": [0, 2]}
    assert autoprune.prunable(in_a_row(3, 3), example) == {"0": 3, "4": 5}
    smaller = assert_law(in_a_row(3, 3), example, kept, {"2": blocks({1}, 4)}, each={"0": 4})
    assert smaller[1].groups == smaller[2].groups == 2
    one = autoprune.shrink(in_a_row(3, 3), example, {"0": [1]})
    assert one[1].groups == 1


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (in_a_row(2, 3), r"convolutions in 2 and in 3 groups"),
        (in_a_row(3, 3, between=nn.ChannelShuffle(3)), "."),
    ],
    ids=["unequal", "shuffled"],
)
def test_what_no_group_has_to_itself_stays_whole(network, reason):
    example = torch.zeros(1, 1, 7, 7)
    (last,) = autoprune.prunable(network, example)
    for layer in ("0", "1"):
        with pytest.raises(InputError, match=f"layer {layer}: cannot lose filters: .*{reason}"):
            autoprune.shrink(network, example, {layer: [0, 1]})
    assert_law(network, example, {last: [0, 3]}, {last: gone([0, 3], 5)})


def test_groups_of_the_image_itself_stay():
    first = nn.Conv2d(4, 12, 3, groups=2)
    network, example = shaken(nn.Sequential(first, *in_a_row(1)[2:])), torch.zeros(1, 4, 7, 7)
    assert autoprune.prunable(network, example) == {"2": 5}
    with pytest.raises(InputError, match=r"layer 0: cannot lose filters: .*does not run"):
        autoprune.shrink(network, example, {"0": [0]})
