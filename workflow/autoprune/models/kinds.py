"""Kinds of layers, whatever the number of their dimensions."""

from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def is_depthwise(module: nn.Module) -> bool:
    """Whether a convolution has a kernel a channel, so that its filters are its inputs'."""
    return (
        isinstance(module, CONVOLUTIONS)
        and 1 < module.groups == module.in_channels == module.out_channels
    )
