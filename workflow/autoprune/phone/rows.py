"""The rows of a session's runs.csv: what each cell may hold, and how a row's cells must agree."""

import csv
import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from autoprune.core.errors import InputError
from autoprune.phone.columns import COLUMNS, SCHEMA_VERSION
from autoprune.phone.measurement import ORDERED

TOOLS = (
    *("tflite_benchmark_model", "litert_benchmark_model", "tflite_benchmark_apk"),
    *("executor_runner", "executorch_minibench", "onnxruntime_perf_test", "other"),
)
SLACK = 1e-9  # ms, for figures that were written from binary numbers
ENOUGH_RUNS = 20  # fewer are flagged
IDENTIFIER = "[a-z0-9._-]{1,64}"
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)


class Rule(NamedTuple):
    """What a column allows: ``read`` gives a cell's value or raises ValueError."""

    expected: str
    read: Callable[[str], Any]
    required: bool = True

    @property
    def optional(self) -> "Rule":
        """The same, or an empty cell for what is unknown."""
        return self._replace(required=False)


def _one_of(*allowed: str) -> Rule:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(text)
        return text

    return Rule(" or ".join(allowed), read)


def _like(pattern: str, expected: str) -> Rule:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(text)
        return text

    return Rule(expected, read)


def _whole(least: int, most: int | None = None) -> Rule:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,12}", text) or not least <= int(text) <= (most or math.inf):
            raise ValueError(text)
        return int(text)

    upper = "or more" if most is None else f"to {most}"
    return Rule(f"a whole number of {least} {upper}", read)


def _decimal(least: float, most: float = math.inf, above: bool = False) -> Rule:
    def read(text: str) -> float:
        value = float(text) if NUMBER.fullmatch(text) else math.nan
        if not least <= value <= most or math.isinf(value) or (above and value == least):
            raise ValueError(text)
        return value

    if most < math.inf:
        return Rule(f"a number of {least:g} to {most:g}", read)
    return Rule(f"a number above {least:g}" if above else f"a number of {least:g} or more", read)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _inside(text: str) -> str:
    path = PurePosixPath(text)
    known = text.isprintable() and "\\" not in text and ":" not in text
    if not known or path.is_absolute() or ".." in path.parts:
        raise ValueError(text)
    return str(path)


def _text(text: str) -> str:
    if not text.isprintable():
        raise ValueError(text)
    return text


TEXT = Rule("text without control characters", _text)
SHA256 = _like("[0-9a-f]{64}", "a SHA-256 of 64 digits 0-9 a-f")
NAME = _like(IDENTIFIER, "1 to 64 of a-z 0-9 . _ -")
MASK = _like(r"0*[1-9a-fA-F][0-9a-fA-F]*", "a mask of CPUs in hexadecimal digits, without 0x")
TIME, SPREAD = _decimal(0, above=True).optional, _decimal(0).optional
CELLS = {
    "schema_version": _one_of(str(SCHEMA_VERSION)),
    "session_id": NAME,
    "run_id": NAME,
    "model_id": TEXT,
    "variant": _one_of("dense", "pruned"),
    "model_sha256": SHA256,
    "format": _one_of("tflite", "pte", "onnx", "ort"),
    "precision": _one_of("fp32", "fp16", "int8"),
    "tool": _one_of(*TOOLS),
    "tool_version": TEXT,
    "tool_sha256": SHA256.optional,
    "delegate": _one_of("cpu", "xnnpack", "gpu", "nnapi", "npu"),
    "nodes_delegated": _whole(0).optional,
    "nodes_total": _whole(0).optional,
    "threads": _whole(1, 16),
    "cpu_mask": MASK.optional,
    "batch": _one_of("1"),
    "repeat": _whole(1),
    "order": _whole(1),
    "warmup_runs": _whole(1),
    "runs": _whole(1),
    **dict.fromkeys(("median_ms", "mean_ms", "min_ms", "max_ms"), TIME),
    **dict.fromkeys(("std_ms", "p5_ms", "p90_ms", "p95_ms", "p99_ms"), SPREAD),
    **dict.fromkeys(("init_ms", "first_ms"), SPREAD),
    "started_at": Rule("a moment as 2026-11-03T14:05:00+01:00, with its zone", _moment),
    **dict.fromkeys(("battery_temp_c_start", "battery_temp_c_end"), _decimal(-20, 80).optional),
    **dict.fromkeys(("thermal_status_start", "thermal_status_end"), _whole(0, 6).optional),
    "battery_percent": _decimal(0, 100).optional,
    "powered": _one_of("0", "1").optional,
    "gate": _one_of("passed", "timed_out", "none"),
    "raw_log": Rule("a path inside the session, without ..", _inside, required=False),
    "raw_log_sha256": SHA256.optional,
}


