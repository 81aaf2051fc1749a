"""Bit operations of a network whose weights, and perhaps activations, have fewer bits than 32.

Source: Qu et al. 2025 (GETA): a layer's BOPs are its MACs times the bits of a weight times those
of an activation; relative BOPs are those of the dense network at 32 bits each.
"""

from collections.abc import Mapping

FULL = 32  # bits of a float32


def bops(
    macs: Mapping[str, float], weight_bits: Mapping[str, int], activation_bits: int = FULL
) -> float:
    """Bit operations of one image, of the multiply-adds of each layer and the bits of its weights.

    A layer without ``weight_bits`` has FULL. GETA's weights are quantised and its activations are
    not, which is the default.
    """
    return sum(
        number * weight_bits.get(layer, FULL) * activation_bits for layer, number in macs.items()
    )


def relative_bops(found: float, dense_macs: float) -> float:
    """BOPs as a share of those of the dense network at FULL bits, whose MACs are given."""
    return found / (dense_macs * FULL * FULL)
