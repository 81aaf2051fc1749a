"""GETA: structured pruning and quantisation in one training, whose stages are counted in rounds.

Source: Qu et al. 2025, "Automatic Joint Structured Pruning and Quantization for Efficient Neural
Network Training and Compression" (QASSO, algorithm 2), and its published code (microsoft/geta,
only_train_once/optimizer/geta.py). Here clients train weights, steps and ranges together, and the
server does after averaging what their optimizer does after each step: it projects the grids into
the bit range, ranks the filters and lets the redundant ones be forgotten.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from autoprune.core.block import Block
from autoprune.methods._following import Following
from autoprune.methods._stages import Stages, stages
from autoprune.models import Architecture, cost
from autoprune.models.layers import Network
from autoprune.models.own import by_filter, own_parameters
from autoprune.models.places import Kept
from autoprune.models.quantised import Part, grids
from autoprune.models.quantiser import bits_of, largest, step_of
from autoprune.pruning.bits import projected, whole
from autoprune.pruning.budget import globally_largest
from autoprune.pruning.shrink import cut

NARROWEST = 8  # a range is no less than this part of the largest weight, so that none runs away


class Method(Following):
    """The reference's parameters at a mean of ``bits`` a weight: neither half alone is as small.

    - **warm-up**: 16 bits a weight, ranges as wide as the weights;
    - **projection**: each period narrows the bit range by as many bits, down to the target. A layer
      may have ``spread`` bits more or less than the mean, which is over all weights;
    - **joint stage**: before each period all filters are ranked together by what the round's
      clients answer and by the weights themselves; those that go in it lose an equal part of what
      is left of them after every round, and are cut when nothing is;
    - **cool-down**: whole bits for each layer, the filters that are left.

    The upload of two numbers a filter is charged in the rounds before a period.
    """

    variants = ("joint",)
    labels = {"joint": "GETA"}
    encoding = "packed"
    differs = (
        "a run ends at a number of parameters and a mean of bits, where the original is given a "
        "share of groups and a bit range; the server projects, ranks and forgets after each round, "
        "where the original does after each step; what goes is forgotten at an even pace, where "
        "the original sets pace and step by the angle to the gradient; the mapping is linear, as "
        "it is by default in the original's code; steps and ranges are trained as logarithms, by "
        "the weights' optimizer, at ten times their rate where that is Adam; clients start at a "
        "random place in the cells of the grids that the weights travel on, whose middles no round "
        "leaves"
    )

    class Settings(Following.Settings):
        """The run that is followed, the bits, and the stages."""

        rounds: int = Field(ge=1, description="of the run")
        bits: int = Field(4, ge=2, le=16, description="mean bits of a weight")
        spread: int = Field(2, ge=0, description="bits that a layer may have more or less")
        warm_up: float = Field(0.1, ge=0, lt=1, description="share of the rounds at 16 bits")
        projection: float = Field(
            0.2, ge=0, lt=1, description="share of the rounds that narrow the bit range"
        )
        joint: float = Field(0.3, gt=0, lt=1, description="share of the rounds that prune")
        periods: int = Field(5, ge=1, description="of the projection, and of the joint stage")

        def stages(self) -> Stages:
            """The stages in rounds; raises InputError where none is left for the last."""
            shares = (self.warm_up, self.projection, self.joint)
            return stages(self.rounds, *shares, self.periods)

    def __init__(self, base: Architecture, seed: int, variant: str, settings: Block) -> None:
        super().__init__(base, seed, variant, settings)
        self.stages = self.settings.stages()
        self.scores: list[list[float]] | None = None  # of all filters, for the period that begins
        self.staying: Kept | None = None  # filters that are left when this period ends
        self.fixed: list[int] | None = None  # the bits of each layer, from the cool-down on

    def begin(self) -> Architecture:
        """The base with a step and a range a layer."""
        return replace(self.base, attached="quantised")

    def searching(self, server_round: int) -> bool:
        """From the second round of the joint stage on, up to the first of the cool-down."""
        return self.stages.first < server_round <= self.stages.fixed

    def ask(self, server_round: int) -> dict[str, str | float]:
        """What the filters matter for the loss, where the next round begins a period."""
        return {"importance": "saliency"} if self.stages.begins(server_round + 1) else {}

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Cut what is forgotten, and choose what goes next; at both ends set the grids."""
        begins, cools = self.stages.begins(server_round), server_round == self.stages.fixed
        if self.staying is not None and (begins or cools):
            kept, self.staying = self.staying, None
            if self.scores is not None:
                self.scores = [
                    [of_layer[n] for n in indices]
                    for of_layer, indices in zip(self.scores, kept, strict=True)
                ]
            architecture, network = cut(architecture, network.state_dict(), kept)
            self.record(server_round, architecture, kept)
        if begins and self.scores is not None:
            self.staying = self._choose(server_round, architecture, self.scores)
            self.scores = None
        if server_round == 1 or cools:
            self._project(server_round, network)
        return architecture, network

    def _choose(
        self, server_round: int, architecture: Architecture, scores: list[list[float]]
    ) -> Kept | None:
        """The filters that stay when the period that begins has ended; None where all do."""
        share = self.stages.period(server_round) / self.stages.number()
        dense = cost(self.base)
        budget = int(dense + (self.reference.budget - dense) * share)
        if cost(architecture) <= budget:
            return None
        return globally_largest(architecture, scores, budget)

    def learn(
        self,
        server_round: int,
        architecture: Architecture,
        network: Network,
        answers: Mapping[str, Tensor],
    ) -> None:
        """Forget a part of what goes, rank the filters, project the grids for the next round."""
        if self.staying is not None:
            left = self.stages.left(server_round)
            forget(network, self.staying, left / (left + 1))
        if self.stages.begins(server_round + 1):
            self.scores = ranked(network, answers)
        self._project(server_round + 1, network)

    @torch.no_grad()
    def _project(self, server_round: int, network: Network) -> None:
        """Put each grid into the bit range of this round, and its range within the weights."""
        part, state = network.attached, network.state_dict()
        assert isinstance(part, Part)
        numbers, tops = [state[name].numel() for name in part.names], largest(state)
        mean, spread = self.stages.bits(server_round, self.settings.bits), self.settings.spread
        if server_round <= self.stages.warm_up:
            ranges, found = tops.tolist(), [mean] * len(numbers)
        else:
            steps, trained = (torch.stack(of) for of in zip(*grids(state).values(), strict=True))
            ranges = torch.minimum(torch.maximum(trained, tops / NARROWEST), tops).tolist()
            found = projected(list(map(bits_of, steps.tolist(), ranges)), numbers, mean, spread)
        if server_round >= self.stages.fixed:
            self.fixed = self.fixed or whole(found, numbers, mean, spread)
            found = list(map(float, self.fixed))
        part.set(list(map(step_of, found, ranges)), ranges)

    def to_json(self) -> dict[str, Any]:
        """The budget and the cuts, and the bits."""
        return {
            **super().to_json(),
            "bits": self.settings.bits,
            "layer_bits": self.fixed,
            "staying": self.staying,
            "scores": self.scores,
        }

    def restore(self, value: dict[str, Any]) -> None:
        """Take up the cuts, what goes, and the bits."""
        super().restore(value)
        self.fixed, self.scores = value["layer_bits"], value["scores"]
        staying = value["staying"]
        self.staying = None if staying is None else tuple(map(tuple, staying))


