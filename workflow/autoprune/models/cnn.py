"""The paper's plain CNN: 28x28 with two convolutions, larger images with four."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.models.layers import (
    COMPILED,
    Conv2d,
    GlobalAveragePool,
    Network,
    check_widths,
    gradient,
    halved,
)
from autoprune.models.logits import cross_entropy

aten = torch.ops.aten
POOL = (2, 2)
# Below this side (pixels) the FEMNIST network is built, from it on the CelebA network.
LARGE = 64


class Cnn(Network):
    """5x5 convolutions, each with ReLU and a 2x2 max pool; a pool or a flatten; a linear layer."""

    def __init__(self, widths: Sequence[int], input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        self.input_shape = input_shape
        channels, height, width = input_shape
        sides = (height, width)
        large = min(sides) >= LARGE
        check_widths("cnn", widths, 4 if large else 2)
        self.prunable = tuple(f"conv{i + 1}" for i in range(len(widths)))
        for i, (name, filters) in enumerate(zip(self.prunable, widths, strict=True)):
            conv = Conv2d(channels, filters, 5, 1, "same" if large else "valid", sides)
            self.add_module(name, conv)
            self.add_module(f"pool{i + 1}", nn.MaxPool2d(2))
            sides, channels = halved(conv.output_sides), filters
        # the large network flattens its maps, the small one averages each to one number
        area = sides[0] * sides[1] if large else 1
        self.head = nn.Flatten() if large else GlobalAveragePool()
        self.linear = nn.Linear(channels * area, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, height, width) -> (batch, class) logits."""
        for i, name in enumerate(self.prunable):
            # the maximum before the ReLU is the same function on a quarter of the elements
            x = F.relu(self.get_submodule(f"pool{i + 1}")(self.get_submodule(name)(x)))
        return self.linear(self.head(x))

    @torch.no_grad()
    def backward(self, images: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """``Network.backward`` written out: the same operators, without autograd's bookkeeping.

        A step of the small networks here is some milliseconds, a tenth of which autograd takes.
        The tests hold it to autograd's gradients, bit for bit. With compiled ``gradients`` and
        float32 those of the convolutions are sums over what their pools let through, which are
        autograd's to rounding. Another loss than cross-entropy is autograd's.
        """
        if self.loss is not F.cross_entropy or images.device.type != "cpu":
            with torch.enable_grad():
                return super().backward(images, labels, dtype)
        convolutions = [self.get_submodule(name) for name in self.prunable]
        if self.gradients == COMPILED and dtype == torch.float32:
            # without it nothing of numba is loaded
            from autoprune.models.compiled.convolutions import forward

            x, down = forward(convolutions, images)
        else:
            x, down = self._by_torch(convolutions, images.to(dtype))
        features = self.head(x)  # (batch, feature)
        loss, slope = cross_entropy(self.linear, features, labels)
        if isinstance(self.head, nn.Flatten):
            slope = slope.view(x.shape)
        else:  # each place of a map has an equal part in its mean
            slope = slope[:, :, None, None].expand(x.shape) / (x.shape[2] * x.shape[3])
        down(slope)
        return loss

    @staticmethod
    def _by_torch(
        convolutions: Sequence[nn.Module], x: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], None]]:
        """The last maps, and what adds all gradients by that of theirs; by torch's operators."""
        blocks = []
        for conv in convolutions:
            assert isinstance(conv, Conv2d)
            kernel = conv.weight.to(x.dtype)
            maps = F.conv2d(x, kernel, conv.bias.to(x.dtype), padding=conv.padding)
            pooled, places = aten.max_pool2d_with_indices(maps, POOL, POOL)
            blocks.append((conv, kernel, x, maps, places, pooled.relu_()))
            x = pooled

        def down(slope: Tensor) -> None:
            for i, (conv, kernel, x, maps, places, pooled) in reversed(list(enumerate(blocks))):
                slope = aten.threshold_backward(slope, pooled, 0)
                slope = aten.max_pool2d_with_indices_backward(
                    slope, maps, POOL, POOL, (0, 0), (1, 1), False, places
                )
                slope, weights, biases = aten.convolution_backward(
                    *(slope, x, kernel, [len(kernel)], conv.stride, conv.padding, conv.dilation),
                    *(False, (0, 0), 1, (i > 0, True, True)),  # the images need no gradient
                )
                gradient(conv.weight).add_(weights)
                gradient(conv.bias).add_(biases)

        return x, down


def build(widths: Sequence[int], input_shape: tuple[int, int, int], classes: int) -> Cnn:
    """The CNN of method.md; 2 widths below 64 pixels a side, else 4."""
    return Cnn(widths, input_shape, classes)
