"""Attention: whole heads go where its module says their number; elsewhere they stay."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from law import assert_law, choices, few, gone, shaken, silenced
from torch import nn
from torch.nn import functional as F

import autoprune
from autoprune.core.errors import InputError

FEATURES, STEPS = 12, 5
EXAMPLE = torch.zeros(1, 1, FEATURES, STEPS)


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


def test_a_module_that_counts_on_its_inputs_size_stays_whole_and_says_so():
    network, example = shaken(Encoder()), torch.zeros(1, 1, 8, 5)
    assert autoprune.prunable(network, example, linear=True) == {"up": 6}
    with pytest.raises(InputError, match=r"as attention of 2 heads: without .* does not run"):
        autoprune.shrink(network, example, {"": [0]})
    for layer in ("queries", "joined"):
        with pytest.raises(InputError, match=f"layer {layer}: cannot lose filters: ."):
            autoprune.shrink(network, example, {layer: [0, 1]})
    smaller = assert_law(network, example, {"up": [0, 2, 5]}, {"up": gone([0, 2, 5], 6)})
    assert smaller.down.in_features == 3


def attend(q, k, v, bias=0.0):
    """(batch, step, head, row) each -> (batch, step, head * row)."""
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    shares = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias).softmax(-1)
    return (shares @ v).transpose(1, 2).flatten(2)


class Separate(nn.Module):
    """Three projections, named in no telling order, and a fourth of the same size behind them."""

    def __init__(self, heads, rows):
        super().__init__()
        self.num_heads, inner = heads, heads * rows
        self.of_v, self.of_q, self.of_k = (nn.Linear(FEATURES, inner) for _ in range(3))
        self.out = nn.Sequential(nn.Linear(inner, FEATURES), nn.Dropout(0.1))

    def forward(self, x):
        sides = (*x.shape[:2], self.num_heads, -1)
        q, k, v = (layer(x).view(sides) for layer in (self.of_q, self.of_k, self.of_v))
        return self.out(attend(q, k, v))

    def values(self, lost, heads, rows):
        return {"of_v": blocks(lost, rows)}


class Packed(nn.Module):
    """All three in one, behind one another; a bias a head, as of relative positions."""

    def __init__(self, heads, rows):
        super().__init__()
        self.heads = heads
        self.bias = nn.Parameter(torch.zeros(heads, STEPS, STEPS))
        self.qkv = nn.Linear(FEATURES, 3 * heads * rows, bias=False)
        self.out = nn.Linear(heads * rows, FEATURES)

    def forward(self, x):
        parts = self.qkv(x).view(*x.shape[:2], 3, self.heads, -1)
        return self.out(attend(*parts.unbind(2), self.bias))

    def values(self, lost, heads, rows):
        return {"qkv": {2 * heads * rows + row for row in blocks(lost, rows)}}


class Interleaved(Packed):
    """All three in one, head after head."""

    def forward(self, x):
        parts = self.qkv(x).view(*x.shape[:2], self.heads, 3, -1)
        return self.out(attend(*parts.unbind(3), self.bias))

    def values(self, lost, heads, rows):
        return {"qkv": {3 * rows * head + 2 * rows + row for head in lost for row in range(rows)}}


class KeysWithValues(Separate):
    """Queries apart, keys and values in one."""

    def __init__(self, heads, rows):
        super().__init__(heads, rows)
        del self.of_k
        self.of_v = nn.Linear(FEATURES, 2 * heads * rows)

    def forward(self, x):
        sides = (*x.shape[:2], self.num_heads, -1)
        k, v = (part.reshape(sides) for part in self.of_v(x).chunk(2, -1))
        return self.out(attend(self.of_q(x).view(sides), k, v))

    def values(self, lost, heads, rows):
        return {"of_v": {heads * rows + row for row in blocks(lost, rows)}}


class Around(nn.Module):
    """(batch, 1, feature, step) -> (batch, 3): attention with a residual, and units behind it."""

    def __init__(self, attention):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(FEATURES), attention
        self.up, self.last = nn.Linear(FEATURES, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = x.flatten(1, 2).transpose(1, 2)  # (batch, step, feature)
        x = x + self.attention(self.norm(x))
        return self.last(F.relu(self.up(x)).mean(1))


def blocks(indices, size):
    """The rows of heads of this size."""
    return {size * index + i for index in indices for i in range(size)}


@pytest.mark.parametrize("kind", [Separate, Packed, Interleaved, KeysWithValues])
@few
@given(st.integers(2, 5), st.integers(1, 4), st.data())
def test_heads_go_with_all_their_rows(kind, heads, rows, data):
    network = shaken(Around(kind(heads, rows)))
    own = {"attention": heads, "up": 4}
    assert autoprune.prunable(network, EXAMPLE, linear=True) == own
    kept = {name: data.draw(choices(width)) for name, width in own.items()}
    smaller = autoprune.shrink(network, EXAMPLE, kept)
    quiet = network.attention.values(gone(kept["attention"], heads), heads, rows)
    expected = silenced(
        network,
        {f"attention.{name}": of for name, of in quiet.items()} | {"up": gone(kept["up"], 4)},
    )
    inputs = torch.rand(3, *EXAMPLE.shape[1:], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(smaller(inputs), expected(inputs), rtol=1e-4, atol=1e-4)
    left = len(kept["attention"])
    reader = smaller.attention.out
    reader = reader[0] if isinstance(reader, nn.Sequential) else reader
    assert reader.in_features == left * rows
    assert getattr(smaller.attention, "num_heads", getattr(smaller.attention, "heads", 0)) == left


def test_heads_go_only_where_linear_layers_do():
    network = shaken(Around(Separate(3, 2)))
    assert autoprune.prunable(network, EXAMPLE) == {}


class Torchs(nn.MultiheadAttention):
    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)[0]


def test_torchs_own_attention_is_refused_by_name_and_what_is_around_it_goes():
    network = shaken(Around(Torchs(FEATURES, 3, batch_first=True)))
    assert autoprune.prunable(network, EXAMPLE, linear=True) == {"up": 4}
    with pytest.raises(InputError, match=r"layer attention: .*nn\.MultiheadAttention .*embed_dim"):
        autoprune.shrink(network, EXAMPLE, {"attention": [0, 2]})
    assert_law(network, EXAMPLE, {"up": [1, 2]}, {"up": {0, 3}})


class Several(Separate):
    """Normalised over all heads together: none can go."""

    def forward(self, x):
        sides = (*x.shape[:2], self.num_heads, -1)
        q, k, v = (layer(x) for layer in (self.of_q, self.of_k, self.of_v))
        return self.out(attend(F.normalize(q, dim=-1).view(sides), k.view(sides), v.view(sides)))


def test_heads_that_are_normalised_together_stay():
    network = shaken(Around(Several(3, 2)))
    assert autoprune.prunable(network, EXAMPLE, linear=True) == {"up": 4}
    with pytest.raises(InputError, match="of 3 heads: what is left computes something else"):
        autoprune.shrink(network, EXAMPLE, {"attention": [0, 2]})
