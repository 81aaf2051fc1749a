"""Stage: what the runs left behind, as one long tidy table."""

import argparse
import csv
import math
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from autoprune.errors import InputError, run_main
from autoprune.files import read_json, whole_file
from autoprune.measure.units import collect_units

RUN = ["dataset", "data_kind", "stands_for", "model", "method", "variant", "seed"]
COLUMNS = [*RUN, "round", "metric", "value", "unit", "source_file"]
DATA_KINDS = ("real", "stand-in")

HISTORY = (
    "round",
    "train_loss",
    "validation_accuracy",
    "validation_loss",
    "test_accuracy",
    "parameters",
    "parameters_with_statistics",
    "nonzeros",
    "widths",
    "clients",
    "bytes_down",
    "bytes_up",
    "payload_down",
    "payload_up",
    "shrunk",
    "searching",
    "restarted",
    "live",
)
MAY_BE_EMPTY = {"train_loss", "validation_accuracy", "validation_loss", "test_accuracy"}
# A diverged run has a loss of nan or inf: a finding to carry, not a broken file.
MAY_BE_INFINITE = {"train_loss", "validation_loss", "test_loss"}

SCORES = (
    "test_accuracy",
    "test_accuracy_last",
    "test_accuracy_best",
    "test_accuracy_worst_decile",
    "test_macro_accuracy",
    "test_loss",
    "test_examples",
    "validation_examples",
    "nonzeros",
    "bits",
)
# what a run was asked for, where run.json has it: metric -> name there, as in config/README.md
TRAINING = {
    "cohort": "clients-per-round",  # clients_per_round is what came of it where clients failed
    "local_epochs": "local-epochs",
    "batch_size": "batch-size",
    "learning_rate": "learning-rate",
    "epsilon": "epsilon",
    "precision": "precision",
    "optimizer_carried": "optimizer-state",
    "batch_norm_averaged": "batch-norm",
}
RULE = {"k": "k", "patience": "patience", "cap": "cap"}
SETTINGS = {**RULE, **TRAINING}
INPUT = ("input_channels", "input_height", "input_width")
GIVEN = {*SETTINGS, *INPUT}  # what decides a run, not what came of it
# settings that are words
IN_NUMBERS = {"fp32": 32, "bf16": 16, "fresh": 0, "carried": 1, "refreshed": 0, "averaged": 1}

UNITS = {
    "test_accuracy": "fraction",
    "test_accuracy_last": "fraction",
    "test_accuracy_best": "fraction",
    "test_accuracy_worst_decile": "fraction",
    "test_macro_accuracy": "fraction",
    "validation_accuracy": "fraction",
    "validation_accuracy_best": "fraction",
    "test_loss": "nats",
    "train_loss": "nats",
    "validation_loss": "nats",
    "bytes_down": "bytes",
    "bytes_up": "bytes",
    "bytes_total": "bytes",
    "bytes_cumulative": "bytes",
    "payload_down": "bytes",
    "payload_up": "bytes",
    "payload_total": "bytes",
    "payload_cumulative": "bytes",
    "bytes_down_per_client_per_round": "bytes",
    "bytes_up_per_client_per_round": "bytes",
    "bits": "bits",
    "k": "standard deviations",
    "patience": "applications",
    "cap": "applications",
    "cohort": "clients",
    "local_epochs": "epochs",
    "batch_size": "images",
    "learning_rate": "number",
    "epsilon": "number",
    "precision": "bits",
    "optimizer_carried": "flag",
    "batch_norm_averaged": "flag",
    "input_channels": "channels",
    "input_height": "pixels",
    "input_width": "pixels",
    "macs": "multiply-adds",
    "flops_tf_profiler": "operations",
    "rounds": "rounds",
    "search_rounds": "rounds",
    "shrunk": "flag",
    "searching": "flag",
    "restarted": "flag",
    "trained_rounds": "rounds",
}


class Row(NamedTuple):
    """One value of a run; ``round`` is None for a figure of the whole run."""

    round: int | None
    metric: str
    value: float
    source: Path


