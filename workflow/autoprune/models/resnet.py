"""The paper's small ResNet: a stem, then blocks that return to the stem's width."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.models.layers import (
    COMPILED,
    Add,
    BatchNorm2d,
    Conv2d,
    Network,
    check_widths,
    halved,
)
from autoprune.models.logits import cross_entropy


class Shortcut(Conv2d):
    """A 1x1 convolution of stride 2, trained as one of stride 1 on every second row and column.

    That is the same. torch 2.13 on CPUs writes beyond its memory in the backward pass of the
    former where channels-last images have 2 to 6 channels, and with two threads gets the kernel's
    gradient wrong now and then, by up to its own size. Outside training it stays one operation, for
    exported files.
    """

    def __init__(self, inputs: int, outputs: int, sides: tuple[int, int]) -> None:
        super().__init__(inputs, outputs, 1, 2, "same", sides)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, inputs, height, width) -> (batch, outputs, *output_sides)."""
        if self.training:
            return F.conv2d(x[:, :, ::2, ::2], self.weight, self.bias)
        return super().forward(x)


class Block(nn.Module):
    """Convolution to ``width`` at stride 2, back to the stem's width, plus a 1x1 shortcut."""

    def __init__(self, stem: int, width: int, sides: tuple[int, int]):
        super().__init__()
        self.conv1 = Conv2d(stem, width, 3, 2, "same", sides)
        self.norm1 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, stem, 3, 1, "same", self.conv1.output_sides)
        self.norm2 = BatchNorm2d(stem)
        self.shortcut = Shortcut(stem, stem, sides)
        self.shortcut_norm = BatchNorm2d(stem)
        self.add = Add()

    def forward(self, x: Tensor) -> Tensor:
        """(batch, stem, height, width) -> (batch, stem, ceil(height / 2), ceil(width / 2))."""
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.add(y, self.shortcut_norm(self.shortcut(x))))


class ResNet(Network):
    """``widths`` = stem, then one width a block; all block outputs share the stem's filters."""

    def __init__(self, widths: Sequence[int], input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        check_widths("resnet", widths, 3)
        self.input_shape = input_shape
        stem, *inner = widths
        self.stem = Conv2d(input_shape[0], stem, 3, 2, "same", input_shape[1:])
        self.stem_norm = BatchNorm2d(stem)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)  # "same": an odd row stays
        sides = halved(self.stem.output_sides, up=True)
        self.blocks = nn.ModuleList()
        for width in inner:
            block = Block(stem, width, sides)
            self.blocks.append(block)
            sides = block.conv1.output_sides
        area = sides[0] * sides[1]
        self.linear = nn.Linear(stem * area, classes)

        self.prunable = ("stem", *(f"blocks.{i}.conv1" for i in range(len(inner))))
        # the authors' layer sizes: each block returns to the stem's, and loses what the stem loses
        self.tied = {"stem": tuple(f"blocks.{i}.conv2" for i in range(len(inner)))}

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, height, width) -> (batch, class) logits."""
        x = F.relu(self.pool(self.stem_norm(self.stem(x))))
        for block in self.blocks:
            x = block(x)
        return self.linear(x.flatten(1))

    def backward(self, images: Tensor, labels: Tensor, dtype: torch.dtype) -> Tensor:
        """``Network.backward``; with compiled ``gradients`` and float32 by steps of this package.

        These take a batch's images side by side, so that few filters are no slower each than many.
        Another loss than cross-entropy is autograd's, and what batch norm does not train on.
        """
        last = self.blocks[-1].get_submodule("conv1")
        assert isinstance(last, Conv2d)
        numbers = len(images) * math.prod(last.output_sides)  # of a channel, where they are fewest
        if (
            self.gradients != COMPILED
            or dtype != torch.float32
            or images.device.type != "cpu"
            or self.loss is not F.cross_entropy
            or not self.training
            or numbers < 2
        ):
            return super().backward(images, labels, dtype)
        # without it nothing of numba is loaded
        from autoprune.models.compiled.residual import forward

        with torch.no_grad():
            features, down = forward(self, images)
            loss, slope = cross_entropy(self.linear, features, labels)
            down(slope)
        return loss


def build(widths: Sequence[int], input_shape: tuple[int, int, int], classes: int) -> ResNet:
    """The ResNet of method.md; 3 widths: the stem's and two blocks'."""
    return ResNet(widths, input_shape, classes)
