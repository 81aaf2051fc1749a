"""The paper's Inception: two blocks of parallel convolutions between strided ones."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.models.layers import Conv2d, GlobalAveragePool, Network, check_widths

KERNELS = (1, 3, 5)
HIDDEN = 50  # units of the first linear layer; not pruned


class Inception(Network):
    """``widths`` = stem, three branches, three branches, two strided convolutions."""

    def __init__(self, widths: Sequence[int], input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        check_widths("inception", widths, 9)
        self.input_shape = input_shape
        self.prunable = (
            "stem",
            *(f"block{b}.branch{k}x{k}" for b in (1, 2) for k in KERNELS),
            "conv1",
            "conv2",
        )
        self.stem = Conv2d(input_shape[0], widths[0], 3, 2, "valid", input_shape[1:])
        sides = self.stem.output_sides
        self.block1 = _block(widths[0], widths[1:4], sides)
        self.block2 = _block(sum(widths[1:4]), widths[4:7], sides)
        self.conv1 = Conv2d(sum(widths[4:7]), widths[7], 3, 2, "valid", sides)
        self.conv2 = Conv2d(widths[7], widths[8], 3, 2, "valid", self.conv1.output_sides)
        self.pool = GlobalAveragePool()
        self.linear1 = nn.Linear(widths[8], HIDDEN)
        self.linear2 = nn.Linear(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, height, width) -> (batch, class) logits."""
        x = F.relu(self.stem(x))
        for block in (self.block1, self.block2):
            # one ReLU over the concatenation is that of each branch
            x = F.relu(torch.cat([branch(x) for branch in block.children()], dim=1))
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.linear2(F.relu(self.linear1(self.pool(x))))


def _block(inputs: int, widths: Sequence[int], sides: tuple[int, int]) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            f"branch{kernel}x{kernel}": Conv2d(inputs, width, kernel, 1, "same", sides)
            for kernel, width in zip(KERNELS, widths, strict=True)
        }
    )


def build(widths: Sequence[int], input_shape: tuple[int, int, int], classes: int) -> Inception:
    """The Inception network of method.md; 9 widths."""
    return Inception(widths, input_shape, classes)
