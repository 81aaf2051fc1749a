"""A small conformer for spectrograms: convolution and attention over time, between half steps.

Source: Gulati et al. 2020, "Conformer: Convolution-augmented Transformer for Speech Recognition",
figures 1 to 4, without dropout; attention knows no positions but those that convolutions see.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.core.errors import InputError
from autoprune.models.layers import Add, BatchNorm1d, Network, check_widths

FEATURES = 64  # of a frame between the modules; normalised together, so that none of them can go
HEAD = 8  # rows of the queries, keys and values of a head
KERNEL = 5  # frames, of the convolutions that halve their number
DEPTHWISE = 7  # frames, at a quarter of their number
SHORTEST = 8  # frames, so that two are left


class FeedForward(nn.Module):
    """Norm, ``hidden`` units with swish, and back; half of it is to be added."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FEATURES)
        self.up = nn.Linear(FEATURES, hidden)
        self.down = nn.Linear(hidden, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frame, feature) -> the same."""
        return 0.5 * self.down(F.silu(self.up(self.norm(x))))


class Attention(nn.Module):
    """Norm and self-attention of ``num_heads`` heads, which ask for no number of features."""

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(FEATURES)
        self.qkv = nn.Linear(FEATURES, 3 * num_heads * HEAD)
        self.joined = nn.Linear(num_heads * HEAD, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frame, feature) -> the same."""
        batch, frames, _ = x.shape
        parts = self.qkv(self.norm(x)).view(batch, frames, 3, self.num_heads, HEAD)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)  # (batch, head, frame, row)
        shares = (q @ k.transpose(-2, -1) * HEAD**-0.5).softmax(-1)
        return self.joined((shares @ v).transpose(1, 2).flatten(2))


class Convolution(nn.Module):
    """Norm, a gated linear unit of ``channels``, a convolution of each, batch norm, swish, back.

    The two halves of the gated unit are layers of their own, so that a channel is one row of both.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FEATURES)
        self.value = nn.Linear(FEATURES, channels)
        self.gate = nn.Linear(FEATURES, channels)
        self.depthwise = nn.Conv1d(
            channels, channels, DEPTHWISE, padding=DEPTHWISE // 2, groups=channels
        )
        self.batch_norm = BatchNorm1d(channels)
        self.back = nn.Linear(channels, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frame, feature) -> the same."""
        x = self.norm(x)
        x = (self.value(x) * self.gate(x).sigmoid()).transpose(1, 2)  # (batch, channel, frame)
        x = F.silu(self.batch_norm(self.depthwise(x)))
        return self.back(x.transpose(1, 2))


class Block(nn.Module):
    """Half a feed-forward step, attention, convolution, the other half; a norm."""

    def __init__(self, first: int, heads: int, channels: int, second: int) -> None:
        super().__init__()
        self.before, self.after = FeedForward(first), FeedForward(second)
        self.attention, self.convolution = Attention(heads), Convolution(channels)
        self.add = Add()
        self.norm = nn.LayerNorm(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frame, feature) -> the same."""
        for module in (self.before, self.attention, self.convolution, self.after):
            x = self.add(x, module(x))
        return self.norm(x)


class Conformer(Network):
    """Two convolutions over 5 frames that halve their number, blocks, the mean over the frames.

    ``widths``: the filters of the first convolution; then of each block the units of its first
    half step, its heads, the channels of its convolution, and the units of its second half step.
    """

    def __init__(self, widths: Sequence[int], input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        blocks = max(1, (len(widths) - 1) // 4)
        check_widths("conformer", widths, 1 + 4 * blocks)
        self.input_shape = input_shape
        channels, bands, frames = input_shape
        if frames < SHORTEST:
            raise InputError(
                f"input shape: {frames} frames (pixels from left to right), conformer needs "
                f"{SHORTEST} at least; use wider images or another family"
            )
        filters, *inner = widths
        self.stem = nn.Conv1d(channels * bands, filters, KERNEL, 2, KERNEL // 2)
        self.stem_norm = BatchNorm1d(filters)
        self.features = nn.Conv1d(filters, FEATURES, KERNEL, 2, KERNEL // 2)
        self.blocks = nn.ModuleList(
            Block(*inner[start : start + 4]) for start in range(0, 4 * blocks, 4)
        )
        self.linear = nn.Linear(FEATURES, classes)
        self.prunable = (
            "stem",
            *(
                f"blocks.{block}.{name}"
                for block in range(blocks)
                for name in ("before.up", "attention", "convolution.value", "after.up")
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, band, frame) -> (batch, class) logits."""
        x = F.relu(self.stem_norm(self.stem(x.flatten(1, 2))))  # (batch, filter, frame / 2)
        x = F.relu(self.features(x)).transpose(1, 2)  # (batch, frame / 4, feature)
        for block in self.blocks:
            x = block(x)
        return self.linear(x.mean(1))


def build(widths: Sequence[int], input_shape: tuple[int, int, int], classes: int) -> Conformer:
    """The conformer of 1 + 4 widths a block; images are (bands, frames), rows are channels."""
    return Conformer(widths, input_shape, classes)
