"""What the methods share that prune a network once it is trained: when they begin, how long."""

import csv
import math
from typing import Any

from pydantic import Field

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.evaluations import LAST
from autoprune.core.files import check_noted
from autoprune.core.tasks import plain
from autoprune.methods._following import Following
from autoprune.models import Architecture


def read_accuracies(path: str) -> list[tuple[int, float]]:
    """(round, validation accuracy) of a run's history, its evaluated rounds from 1 on.

    Of a regression R² takes the accuracy's place. Raises InputError when the file is missing, no
    history, or one without an evaluation.
    """
    try:
        rows = csv.DictReader(check_noted(path).read_text(encoding="utf-8").splitlines())
        rows.fieldnames = [plain(name) for name in rows.fieldnames or ()]  # of R²
        found = [(int(row["round"]), row["validation_accuracy"]) for row in rows]
        accuracies = [(number, float(value)) for number, value in found if number and value]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: expected a run's history.csv with columns round and validation_accuracy; "
            "train the dense run again"
        ) from None
    if not accuracies:
        raise InputError(f"{path}: has no evaluated round; train the dense run again")
    return accuracies


def first_trained(accuracies: list[tuple[int, float]], share: float, path: str) -> int:
    """The first round that begins with a trained network: at least 2.

    The round after the first evaluation that reached ``share`` of the final accuracy, the mean of
    the last five evaluations. Some evaluation always does.
    """
    last = [accuracy for _, accuracy in accuracies[-LAST:]]
    final = math.fsum(last) / len(last)
    if final < 0:  # of R² alone
        raise InputError(
            f"{path}: ends at an R² of {final:.3g}, worse than their mean for all, so no round "
            "counts as trained; train longer, or leave out what prunes trained networks"
        )
    goal = share * final
    return 1 + next(number for number, accuracy in accuracies if accuracy >= goal)


class Trained(Following):
    """Prunes in the rounds from ``start`` on, ``span`` of them; before that it is dense FedAvg.

    ``start`` is the first round that begins with a network as good as ``prune_at`` of dense's
    final accuracy, read from the dense run of the same data, network and seed; the middle of the
    run where dense needs longer than the run lasts. How many rounds follow from the variant:

    - ``one-shot``: one;
    - ``classical``: one, half-way through the run, whatever dense did: train to a plateau, prune
      once, fine-tune for as long (the form of Li et al. 2017 and He et al. 2019, who train a
      network to its end, prune and retrain it);
    - all others: as many as the reference's search took up to its last shrink, but no more than
      half of those that are left, so that the rest can recover.

    The workflow gives ``--dense`` to every method that imports this module.
    """

    class Settings(Following.Settings):
        """The runs that are followed, and what counts as trained."""

        dense: str = Field(description="history.csv of the dense run")
        prune_at: float = Field(
            gt=0, le=1, description="share of the dense run's final accuracy to begin pruning at"
        )
        rounds: int = Field(ge=1, description="of the run")

    def __init__(self, base: Architecture, seed: int, variant: str, settings: Block) -> None:
        super().__init__(base, seed, variant, settings)
        share, rounds = self.settings.prune_at, self.settings.rounds
        middle = rounds // 2 + 1
        accuracies = read_accuracies(self.settings.dense)
        self.start, self.start_from = middle, "variant"
        if variant != "classical":
            trained = first_trained(accuracies, share, self.settings.dense)
            late = trained > rounds
            self.start, self.start_from = (middle, "middle") if late else (trained, "dense")
        self.span = self.span_of(rounds - self.start + 1)

    def span_of(self, left: int) -> int:
        """How many rounds prune, given how many are left from ``start`` on, ``start`` included."""
        if self.variant in ("one-shot", "classical"):
            return 1
        return max(1, min(self.reference.stop - 1, left // 2))

    def searching(self, server_round: int) -> bool:
        """From ``start`` on, for ``span`` rounds."""
        return self.start <= server_round < self.start + self.span

    def progress(self, server_round: int) -> float:
        """How much of the pruning is done with this round's, up to 1 in the last."""
        return (server_round - self.start + 1) / self.span

    def to_json(self) -> dict[str, Any]:
        """When the pruning begins and how long it takes, besides."""
        when = {"start": self.start, "start_from": self.start_from, "span": self.span}
        return {**super().to_json(), **when}
