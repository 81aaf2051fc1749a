"""The rows of a session's runs.csv: what each cell may hold, and how a row's cells must agree."""

import csv
import itertools
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from autoprune.core.errors import InputError
from autoprune.phone.delegates import ACCELERATORS, LABELS
from autoprune.phone.measurement import ORDERED

SCHEMA_VERSION = 1
FORMATS = ("tflite", "pte", "onnx", "ort")
# the benchmark programs, and which formats each reads
TOOLS = {
    **dict.fromkeys(("tflite_benchmark_model", "litert_benchmark_model"), ("tflite",)),
    **{"tflite_benchmark_apk": ("tflite",), "executor_runner": ("pte",)},
    **{"qnn_executor_runner": ("pte",), "executorch_minibench": ("pte",)},
    **{"onnxruntime_perf_test": ("onnx", "ort"), "other": FORMATS},
}
SLACK = 1e-9  # ms, for figures that were written from binary numbers
ENOUGH_RUNS = 20  # fewer are flagged
IDENTIFIER = "[a-z0-9._-]{1,64}"
NUMBER = r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"


class Rule(NamedTuple):
    """What a column allows: text of a pattern, and what it converts to must hold."""

    expected: str
    pattern: str = ".*"
    convert: Callable[[str], Any] = str
    holds: Callable[[Any], bool] = lambda value: True
    required: bool = True

    @property
    def optional(self) -> "Rule":
        """The same, or an empty cell for what is unknown."""
        return self._replace(required=False)

    def read(self, text: str) -> Any:
        """A cell's value; raises ValueError for one that is not as expected."""
        if not re.fullmatch(self.pattern, text) or not self.holds(value := self.convert(text)):
            raise ValueError(text)
        return value


def _one_of(*allowed: str) -> Rule:
    return Rule(" or ".join(allowed), "|".join(map(re.escape, allowed)))


def _whole(least: int, most: int | None = None) -> Rule:
    upper, limit = ("or more", math.inf) if most is None else (f"to {most}", most)
    expected = f"a whole number of {least} {upper}"
    return Rule(expected, "[0-9]{1,12}", int, lambda value: least <= value <= limit)


def _decimal(least: float, most: float = sys.float_info.max) -> Rule:
    upper = "or more" if most == sys.float_info.max else f"to {most:g}"
    expected = f"a number of {least:g} {upper}"
    return Rule(expected, NUMBER, float, lambda value: least <= value <= most)


def _inside(path: str) -> bool:
    parts = PurePosixPath(path)
    return path.isprintable() and not parts.is_absolute() and ".." not in parts.parts


TEXT = Rule("text without control characters", holds=str.isprintable)
SHA256 = Rule("a SHA-256 of 64 digits 0-9 a-f", "[0-9a-f]{64}")
NAME = Rule("1 to 64 of a-z 0-9 . _ -", IDENTIFIER)
MASK = Rule("a mask of CPUs in hexadecimal digits, without 0x", "0*[1-9a-fA-F][0-9a-fA-F]*")
ABOVE_0 = Rule("a number above 0", NUMBER, float, lambda value: 0 < value < math.inf)
MOMENT = Rule(
    "a moment as 2026-11-03T14:05:00+01:00, with its zone",
    convert=datetime.fromisoformat,
    holds=lambda moment: moment.tzinfo is not None,
)
PLACE = Rule(
    "a path inside the session, without ..",
    r"[^\\:]*",
    lambda text: str(PurePosixPath(text)),
    _inside,
)
TIME, SPREAD = ABOVE_0.optional, _decimal(0).optional
CELLS = {
    "schema_version": _one_of(str(SCHEMA_VERSION)),
    "session_id": NAME,
    "run_id": NAME,
    "model_id": TEXT,
    "variant": _one_of("dense", "pruned"),
    "model_sha256": SHA256,
    "format": _one_of(*FORMATS),
    "precision": _one_of("fp32", "fp16", "int8"),
    "tool": _one_of(*TOOLS),
    "tool_version": TEXT,
    "tool_sha256": SHA256.optional,
    "delegate": _one_of(*LABELS),
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
    "started_at": MOMENT,
    **dict.fromkeys(("battery_temp_c_start", "battery_temp_c_end"), _decimal(-20, 80).optional),
    **dict.fromkeys(("thermal_status_start", "thermal_status_end"), _whole(0, 6).optional),
    "battery_percent": _decimal(0, 100).optional,
    "powered": _one_of("0", "1").optional,
    "gate": _one_of("passed", "timed_out", "none"),
    "raw_log": PLACE.optional,
    "raw_log_sha256": SHA256.optional,
}
COLUMNS = tuple(CELLS)  # of runs.csv, in order: one row a run, units in the names


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
            "nodes_unknown": self["delegate"] in ACCELERATORS and self["nodes_delegated"] is None,
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
    if row["format"] not in TOOLS[row["tool"]]:
        raise row.refuse("format", f"{' or '.join(TOOLS[row['tool']])}, which {row['tool']} reads")
    ending = PurePosixPath(row["model_id"]).suffix[1:]
    if ending in FORMATS and ending != row["format"]:
        raise row.refuse("model_id", f"a .{row['format']} file, the row's format")
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
