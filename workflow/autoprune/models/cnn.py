"""The paper's plain CNN: 28x28 with two convolutions, larger images with four."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.models.layers import (
    Conv2d,
    GlobalAveragePool,
    Network,
    Span,
    Wiring,
    check_widths,
    halved,
)

# Below this side (pixels) the FEMNIST network is built, from it on the CelebA network.
LARGE = 64


class Cnn(Network):
    """5x5 convolutions, each with ReLU and a 2x2 max pool; a pool or a flatten; a linear layer."""

    def __init__(self, widths: Sequence[int], input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        channels, height, width = input_shape
        sides = (height, width)
        large = min(sides) >= LARGE
        check_widths("cnn", widths, 4 if large else 2)
        self.prunable = tuple(f"conv{i + 1}" for i in range(len(widths)))
        self.wiring = {}
        for i, (name, filters) in enumerate(zip(self.prunable, widths, strict=True)):
            conv = Conv2d(channels, filters, 5, 1, "same" if large else "valid", sides)
            self.add_module(name, conv)
            self.add_module(f"pool{i + 1}", nn.MaxPool2d(2))
            self.wiring[name] = Wiring((Span(i),), (Span(i - 1),) if i else ())
            sides, channels = halved(conv.output_sides), filters
        # the large network flattens its maps, the small one averages each to one number
        area = sides[0] * sides[1] if large else 1
        self.head = nn.Flatten() if large else GlobalAveragePool()
        self.linear = nn.Linear(channels * area, classes)
        self.wiring["linear"] = Wiring((), (Span(len(widths) - 1, area),))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, height, width) -> (batch, class) logits."""
        for i, name in enumerate(self.prunable):
            # the maximum before the ReLU is the same function on a quarter of the elements
            x = F.relu(self.get_submodule(f"pool{i + 1}")(self.get_submodule(name)(x)))
        return self.linear(self.head(x))  # type: ignore[no-any-return]


def build(widths: Sequence[int], input_shape: tuple[int, int, int], classes: int) -> Cnn:
    """The CNN of method.md; 2 widths below 64 pixels a side, else 4."""
    return Cnn(widths, input_shape, classes)
