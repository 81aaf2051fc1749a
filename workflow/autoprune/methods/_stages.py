"""The stages of a run that prunes and quantises at once, as rounds."""

from dataclasses import dataclass
from fractions import Fraction

from autoprune.core.errors import InputError
from autoprune.models.quantiser import MOST


@dataclass(frozen=True)
class Stages:
    """Warm-up, projection of the bit range, joint stage, cool-down: rounds of each, in this order.

    Projection and joint stage have up to ``periods`` periods each, as equal as whole rounds allow.
    """

    warm_up: int
    projection: int
    joint: int
    periods: int

    @property
    def first(self) -> int:
        """The first round of the joint stage."""
        return self.warm_up + self.projection + 1

    @property
    def fixed(self) -> int:
        """The first round of the cool-down, in which the bits are fixed and no filter goes."""
        return self.first + self.joint

    def bits(self, server_round: int, target: int) -> float:
        """The mean bits of this round's weights: MOST, by equal steps down to the target, it.

        A step a period of the projection, the last of which is at the target.
        """
        into = server_round - self.warm_up
        if into < 1:
            return MOST
        if into > self.projection:
            return target
        done = self._period(into, self.projection)
        return MOST - (MOST - target) * done / self._number(self.projection)

    def period(self, server_round: int) -> int:
        """The period 1, 2, ... of the joint stage that a round is in; 0 outside it."""
        into = server_round - self.first + 1
        return self._period(into, self.joint) if 1 <= into <= self.joint else 0

    def begins(self, server_round: int) -> bool:
        """Whether this round is the first of a period of the joint stage."""
        period = self.period(server_round)
        return period > 0 and period != self.period(server_round - 1)

    def number(self) -> int:
        """How many periods the joint stage has."""
        return self._number(self.joint)

    def left(self, server_round: int) -> int:
        """How many rounds of its period are left after a round of the joint stage."""
        period = self.period(server_round)
        return sum(self.period(later) == period for later in range(server_round + 1, self.fixed))

    def _number(self, rounds: int) -> int:
        return min(self.periods, rounds)

    def _period(self, into: int, rounds: int) -> int:
        return 1 + (into - 1) * self._number(rounds) // rounds


def stages(rounds: int, warm_up: float, projection: float, joint: float, periods: int) -> Stages:
    """The stages of a run from the shares of its rounds; what they leave is the cool-down.

    Warm-up and joint stage have at least a round, as what goes is decided by what a round before
    has taught. Raises InputError where no round is left for the cool-down.
    """
    of = [int(Fraction(str(share)) * rounds) for share in (warm_up, projection, joint)]
    found = Stages(max(1, of[0]), of[1], max(1, of[2]), periods)
    if found.fixed > rounds:
        raise InputError(
            f"rounds: found {rounds}, of which warm-up, projection and joint stage take "
            f"{found.fixed - 1} and leave none for the cool-down; give more, or smaller shares"
        )
    return found
