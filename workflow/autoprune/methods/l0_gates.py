"""L0 gates: which filters go is learnt with the weights, by a gate a filter and a target size.

Source: Jiang et al. 2023, "Accurate and Structured Pruning for Efficient Automatic Speech
Recognition" (Interspeech), which has it centrally: gates of the hard concrete distribution, a
target size by an augmented Lagrangian, and layerwise distillation from the dense network; see
``models.gates`` for what those are from. Here clients train the gates beside the weights, and the
server averages both. The multipliers are the server's, which moves them once a round, by how far
the averaged gates' expected size is from the round's target. A client takes a few dozen steps
between two of them, so the squared distance weighs much from the first: by it alone each client
finds the target, where multipliers that had to grow first went on growing past it.

On speech (seed 0, 3 clients a round, from 32, 64 and 64 filters to 21 %) 61 rounds of gates end at
20.9 %, 158 of 160 gates are open or closed in 19 of 20 draws, and 13, 16 and 42 filters stay; a
plain loop over all speakers' data, with the multipliers moved at every step, ends with 14, 15 and
41. Ten rounds close gates faster than they can be told apart: the loss nearly triples meanwhile.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.methods._trained import Trained
from autoprune.models import Architecture, cost
from autoprune.models.attached import attach, folded
from autoprune.models.gates import Part
from autoprune.models.layers import Network
from autoprune.pruning.budget import globally_largest
from autoprune.pruning.shrink import cut

# their step is in proportion to the gradient, which the rate multiplies as it does the step
PROPORTIONAL = ("SGD", "ASGD")


class Method(Trained):
    """Once the network is trained, clients train gates with it; then the filters of lowest gates
    leave, until the budget is met, and the rest trains on without gates. The dense network as it
    was before goes to the clients of the rounds that train gates, beside the weights, and is
    charged to these rounds.
    """

    variants = ("joint",)
    labels = {"joint": "L0 gates"}
    differs = (
        "clients train the gates and the server averages them; the multipliers move once a round, "
        "not with every step; gates are on filters, none on whole modules; the dense network "
        "teaches while gates are trained, and no longer once filters are gone; in the end exactly "
        "the budget stays, by the order of the gates"
    )

    class Settings(Trained.Settings):
        """The runs that are followed, and how gates are trained."""

        gated: float = Field(
            0.5, gt=0, lt=1, description="share of the rounds that are left which train gates"
        )
        warm_up: float = Field(
            0.5,
            gt=0,
            le=1,
            description="share of those in which the target falls from the whole size to the "
            "budget",
        )
        closed: float = Field(
            0.1,
            gt=0,
            le=0.5,
            description="how closed gates begin: sigmoid of minus log alpha",
        )
        gate_rate: float = Field(
            100, gt=0, description="times the learning rate: a gate's own, of its log alpha"
        )
        squared: float = Field(
            50, ge=0, description="first weight of the squared distance to the target; rises"
        )
        multiplier_rate: float = Field(
            10, gt=0, description="what the weights of that distance gain in a round, times it"
        )
        distil: float = Field(
            1.0, ge=0, description="weight of the distance to the dense network; 0 sends none"
        )
        optimizer: dict[str, Any] = Field({}, description="of the clients")

        @property
        def rate(self) -> float:
            """By what gates are kept divided, so that ``gate_rate`` times the rate is their own."""
            proportional = self.optimizer.get("name") in PROPORTIONAL
            return math.sqrt(self.gate_rate) if proportional else self.gate_rate

    def __init__(self, base: Architecture, seed: int, variant: str, settings: Block) -> None:
        super().__init__(base, seed, variant, settings)
        rounds = self.settings.rounds
        if rounds < 2:
            raise InputError(f"method l0-gates: found rounds {rounds}, expected at least 2")
        if self.start == rounds:  # a round for gates, and one for what they leave
            self.start = rounds - 1
            self.span = self.span_of(2)
        self.multipliers = (0.0, float(self.settings.squared))  # of the distance, and its square
        self.gates: list[dict[str, float]] = []  # what came of each round
        self._dense: dict[str, Tensor] = {}

    def span_of(self, left: int) -> int:
        """The setting's share of the rounds that are left, and the one in which filters go."""
        return min(left, 1 + max(1, int(self.settings.gated * left)))

    def gating(self, server_round: int) -> bool:
        """Whether clients train gates in this round."""
        needed = cost(self.base) > self.reference.budget
        return needed and self.searching(server_round) and self.progress(server_round) < 1

    def target(self, server_round: int) -> float:
        """The size to come to by this round, as a share of the whole."""
        done = (server_round - self.start + 1) / (self.settings.warm_up * (self.span - 1))
        return 1 - (1 - self.reference.budget / cost(self.base)) * min(1.0, done)

    def before_round(
        self, server_round: int, architecture: Architecture, network: Network
    ) -> tuple[Architecture, Network]:
        """Attach the gates in the first round, and cut by them in the last."""
        if server_round == self.start and self.gating(server_round):
            self._dense = {name: tensor.clone() for name, tensor in network.state_dict().items()}
            architecture, network = attach(architecture, network, "gates")
            gates_of(network).open(self.settings.rate, self.settings.closed)
        elif isinstance(network.attached, Part) and not self.gating(server_round):
            scores = [gate.tolist() for gate in network.attached.gates]
            architecture, network = folded(architecture, network)
            kept = globally_largest(architecture, scores, self.reference.budget)
            architecture, network = cut(architecture, network.state_dict(), kept)
            self.record(server_round, architecture, kept)
            self._dense = {}
        return architecture, network

    def ask(self, server_round: int) -> dict[str, str | float]:
        """The target and the weights of the terms, while gates are trained."""
        if not self.gating(server_round):
            return {}
        linear, squared = self.multipliers
        asked = {"target": self.target(server_round), "linear": linear, "squared": squared}
        return {f"gates-{n}": v for n, v in {**asked, "distil": self.settings.distil}.items()}

    def teacher(self, server_round: int) -> Mapping[str, Tensor]:
        """The dense network, while gates are trained."""
        return self._dense if self.settings.distil and self.gating(server_round) else {}

    @torch.no_grad()
    def learn(
        self,
        server_round: int,
        architecture: Architecture,
        network: Network,
        answers: Mapping[str, Tensor],
    ) -> None:
        """Raise the multipliers by how far the averaged gates are from the target."""
        if not self.gating(server_round):
            return
        gates, target = gates_of(network), self.target(server_round)
        expected, chances = float(gates.expected()), gates.chances()
        excess, rate = expected - target, self.settings.multiplier_rate
        linear, squared = self.multipliers
        self.multipliers = (linear + rate * excess, squared + rate * excess**2)
        self.gates.append(
            {
                "round": server_round,
                "expected": expected,
                "target": target,
                "closed": int((chances < 0.05).sum()),
                "open": int((chances > 0.95).sum()),
                "linear": linear,
                "squared": squared,
            }
        )

    def to_json(self) -> dict[str, Any]:
        """What came of the gates in each round, and the multipliers of the next."""
        return {**super().to_json(), "gates": self.gates, "multipliers": list(self.multipliers)}

    def restore(self, value: dict[str, Any]) -> None:
        """Take up the gates' history and the multipliers."""
        super().restore(value)
        self.gates = value["gates"]
        self.multipliers = tuple(value["multipliers"])

    def tensors(self) -> Mapping[str, Tensor]:
        """The dense network, while it teaches."""
        return self._dense

    def restore_tensors(self, kept: Mapping[str, Tensor]) -> None:
        """Take up the dense network."""
        self._dense = dict(kept)


def gates_of(network: Network) -> Part:
    """The gates that are attached to a network."""
    assert isinstance(network.attached, Part)
    return network.attached