@torch.no_grad()
def forget(network: Network, staying: Kept, share: float) -> None:
    """Leave so much of all that belongs to the filters that do not stay."""
    starts = network.places.starts()
    for layer, indices in enumerate(staying):
        factors, first = torch.full((network.places.widths[layer],), share), starts[layer]
        factors[list(indices)] = 1
        for name, parameter in own_parameters(network, layer).items():
            of_rows = factors[network.places.owners[name][0] - first]
            parameter.mul_(of_rows.view(-1, *[1] * (parameter.dim() - 1)))


@torch.no_grad()
def ranked(network: Network, answers: Mapping[str, Tensor]) -> list[list[float]]:
    """The score of each filter of each layer: five criteria that count alike over the network.

    Magnitude and mean magnitude are of the aggregate; the cosine to the gradient, from 0 to 2, and
    Taylor's first and second order of what the clients answered, (filter, 2) a layer: the sum of
    weight times gradient, and the cosine. Each is divided by its norm over all filters.
    """
    criteria = []
    for layer, name in enumerate(network.prunable):
        own = by_filter(network, layer, own_parameters(network, layer))
        magnitude = own.norm(dim=1)
        taylor, cosine = answers[name].unbind(1)
        mean = magnitude / own.shape[1]
        taylors = [taylor.abs(), taylor.square() / 2]
        criteria.append(torch.stack([magnitude, mean, cosine + 1, *taylors]))
    norms = torch.cat(criteria, 1).norm(dim=1, keepdim=True).clamp(min=torch.finfo().tiny)
    return [(of_layer / norms).mean(0).tolist() for of_layer in criteria]
