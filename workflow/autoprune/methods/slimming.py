"""Network slimming: batch norm's scales are trained sparse, the filters with the smallest go.

Source: Liu et al. 2017, "Learning Efficient Convolutional Networks through Network Slimming". Ours
differs, declared: filters that several batch norms share are ranked by the mean of their scales;
and in searches of a few rounds the sparsity term moves scales little.
"""

from argparse import ArgumentParser
from typing import Any

import torch
from torch import Tensor

from autoprune.errors import InputError
from autoprune.methods._following import Following
from autoprune.methods._ratio import Ratio
from autoprune.models import Architecture, build
from autoprune.models.layers import Network
from autoprune.pruning.budget import globally_largest
from autoprune.pruning.shrink import Kept


class Method(Ratio):
    """One threshold over all layers; clients add the sparsity term until then. Needs batch norm."""

    variants = ("one-shot", "iterative")

    def __init__(
        self, base: Architecture, seed: int, variant: str, settings: dict[str, Any]
    ) -> None:
        super().__init__(base, seed, variant, settings)
        network = build(base)
        if not all(network.norms(layer) for layer in range(len(base.widths))):
            raise InputError(
                f"method slimming: network {base.family} has no batch norm behind every prunable "
                "convolution; leave the method out for it (pairs.<pair>.methods)"
            )

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """The run that is followed, and the weight of the sparsity term."""
        Following.add_arguments(parser)
        parser.add_argument(
            "--norm-l1", type=float, default=1e-4, help="times the sum of |scale| joins the loss"
        )

    def ask(self, server_round: int) -> dict[str, str | float]:
        """The sparsity term, while filters are still to be chosen."""
        pruned = server_round >= self.reference.stop
        return {} if pruned else {"norm-l1": float(self.settings["norm_l1"])}

    def choose(self, architecture: Architecture, network: Network, budget: int) -> Kept:
        """The largest |scale| of all layers."""
        scores = [scales(network, layer).tolist() for layer in range(len(architecture.widths))]
        return globally_largest(architecture, scores, budget, self.count)


def scales(network: Network, layer: int) -> Tensor:
    """|scale| (filter,) of a prunable convolution's batch norms; of coupled ones the mean.

    By the sum a filter of five norms would outlast one of a single norm for their number alone.
    """
    norms = [network.get_submodule(name) for name in network.norms(layer)]
    return torch.stack([norm.weight.detach().abs() for norm in norms]).mean(0)
