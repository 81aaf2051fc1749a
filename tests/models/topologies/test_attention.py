"""Attention: what is normalised or multiplied together stays whole, the feed-forward part goes."""

import pytest
import torch
from law import assert_law, gone, shaken
from torch import nn
from torch.nn import functional as F

import autoprune
from autoprune.core.errors import InputError


class Encoder(nn.Module):
    """(batch, 1, feature, step) -> (batch, 3): one block of a transformer."""

    def __init__(self, features=8, heads=2, inner=6):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(features), nn.LayerNorm(features)
        self.queries = nn.Linear(features, 3 * features)
        self.joined = nn.Linear(features, features)
        self.up, self.down = nn.Linear(features, inner), nn.Linear(inner, features)
        self.last = nn.Linear(features, 3)

    def forward(self, x):
        x = x.flatten(1, 2).transpose(1, 2)  # (batch, step, feature)
        batch, steps, features = x.shape
        parts = self.queries(self.norm1(x)).view(batch, steps, 3, self.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # (batch, head, step, feature / heads)
        shares = (q @ k.transpose(-2, -1)).softmax(-1)
        x = x + self.joined((shares @ v).transpose(1, 2).reshape(batch, steps, features))
        x = x + self.down(F.relu(self.up(self.norm2(x))))
        return self.last(x.mean(1))


def test_the_units_between_go_and_all_else_stays_with_a_reason():
    network, example = shaken(Encoder()), torch.zeros(1, 1, 8, 5)
    assert autoprune.prunable(network, example, linear=True) == {"up": 6}
    for layer in ("queries", "joined"):
        with pytest.raises(InputError, match=f"layer {layer}: cannot lose filters: ."):
            autoprune.shrink(network, example, {layer: [0, 1]})
    smaller = assert_law(network, example, {"up": [0, 2, 5]}, {"up": gone([0, 2, 5], 6)})
    assert smaller.down.in_features == 3
