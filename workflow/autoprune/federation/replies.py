"""What became of the questions that the server asked in a round."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

LATE, RAISED, REFUSED = "late", "raised", "refused"  # why a reply is left out


class Failure(NamedTuple):
    """Why a client's reply was left out: LATE, RAISED or REFUSED, and the reason in words."""

    kind: str
    reason: str


@dataclass
class Replies:
    """What became of a round's questions, in numbers of clients.

    Of the cohort's training: ``usable`` replies, and those that came ``late`` or not at all, that
    ``raised`` at the client, or that the server ``refused``. ``unanswered``: replies to other
    questions (batch-norm statistics, importance) that were left out.
    """

    usable: int = 0
    late: int = 0
    raised: int = 0
    refused: int = 0
    unanswered: int = 0

    def count(self, usable: int, kinds: Sequence[str]) -> None:
        """Note so many usable replies to a round's training, and the kinds of the others."""
        self.usable = usable
        self.late, self.raised, self.refused = map(kinds.count, (LATE, RAISED, REFUSED))
