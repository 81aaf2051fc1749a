"""The table of metrics as later stages read it: its columns, and the names of its settings."""

import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.files import check_seal
from autoprune.core.options import marked
from autoprune.core.tasks import ACCURACY, R2, plain
from autoprune.federation.chosen import CHOICES
from autoprune.federation.settings import Arm, Training
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
SETTINGS = {**RULE, **TRAINING, **_asked(Arm)}
# of runs with a target, in its unit
AIMED = ("target_reached", "target_dense")
INPUT = ("input_channels", "input_height", "input_width")
GIVEN = {*SETTINGS, *INPUT}  # what decides a run, not what came of it
# settings that are words
IN_NUMBERS = {
    word: number
    for model in (Arm, Training)
    for _, numbers in marked(model, "numbers")
    for word, number in numbers.items()
}


def in_numbers(name: str, value: object) -> object:
    """A setting as a row of the table has it: of words their number, of a choice its CRC-32."""
    if name in (*CHOICES, "start") and isinstance(value, str):
        return zlib.crc32(value.encode())
    if isinstance(value, bool):
        return int(value)
    return IN_NUMBERS.get(value, value) if isinstance(value, str) else value


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

    Of a study of regressions metrics of R² come under the names of accuracies, ``score_in`` says
    it. Rows come back in one order whatever their order in the file. Raises InputError for an
    absent file, other columns, values that are no numbers, a figure that is given twice, or a part
    of what was written.
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
    table["metric"] = _by_score(table["metric"], str(path))
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


def _by_score(metrics: pd.Series, path: str) -> pd.Series:
    """The metrics by the names that code knows; InputError for accuracies beside R²."""
    plainly = metrics.map(plain)
    if not plainly.equals(metrics) and "test_accuracy" in set(metrics):
        raise InputError(
            f"{path}: has runs with an accuracy and runs with R², which no table sets beside each "
            "other; make a study of the regressions alone"
        )
    return plainly


def score_in(metrics: pd.DataFrame) -> str:
    """What the runs of a study are scored by: ACCURACY or R2."""
    tasks = metrics.loc[metrics["metric"] == "task", "value"]
    return R2 if (tasks == IN_NUMBERS["regression"]).any() else ACCURACY


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
    """A CSV of an earlier stage, R² under the names of accuracies.

    Raises InputError when it is absent or lacks a column.
    """
    try:
        table = pd.read_csv(path).rename(columns=plain)
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