def number(text: object, name: str, where: str) -> float:
    """``text`` as a number; InputError names ``where`` and ``name`` when it is none."""
    try:
        value = float(str(text))
    except ValueError:
        raise InputError(f"{where}: {name}: found {text!r}, expected a number") from None
    if not math.isfinite(value) and name not in MAY_BE_INFINITE:
        raise InputError(f"{where}: {name}: found {text!r}, expected a finite number")
    return value


def read_history(path: Path) -> list[dict[str, Any]]:
    """Rows of a run's history.csv, round 0 first; widths as a tuple, empty cells as None.

    Raises InputError for an absent file, a missing column, a value that is no number, rounds
    that do not count up from 0, or a history without a single round of training.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in HISTORY if name not in (reader.fieldnames or [])]
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


def payload_totals(trained: list[dict[str, Any]]) -> dict[str, float]:
    """Bytes of the numbers themselves, without what wraps them, over all rounds."""
    down, up = (sum(row[name] for row in trained) for name in ("payload_down", "payload_up"))
    return {"payload_down": down, "payload_up": up, "payload_total": down + up}


def trained_rounds(trained: list[dict[str, Any]]) -> int:
    """Rounds since the network last lost filters or had its weights set anew; all if never."""
    changed = [row["round"] for row in trained if row["shrunk"] or row["restarted"]]
    return int(len(trained) - max(changed, default=1) + 1)


def _figures(path: Path, names: Sequence[str]) -> Iterator[Row]:
    record = read_json(path)
    for name in names:
        if not isinstance(record, dict) or name not in record:
            raise InputError(f"{path}: {name} is missing")
        value = number(record[name], name, str(path))
        if value <= 0 and not name.startswith("test_"):
            raise InputError(f"{path}: {name}: found {value:g}, expected more than 0")
        yield Row(None, name, value, path)


def _settings(folder: Path, about: dict[str, Any]) -> Iterator[Row]:
    """The settings that tables speak of, or by which they tell ablations from methods."""
    source, settings = folder / "run.json", about.get("settings", {})
    for metric, name in SETTINGS.items():
        if name in settings:
            value = IN_NUMBERS.get(settings[name], settings[name])
            yield Row(None, metric, number(value, name, str(source)), source)


def _input(path: Path) -> Iterator[Row]:
    """The shape of the images, by which a network of other widths can be counted."""
    shape = read_json(path).get("input_shape")
    if not isinstance(shape, list) or len(shape) != len(INPUT):
        raise InputError(f"{path}: input_shape: found {shape!r}, expected 3 whole numbers")
    for name, value in zip(INPUT, shape, strict=True):
        yield Row(None, name, number(value, name, str(path)), path)


def read_run(folder: Path) -> tuple[dict[str, str], list[Row]]:
    """A run's identity (the columns RUN) and its rows; InputError for anything missing.

    The final network of complexity.json must be the one of the last round: files of two
    different runs in one folder would otherwise give a plausible, wrong table.
    """
    about = read_json(folder / "run.json")
    missing = [name for name in RUN if not isinstance(about, dict) or about.get(name) is None]
    if missing:
        raise InputError(f"{folder / 'run.json'}: {missing[0]} is missing")
    identity = {name: str(about[name]) for name in RUN}
    if identity["data_kind"] not in DATA_KINDS:
        raise InputError(
            f"{folder / 'run.json'}: data_kind: found {identity['data_kind']!r}, "
            f"expected one of {', '.join(DATA_KINDS)}"
        )
    number(identity["seed"], "seed", str(folder / "run.json"))

    source = folder / "history.csv"
    history = read_history(source)
    counts = ("parameters", "parameters_with_statistics", "macs", "flops_tf_profiler", "classes")
    complexity = list(_figures(folder / "complexity.json", counts))
    if complexity[0].value != history[-1]["parameters"]:
        raise InputError(
            f"{folder / 'complexity.json'}: parameters: found {complexity[0].value:g}, expected "
            f"{history[-1]['parameters']:g} as in the last round of {source.name}; run it again"
        )
    rows = [*_figures(folder / "evaluation.json", SCORES), *complexity]
    rows += [*_input(folder / "complexity.json"), *_settings(folder, about)]
    rows += [*total_rows(history, source), *round_rows(history, source)]
    return identity, rows


def written(value: float) -> str:
    """The shortest text that reads back as the same number; whole numbers without a point."""
    if math.isfinite(value) and value == int(value):
        return str(int(value))
    return repr(float(value))


def collect(folders: Sequence[str | Path]) -> pd.DataFrame:
    """The tidy table of the runs in ``folders``: columns COLUMNS, all of them text, sorted.

    Raises InputError for a broken run, or for two folders that hold the same run.
    """
    seen: dict[tuple[str, ...], Path] = {}
    records = []
    for folder in sorted({Path(folder) for folder in folders}):
        identity, rows = read_run(folder)
        key = tuple(identity[name] for name in RUN if name not in ("data_kind", "stands_for"))
        if key in seen:
            raise InputError(f"{folder}: the same run as {seen[key]} ({'/'.join(key)}); give one")
        seen[key] = folder
        for row in rows:
            unit = UNITS.get(row.metric, "fraction" if row.metric.startswith("live_") else "count")
            at = "" if row.round is None else str(row.round)
            source = Path(os.path.relpath(row.source)).as_posix()
            records.append(
                (*identity.values(), at, row.metric, written(row.value), unit, source),
            )
    return _in_order(pd.DataFrame(records, columns=COLUMNS, dtype=str))


def _in_order(table: pd.DataFrame) -> pd.DataFrame:
    def key(column: pd.Series) -> pd.Series:
        if column.name in ("seed", "round"):
            return pd.to_numeric(column.replace("", "-1"))
        return column

    return table.sort_values([*RUN, "round", "metric"], key=key, ignore_index=True)


def read_metrics(path: str | Path) -> pd.DataFrame:
    """Read metrics.csv: ``seed`` int, ``round`` Int64 (missing for final figures), ``value`` float.

    Rows come back in one order whatever their order in the file. Raises InputError for an absent
    file, other columns, values that are no numbers, or a figure that is given twice.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run autoprune.metrics first") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    if list(table.columns) != COLUMNS:
        raise InputError(f"{path}: found columns {','.join(table.columns)}, expected {COLUMNS}")
    if table.empty:
        raise InputError(f"{path}: no rows; give autoprune.metrics at least one run")
    twice = table[table.duplicated([*RUN, "round", "metric"])]
    if not twice.empty:
        raise InputError(f"{path}: given twice: {'/'.join(twice.iloc[0][[*RUN, 'metric']])}")
    try:
        table = _in_order(table)
        table["seed"] = table["seed"].astype(int)
        table["round"] = pd.to_numeric(table["round"].replace("", None)).astype("Int64")
        # float() reads back what repr() wrote; pandas' fast parser may be off by one bit.
        table["value"] = [float(text) for text in table["value"]]
    except ValueError as error:
        raise InputError(f"{path}: seed, round or value is no number ({error})") from None
    return table


