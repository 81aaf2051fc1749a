"""Stage: what the runs left behind, as one long tidy table."""

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import check_noted, read_json, seal, whole_file
from autoprune.core.tasks import ACCURACY, R2, named, plain, score_of
from autoprune.core.tasks import COLUMNS as METRICS
from autoprune.measure.history import Row, read_history, round_rows, total_rows
from autoprune.measure.table import (
    AIMED,
    COLUMNS,
    INPUT,
    RUN,
    SETTINGS,
    in_numbers,
    in_order,
    number,
    read_metrics,
    written,
)

DATA_KINDS = ("real", "stand-in")
PER_UNIT = ["unit", "examples", "right"]  # of the held-out units, for a bootstrap
PER_NUMBER = ["unit", "examples", "score"]  # of a regression: the sum of what R² is the mean of

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
    *METRICS,
)
# without classes, and where nobody owns an image, a regression has none of these
MAY_LACK = ("test_macro_accuracy", "test_accuracy_worst_decile")
OF_UNIT = {
    "fraction": (
        *("test_macro_f1", "test_auc"),
        *("test_accuracy", "test_accuracy_last", "test_accuracy_best", "test_macro_accuracy"),
        *("test_accuracy_worst_decile", "validation_accuracy", "validation_accuracy_best"),
        "relative_bops",
    ),
    "nats": ("test_loss", "train_loss", "validation_loss"),
    "bytes": (
        *(f"{what}_{way}" for what in ("bytes", "payload") for way in ("down", "up", "total")),
        *("bytes_cumulative", "payload_cumulative"),
        *("bytes_down_per_client_per_round", "bytes_up_per_client_per_round"),
        *("bytes_per_usable_reply", "target_bytes"),
    ),
    "ms": ("target_latency_ms",),
    "target's": AIMED,
    "bits": ("bits", "precision"),
    "standard deviations": ("k",),
    "applications": ("patience", "cap"),
    "clients": ("cohort",),
    "epochs": ("local_epochs",),
    "images": ("batch_size",),
    "number": ("learning_rate", "epsilon", "proximal_mu", "test_mae"),
    "task": ("task",),
    "checksum": ("optimizer", "schedule", "augmentation", "server", "start"),
    "flag": (
        *("optimizer_carried", "batch_norm_averaged", "shrunk", "searching", "restarted"),
        *("start_partial", "device"),
    ),
    "channels": ("input_channels",),
    "pixels": ("input_height", "input_width"),
    "multiply-adds": ("macs", "target_macs"),
    "operations": ("flops_tf_profiler",),
    "bit operations": ("bops",),
    "rounds": ("rounds", "search_rounds", "trained_rounds"),
}
UNITS = {name: unit for unit, names in OF_UNIT.items() for name in names}
SQUARES = dict.fromkeys(OF_UNIT["nats"], "squared standard deviations")  # of a regression's loss


def _figures(
    path: Path, names: Sequence[str], score: str = ACCURACY, optional: Sequence[str] = ()
) -> Iterator[Row]:
    record = read_json(check_noted(path))
    for name in [named(name, score) for name in names]:
        if name in optional and isinstance(record, dict) and name not in record:
            continue
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
            value = number(in_numbers(name, settings[name]), name, str(source))
            yield Row(None, metric, value, source)


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

    settings = about.get("settings", {})
    for name in RUN:
        if name in settings and str(settings[name]) != identity[name] and name != "stands_for":
            raise InputError(
                f"{folder / 'run.json'}: {name}: found {identity[name]}, its settings say "
                f"{settings[name]}; train the run again"
            )

    source = folder / "history.csv"
    history = read_history(source)
    rounds = settings.get("rounds", len(history) - 1)
    if rounds != len(history) - 1:
        raise InputError(
            f"{source}: {len(history) - 1} rounds, expected {rounds} as in run.json; train it again"
        )
    counts = ("parameters", "parameters_with_statistics", "macs", "flops_tf_profiler", "classes")
    complexity = list(_figures(folder / "complexity.json", counts))
    if complexity[0].value != history[-1]["parameters"]:
        raise InputError(
            f"{folder / 'complexity.json'}: parameters: found {complexity[0].value:g}, expected "
            f"{history[-1]['parameters']:g} as in the last round of {source.name}; run it again"
        )
    score = score_of(settings.get("task", ""))
    there = [named(name, score) for name in MAY_LACK] if score != ACCURACY else []
    wanted = (*SCORES, *(AIMED if any(name.startswith("target-") for name in settings) else ()))
    scores = _figures(folder / "evaluation.json", wanted, score, [*METRICS, *there])
    rows = [*scores, *complexity]
    rows += [*_input(folder / "complexity.json"), *_settings(folder, about)]
    if "bops" in read_json(folder / "complexity.json"):  # of quantised weights alone
        rows += _figures(folder / "complexity.json", ("bops", "relative_bops"))
    rows += [*total_rows(history, source), *round_rows(history, source)]
    return identity, [row._replace(metric=named(row.metric, score)) for row in rows]


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
        sources = {
            path: Path(os.path.relpath(path)).as_posix() for path in {r.source for r in rows}
        }
        of_number = any(row.metric == f"test_{R2}" for row in rows)
        units = UNITS | (SQUARES if of_number else {})
        for row in rows:
            unit = units.get(
                plain(row.metric), "fraction" if row.metric.startswith("live_") else "count"
            )
            at = "" if row.round is None else str(row.round)
            records.append(
                (*identity.values(), at, row.metric, written(row.value), unit, sources[row.source]),
            )
    return in_order(pd.DataFrame(records, columns=COLUMNS, dtype=str))


def collect_units(folders: Sequence[str | Path]) -> pd.DataFrame:
    """A row a run and unit: the columns RUN of its run.json, then PER_UNIT; all text.

    ``right`` is the mean over the last five evaluations. Raises InputError for an absent file or
    other columns.
    """
    tables = []
    for folder in sorted({Path(folder) for folder in folders}):
        path, about = folder / "units.csv", read_json(folder / "run.json")
        try:
            table = pd.read_csv(check_noted(path), dtype=str)
        except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise InputError(f"{path}: not a CSV file ({error}); train the run again") from None
        if list(table.columns) not in (PER_UNIT, PER_NUMBER):
            raise InputError(
                f"{path}: found columns {','.join(table.columns)}, expected {','.join(PER_UNIT)}"
            )
        for place, name in enumerate(RUN):
            table.insert(place, name, str(about[name]))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


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
            units = collect_units(arguments.runs)
            units.to_csv(scratch, index=False, lineterminator="\n")
        seal(arguments.units)
    with whole_file(arguments.output) as scratch:
        table.to_csv(scratch, index=False, lineterminator="\n")
        if arguments.parquet == "yes":  # inside, so that a failure leaves neither file
            with whole_file(Path(arguments.output).with_suffix(".parquet")) as beside:
                read_metrics(scratch).to_parquet(beside, index=False)
    seal(arguments.output)


if __name__ == "__main__":
    run_main(main)
