"""A run's history.csv: its rows, and the figures that follow from them."""

import csv
from collections.abc import Iterator
from dataclasses import fields
from itertools import accumulate
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple, get_args

from autoprune.core.errors import InputError
from autoprune.core.files import check_noted
from autoprune.core.tasks import plain
from autoprune.federation.history import Row as Written
from autoprune.federation.replies import Replies
from autoprune.measure.table import number

# what of a round's record is measured: all but the words on clients that were left out
HISTORY = tuple(field.name for field in fields(Written) if field.name != "failures")
REPLIES = tuple(field.name for field in fields(Replies))
MAY_BE_EMPTY = {field.name for field in fields(Written) if NoneType in get_args(field.type)}


class Row(NamedTuple):
    """One value of a run; ``round`` is None for a figure of the whole run."""

    round: int | None
    metric: str
    value: float
    source: Path


def read_history(path: Path) -> list[dict[str, Any]]:
    """Rows of a run's history.csv, round 0 first; widths as a tuple, empty cells as None.

    Raises InputError for an absent file, a missing column, a value that is no number, rounds
    that do not count up from 0, a history without a single round of training, or one that is
    not the run's.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            # a regression's columns are of R²
            reader.fieldnames = [plain(name) for name in reader.fieldnames or ()]
            missing = [name for name in HISTORY if name not in reader.fieldnames]
            if missing:
                raise InputError(f"{path}: column {missing[0]} is missing")
            rows = [_history_row(row, f"{path}, line {reader.line_num}") for row in reader]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the training first") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    rounds = [row["round"] for row in rows]
    if rounds != list(range(len(rows))) or len(rows) < 2:
        raise InputError(
            f"{path}: round: expected 0, 1, 2, ... with at least one round of training"
        )
    check_noted(path)
    return rows


def _history_row(row: dict[str, str], where: str) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    for name in HISTORY:
        text = row[name]
        if name == "widths":
            parsed[name] = tuple(int(number(width, name, where)) for width in (text or "").split())
        elif name == "live":
            parsed[name] = tuple(number(share, name, where) for share in (text or "").split())
        elif text in (None, "") and name in MAY_BE_EMPTY:
            parsed[name] = None
        else:
            parsed[name] = number(text, name, where)
    return parsed


def round_rows(history: list[dict[str, Any]], source: Path) -> Iterator[Row]:
    """The figures of each round, round 0 (the initial network) included."""
    traffic = accumulate(row["bytes_down"] + row["bytes_up"] for row in history)
    payload = accumulate(row["payload_down"] + row["payload_up"] for row in history)
    for row, sent, carried in zip(history, traffic, payload, strict=True):
        at = int(row["round"])
        for name in ("train_loss", "validation_accuracy", "validation_loss", "test_accuracy"):
            if row[name] is not None:
                yield Row(at, name, row[name], source)
        yield Row(at, "bytes_cumulative", sent, source)
        yield Row(at, "payload_cumulative", carried, source)
        for name in ("parameters", "nonzeros", "shrunk", "searching", "restarted"):
            yield Row(at, name, row[name], source)
        for layer, share in enumerate(row["live"], start=1):
            yield Row(at, f"live_{layer}", share, source)
        for layer, width in enumerate(row["widths"], start=1):
            yield Row(at, f"width_{layer}", width, source)


def total_rows(history: list[dict[str, Any]], source: Path) -> Iterator[Row]:
    """The figures of the whole run that follow from its history."""
    trained = history[1:]  # round 0 is the network before any client saw it
    visits = sum(row["clients"] for row in trained)
    if visits <= 0:
        raise InputError(f"{source}: clients: found {visits:g} in all rounds, expected at least 1")
    down = sum(row["bytes_down"] for row in trained)
    up = sum(row["bytes_up"] for row in trained)
    if down + up <= 0:
        raise InputError(f"{source}: bytes_down and bytes_up: found 0 in all, expected traffic")
    values = {
        "bytes_down": down,
        "bytes_up": up,
        "bytes_total": down + up,
        **replies(trained, source, down + up),
        **payload_totals(trained),
        "bytes_down_per_client_per_round": down / visits,
        "bytes_up_per_client_per_round": up / visits,
        "rounds": len(trained),
        "trained_rounds": trained_rounds(trained),
        "search_rounds": sum(row["searching"] for row in trained),
        "shrinks": sum(row["shrunk"] for row in trained),
        "clients_per_round": visits / len(trained),
    }
    evaluated = [row["validation_accuracy"] for row in history]
    evaluated = [accuracy for accuracy in evaluated if accuracy is not None]
    if evaluated:
        values["validation_accuracy"] = evaluated[-1]
        values["validation_accuracy_best"] = max(evaluated)
    for name, value in values.items():
        yield Row(None, name, value, source)


def replies(trained: list[dict[str, Any]], source: Path, traffic: float) -> dict[str, float]:
    """What became of the questions of all rounds, and what a usable reply cost in bytes.

    What a client that failed did not send is no saving: ``bytes_per_usable_reply`` has the bytes
    of all messages over the replies that were of use. Raises InputError where they contradict the
    cohorts.
    """
    found = {name: sum(row[name] for row in trained) for name in REPLIES}
    of_training = [name for name in REPLIES if name != "unanswered"]
    for row in trained:
        if sum(row[name] for name in of_training) != row["clients"]:
            raise InputError(
                f"{source}: round {row['round']:g}: {', '.join(of_training)}: found "
                f"{sum(row[name] for name in of_training):g} in all, expected {row['clients']:g} "
                "as clients; train the run again"
            )
    usable = found.pop("usable")
    if usable < 1:
        raise InputError(f"{source}: usable: found 0 in all rounds, expected at least 1")
    return {
        "usable_replies": usable,
        "failed_replies": sum(row["clients"] for row in trained) - usable,
        **{f"{name}_replies": number for name, number in found.items()},
        "bytes_per_usable_reply": traffic / usable,
    }


def payload_totals(trained: list[dict[str, Any]]) -> dict[str, float]:
    """Bytes of the numbers themselves, without what wraps them, over all rounds."""
    down, up = (sum(row[name] for row in trained) for name in ("payload_down", "payload_up"))
    return {"payload_down": down, "payload_up": up, "payload_total": down + up}


def trained_rounds(trained: list[dict[str, Any]]) -> int:
    """Rounds since the network last lost filters or had its weights set anew; all if never."""
    changed = [row["round"] for row in trained if row["shrunk"] or row["restarted"]]
    return int(len(trained) - max(changed, default=1) + 1)
