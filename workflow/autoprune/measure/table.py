"""The table of metrics as later stages read it: its columns, and the names of its settings."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.files import check_seal
from autoprune.core.options import marked
from autoprune.federation.settings import Training
from autoprune.pruning.settings import Rule

RUN = ["dataset", "data_kind", "stands_for", "model", "method", "variant", "seed"]
PAIR = ["dataset", "data_kind", "model"]
COLUMNS = [*RUN, "round", "metric", "value", "unit", "source_file"]
# A diverged run has a loss of nan or inf: a finding to carry, not a broken file.
MAY_BE_INFINITE = {"train_loss", "validation_loss", "test_loss"}


def _asked(model: type[Block]) -> dict[str, str]:
    """Metric -> the name that a setting has in run.json."""
    return {metric: name.replace("_", "-") for name, metric in marked(model, "metric")}


# what a run was asked for
RULE, TRAINING = _asked(Rule), _asked(Training)
SETTINGS = {**RULE, **TRAINING}
# of runs with a target, in its unit
AIMED = ("target_reached", "target_dense")
INPUT = ("input_channels", "input_height", "input_width")
GIVEN = {*SETTINGS, *INPUT}  # what decides a run, not what came of it
# settings that are words
IN_NUMBERS = {w: n for _, numbers in marked(Training, "numbers") for w, n in numbers.items()}


def number(text: object, name: str, where: str) -> float:
    """``text`` as a number; InputError names ``where`` and ``name`` when it is none."""
    try:
        value = float(str(text))
    except ValueError:
        raise InputError(f"{where}: {name}: found {text!r}, expected a number") from None
    if not math.isfinite(value) and name not in MAY_BE_INFINITE:
        raise InputError(f"{where}: {name}: found {text!r}, expected a finite number")
    return value


def written(value: float) -> str:
    """The shortest text that reads back as the same number; whole numbers without a point."""
    if math.isfinite(value) and value == int(value):
        return str(int(value))
    return repr(float(value))


def in_order(table: pd.DataFrame) -> pd.DataFrame:
    """The rows by run, round and metric; final figures before round 0."""

    def key(column: pd.Series) -> pd.Series:
        if column.name in ("seed", "round"):
            return pd.to_numeric(column.replace("", "-1"))
        return column

    return table.sort_values([*RUN, "round", "metric"], key=key, ignore_index=True)


def read_metrics(path: str | Path) -> pd.DataFrame:
    """Read metrics.csv: ``seed`` int, ``round`` Int64 (missing for final figures), ``value`` float.

    Rows come back in one order whatever their order in the file. Raises InputError for an absent
    file, other columns, values that are no numbers, a figure that is given twice, or a part of
    what was written.
    """
    check_seal(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run autoprune.measure.metrics first") from None
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    if list(table.columns) != COLUMNS:
        raise InputError(f"{path}: found columns {','.join(table.columns)}, expected {COLUMNS}")
    if table.empty:
        raise InputError(f"{path}: no rows; give autoprune.measure.metrics at least one run")
    short = table.index[table.isna().any(axis=1)]
    if len(short):
        raise InputError(f"{path}, row {short[0] + 1}: cells are missing; make it again")
    twice = table[table.duplicated([*RUN, "round", "metric"])]
    if not twice.empty:
        raise InputError(f"{path}: given twice: {'/'.join(twice.iloc[0][[*RUN, 'metric']])}")
    try:
        table = in_order(table)
        table["seed"] = table["seed"].astype(int)
        table["round"] = pd.to_numeric(table["round"].replace("", None)).astype("Int64")
        # float() reads back what repr() wrote; pandas' fast parser may be off by one bit.
        table["value"] = [float(text) for text in table["value"]]
    except ValueError as error:
        raise InputError(f"{path}: seed, round or value is no number ({error})") from None
    _check_rounds(table, str(path))
    return table


def _check_rounds(table: pd.DataFrame, path: str) -> None:
    """Raise InputError for a run whose last round is not the one that it says it has."""
    last = table.groupby(RUN)["round"].max().dropna()
    told = table[table["metric"] == "rounds"].set_index(RUN)["value"].reindex(last.index).dropna()
    for run, rounds in told.items():
        if last[run] != rounds:
            raise InputError(
                f"{path}: {'/'.join(map(str, run))} ends at round {last[run]}, expected "
                f"{rounds:.0f}; the end of the file is missing, make it again"
            )


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


def base_widths(metrics: pd.DataFrame) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The widths before pruning of each pair (PAIR's values), from round 0 of its dense runs."""
    rows = metrics[(metrics["method"] == "dense") & (metrics["round"] == 0)]
    rows = rows[rows["metric"].str.fullmatch(r"width_\d+")]
    rows = rows.assign(layer=rows["metric"].str.removeprefix("width_").astype(int))
    return {
        pair: tuple(int(v) for v in some.groupby("layer")["value"].first())
        for pair, some in rows.groupby(PAIR)
    }


def to_csv(frame: pd.DataFrame) -> str:
    """CSV text of a raw table: empty cells for what does not exist, floats that round-trip."""
    return frame.to_csv(index=False, lineterminator="\n")
