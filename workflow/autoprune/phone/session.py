"""A session of runs on one phone: session.json, runs.csv and raw logs, held against each other."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.phone.exported import Model, Models, check_speed, limits_of, model_of
from autoprune.phone.facts import read_facts
from autoprune.phone.lab import companions
from autoprune.phone.measurement import TIMES, Measurement
from autoprune.phone.raw import read_run
from autoprune.phone.rows import Row, read_rows

# one program, or one library in two wrappings: their logs cannot be told apart in every version
BENCHMARK_MODEL = {"tflite_benchmark_model", "litert_benchmark_model", "tflite_benchmark_apk"}
# of a repeat there is one run for each of these
REPEATED = ("model_id", "threads", "cpu_mask", "delegate", "repeat")


@dataclass(frozen=True)
class Session:
    """A valid session: ``models`` has the study's model of each row, None for another network.

    ``failed`` are the runs that came to nothing, a word on each: those of failed.csv, which
    ``measure`` writes, and raw logs that no row names.
    """

    folder: Path
    facts: dict[str, Any]
    rows: list[Row]
    models: list[Model | None]
    failed: list[str]
    warnings: list[str]


def read_session(folder: Path, known: Models, now: datetime | None = None) -> Session:
    """A session, all its cross-checks made; ``known`` are the study's exported models.

    Raises InputError naming file, line and column of what is not as it must be.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with session.json and runs.csv")
    facts = read_facts(folder / "session.json")
    rows = read_rows(folder / "runs.csv", now)
    _check_same_session(facts, rows)
    _check_unique(rows)
    own = facts.get("gflops_per_thread", {})
    models = []
    for row in rows:
        model = model_of(row, known)
        if row["raw_log"] is not None:
            _check_log(folder, row, model)
        if model is not None:
            check_speed(row, model, limits_of(row, own))
        models.append(model)
    return Session(folder, facts, rows, models, _failed(folder, rows), _warnings(folder, rows))


def read_sessions(
    folders: Sequence[Path], known: Models, now: datetime | None = None
) -> list[Session]:
    """Several sessions, each of its own name; InputError for one that was handed in twice."""
    sessions: dict[str, Session] = {}
    for folder in sorted(folders):
        session = read_session(folder, known, now)
        name = session.facts["session_id"]
        if name in sessions:
            raise InputError(
                f"{folder / 'session.json'}: session_id: found {name!r}, which "
                f"{sessions[name].folder} has already; expected one folder for each session"
            )
        sessions[name] = session
    return list(sessions.values())


def _check_same_session(facts: dict[str, Any], rows: Sequence[Row]) -> None:
    """A session is of one phone and one tool, and its session.json says which."""
    tool = facts["tool"]
    for row in rows:
        if row["session_id"] != facts["session_id"]:
            raise row.refuse(
                "session_id",
                f"{facts['session_id']!r} as in session.json; two devices are two sessions",
            )
        for column, expected in (
            ("tool", tool["name"]),
            ("tool_version", tool["version"]),
            ("tool_sha256", tool["sha256"] or row["tool_sha256"]),
        ):
            if row[column] is not None and row[column] != expected:
                raise row.refuse(column, f"{expected!r} as session.json has")


def _check_unique(rows: Sequence[Row]) -> None:
    """A run, a log and a repeat occur once, and a model is the same bytes throughout."""
    seen: dict[tuple[Any, ...], Row] = {}
    bytes_of: dict[str, Row] = {}
    for row in rows:
        for columns in (("run_id",), ("raw_log",), REPEATED):
            values = tuple(row[column] for column in columns)
            before = seen.setdefault((columns, *values), row)
            if before is not row and any(value is not None for value in values):
                of = " of the same model and settings" if columns == REPEATED else ""
                line = before.where.rpartition(" ")[2]
                raise row.refuse(columns[-1], f"another than in line {line}{of}")
        before = bytes_of.setdefault(row["model_id"], row)
        if before["model_sha256"] != row["model_sha256"]:
            line = before.where.rpartition(" ")[2]
            raise row.refuse("model_sha256", f"the same for {row['model_id']} as in line {line}")


