"""The history of a run: one row a round, as CSV."""

import csv
import io
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from autoprune.core.files import write_text
from autoprune.core.tasks import ACCURACY, named


@dataclass(frozen=True, kw_only=True)
class Row:
    """One round. Round 0 is the initial network, before anything was sent.

    ``train_loss`` is the clients' mean in their last local epoch; validation and test are empty in
    rounds without an evaluation. ``nonzeros`` are the numbers of the network that no mask takes
    away, batch-norm statistics included. ``bytes_*`` sum over the round's messages to its
    ``clients`` and back, ``payload_*`` are the bytes of the numbers in them, without any header.
    ``shrunk``: the network lost filters at the start of the round. ``searching``: the search was
    on. ``restarted``: the weights were set anew at its start.
    ``usable``, ``late``, ``raised`` and ``refused`` are the replies of the ``clients`` to its
    training, ``unanswered`` other questions of it without an answer: see replies.Replies.
    ``failures``: clients that were left out, "client: reason" each, joined by "; ".
    ``live``: where the round was evaluated, the fraction of each prunable layer's filters that fire
    on any of a sample of training images, in the order of ``widths``. ``*_accuracy`` is the task's
    score, R² of a regression.
    """

    round: int
    train_loss: float | None
    validation_accuracy: float | None = None
    validation_loss: float | None = None
    test_accuracy: float | None = None
    parameters: int
    parameters_with_statistics: int
    nonzeros: int
    widths: str
    clients: int
    usable: int
    late: int
    raised: int
    refused: int
    unanswered: int
    bytes_down: int
    bytes_up: int
    payload_down: int
    payload_up: int
    shrunk: int
    searching: int
    restarted: int
    failures: str
    live: str = ""


def write_history(path: str | Path, rows: list[Row], score: str = ACCURACY) -> None:
    """Write the rows; floats in the shortest form that reads back to the same bits.

    Where the task's ``score`` is no accuracy, columns are named by it.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(named(field.name, score) for field in fields(Row))
    writer.writerows(
        ["" if v is None else repr(v) if isinstance(v, float) else v for v in astuple(row)]
        for row in rows
    )
    write_text(path, stream.getvalue())
