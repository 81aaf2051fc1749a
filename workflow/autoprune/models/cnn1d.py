"""A plain CNN over time, for spectrograms: its channels are the bands, its axis the frames."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from autoprune.core.errors import InputError
from autoprune.models.layers import BatchNorm1d, Network, check_widths

BLOCKS = 3
KERNEL = 5  # frames
SHORTEST = 2**BLOCKS  # frames: each block halves them


class Cnn1d(Network):
    """Three times a convolution over 5 frames, batch norm, a max pool of 2 and ReLU; the mean."""

    def __init__(self, widths: Sequence[int], input_shape: tuple[int, int, int], classes: int):
        super().__init__()
        check_widths("cnn1d", widths, BLOCKS)
        self.input_shape = input_shape
        channels, bands, frames = input_shape
        if frames < SHORTEST:
            raise InputError(
                f"input shape: {frames} frames (pixels from left to right), cnn1d needs "
                f"{SHORTEST} at least; use wider images or another family"
            )
        self.prunable = tuple(f"conv{i + 1}" for i in range(BLOCKS))
        inputs = channels * bands
        for i, (name, filters) in enumerate(zip(self.prunable, widths, strict=True)):
            self.add_module(name, nn.Conv1d(inputs, filters, KERNEL, padding=KERNEL // 2))
            self.add_module(f"norm{i + 1}", BatchNorm1d(filters))
            self.add_module(f"pool{i + 1}", nn.MaxPool1d(2))
            inputs = filters
        self.mean = nn.AdaptiveAvgPool1d(1)
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, band, frame) -> (batch, class) logits."""
        x = x.flatten(1, 2)  # (batch, channel * band, frame)
        for i, name in enumerate(self.prunable):
            x = self.get_submodule(f"norm{i + 1}")(self.get_submodule(name)(x))
            x = F.relu(self.get_submodule(f"pool{i + 1}")(x))
        return self.linear(self.mean(x).flatten(1))


def build(widths: Sequence[int], input_shape: tuple[int, int, int], classes: int) -> Cnn1d:
    """The CNN over time of 3 widths; images are (bands, frames), all their rows channels."""
    return Cnn1d(widths, input_shape, classes)