def read_table(path: str, columns: Sequence[str]) -> pd.DataFrame:
    """A CSV of an earlier stage; InputError when it is absent or lacks a column."""
    try:
        table = pd.read_csv(path)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not a CSV file ({error}); make it again") from None
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"{path}: column {missing[0]} is missing; make it again")
    return table


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="+", required=True, metavar="DIR", help="folders of runs")
    parser.add_argument("--output", required=True, metavar="FILE", help="the table, as CSV")
    parser.add_argument("--units", metavar="FILE", help="right answers by held-out unit, as CSV")
    parser.add_argument(
        "--parquet", choices=("yes", "no"), default="no", help="also write it as .parquet beside"
    )
    arguments = parser.parse_args(argv)
    table = collect(arguments.runs)
    if arguments.units:
        with whole_file(arguments.units) as scratch:
            units = collect_units(arguments.runs, RUN)
            units.to_csv(scratch, index=False, lineterminator="\n")
    with whole_file(arguments.output) as scratch:
        table.to_csv(scratch, index=False, lineterminator="\n")
        if arguments.parquet == "yes":  # inside, so that a failure leaves neither file
            with whole_file(Path(arguments.output).with_suffix(".parquet")) as beside:
                read_metrics(scratch).to_parquet(beside, index=False)


if __name__ == "__main__":
    run_main(main)