@dataclass(frozen=True)
class Row:
    """One run: its cells as values by column, None where empty, and where they stand."""

    where: str
    cells: dict[str, Any]

    def __getitem__(self, column: str) -> Any:
        return self.cells[column]

    def refuse(self, column: str, expected: str, found: object = None) -> InputError:
        """The error to raise for a cell of this row."""
        value = self.cells[column] if found is None else found
        value = "nothing" if value is None else repr(value)
        return InputError(f"{self.where}: {column}: found {value}, expected {expected}")

    @property
    def statistic(self) -> str:
        """What stands for the run: its median, or the mean where its tool gives no median."""
        return "median" if self["median_ms"] is not None else "mean"

    @property
    def latency_ms(self) -> float:
        """The median of the run's times, or their mean."""
        value: float = self[f"{self.statistic}_ms"]
        return value

    @property
    def flags(self) -> list[str]:
        """What a reader of this row's figures should know."""
        found = {
            "mean_only": self.statistic == "mean",
            "few_runs": self["runs"] < ENOUGH_RUNS,
            "gate_timed_out": self["gate"] == "timed_out",
            "no_log": self["raw_log"] is None,
        }
        return [name for name, holds in found.items() if holds]


def read_rows(path: Path, now: datetime | None = None) -> list[Row]:
    """The runs of a runs.csv; InputError names the line and column of what is not as it must be.

    ``now`` is the moment after which nothing can have been measured, by default the present.
    """
    now = now or datetime.now(UTC)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            _check_header(path, next(reader, []))
            rows = [_row(f"{path}, line {reader.line_num}", cells, now) for cells in reader]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    if not rows:
        raise InputError(f"{path}: no run, expected a row for each; measure first")
    return rows


def _check_header(path: Path, header: list[str]) -> None:
    if tuple(header) == COLUMNS:
        return
    where = f"{path}, line 1"
    if header and header[0].startswith("\ufeff"):
        raise InputError(f"{where}: found a byte-order mark, expected plain UTF-8; save it without")
    missing = [name for name in COLUMNS if name not in header]
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        missing_too = f"; {missing[0]} is missing" if missing else ""
        raise InputError(f"{where}: unknown column {unknown[0]!r}{missing_too}")
    if missing:
        raise InputError(f"{where}: column {missing[0]} is missing")
    raise InputError(f"{where}: columns twice or in another order, expected {','.join(COLUMNS)}")


def _row(where: str, cells: list[str], now: datetime) -> Row:
    if len(cells) != len(COLUMNS):
        raise InputError(f"{where}: found {len(cells)} cells, expected {len(COLUMNS)}")
    row = Row(where, {})
    for column, text in zip(COLUMNS, cells, strict=True):
        rule = CELLS[column]
        if text == "":
            if rule.required:
                raise row.refuse(column, rule.expected, "")
            row.cells[column] = None
            continue
        try:
            row.cells[column] = rule.read(text)
        except ValueError:
            raise row.refuse(column, rule.expected, text) from None
    _check_row(row, now)
    return row


def _check_row(row: Row, now: datetime) -> None:
    """Refuse cells that are right one by one but not together."""
    if row["median_ms"] is None and row["mean_ms"] is None:
        raise row.refuse("median_ms", "a number above 0, or a mean_ms where a tool has no median")
    ordered = [f"{name}_ms" for name in ORDERED]
    for names in (ordered, ["min_ms", "mean_ms", "max_ms"]):
        known = [name for name in names if row[name] is not None]
        for low, high in itertools.pairwise(known):
            if row[low] > row[high] + SLACK:
                raise row.refuse(low, f"at most {high}, {row[high]:g}")
    delegated, total = row["nodes_delegated"], row["nodes_total"]
    if delegated is not None and total is not None and delegated > total:
        raise row.refuse("nodes_delegated", f"at most nodes_total, {total}")
    if row["started_at"] > now:
        raise row.refuse(
            "started_at",
            f"a moment before now, {now.isoformat(timespec='seconds')}; set the clock right",
            row["started_at"].isoformat(),
        )
    for one, other in (("raw_log", "raw_log_sha256"), ("raw_log_sha256", "raw_log")):
        if row[one] is not None and row[other] is None:
            raise row.refuse(other, f"a value beside {one}, or both empty")