def _check_log(folder: Path, row: Row, model: Model | None) -> None:
    """Read a row's raw log again and refuse what it does not say."""
    path = folder / row["raw_log"]
    if not path.resolve().is_relative_to(folder.resolve()):
        raise row.refuse("raw_log", "a path inside the session")
    if not path.is_file():
        raise row.refuse("raw_log", "a file of the session; it is not there")
    digest = sha256_file(path)
    if digest != row["raw_log_sha256"]:
        raise row.refuse("raw_log_sha256", f"{digest}, which {row['raw_log']} has")
    try:
        log = read_run(path)
    except InputError as error:
        raise InputError(f"{row.where}: raw_log: {error}") from None
    tools = {row["tool"], log.tool}
    if len(tools) > 1 and not tools <= BENCHMARK_MODEL and row["tool"] != "other":
        raise row.refuse("tool", f"{log.tool!r} as the log is of")
    if log.graph is not None:
        graph, file = log.graph.rpartition("/")[2], (model or {}).get("file", row["model_id"])
        if graph != file:
            raise row.refuse("model_id", f"the network of the log, {graph!r}")
    if log.threads is not None and log.threads != row["threads"]:
        raise row.refuse("threads", f"{log.threads} as in the log")
    if log.delegate is not None and log.delegate != row["delegate"]:
        took = f", which took {log.nodes[0]} of {log.nodes[1]} nodes" if log.nodes else ""
        raise row.refuse("delegate", f"{log.delegate!r} as in the log{took}")
    for column, number in zip(("nodes_delegated", "nodes_total"), log.nodes or (), strict=False):
        if row[column] is not None and row[column] != number:
            raise row.refuse(column, f"{number} as in the log")
    if log.runs is not None and log.runs < row["runs"]:
        raise row.refuse("runs", f"at most the log's {log.runs}")
    _check_figures(row, log)


def _check_figures(row: Row, log: Measurement) -> None:
    """Refuse times that differ from the log's by more than half of its last printed digit."""
    for name in TIMES:
        column = f"{name}_ms"
        mine, logged = row[column], getattr(log, column)
        if mine is None and not (column == "median_ms" and logged is not None):
            continue
        if logged is None:
            raise row.refuse(column, "an empty cell: the log has no such figure")
        if mine is None or abs(mine - logged) > 0.5 * log.steps[column] * (1 + 1e-6):
            raise row.refuse(column, f"{logged:.12g} as the log has in ms")


def _failed(folder: Path, rows: Sequence[Row]) -> list[str]:
    """The runs without a result, by the row of failed.csv or the log that is left of them."""
    path, listed = folder / "failed.csv", []
    if path.exists():
        try:
            with path.open(encoding="utf-8", newline="") as stream:
                listed = list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path}: not a CSV file in UTF-8 ({error})") from None
    named = {row["raw_log"] for row in rows} | {row.get("raw_log") for row in listed}
    beside = (path for name in named if name for path in companions(folder / name) if path)
    named |= {f"raw/{path.name}" for path in beside}
    logs = (f"raw/{log.name}" for log in sorted((folder / "raw").glob("[!.]*")) if log.is_file())
    words = [f"{row.get('run_id')}: {row.get('reason')}" for row in listed]
    return words + [f"{log}: in no row" for log in logs if log not in named]


def _warnings(folder: Path, rows: Sequence[Row]) -> list[str]:
    """What is odd but not wrong."""
    variants = {row["variant"] for row in rows}
    if len(variants) == 2:
        return []
    missing = ({"dense", "pruned"} - variants).pop()
    return [f"{folder / 'runs.csv'}: no {missing} run, so this session gives no speed-up"]
