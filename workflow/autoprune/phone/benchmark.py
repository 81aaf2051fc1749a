"""Measure the runs of a session on a phone, one after another, and write each down."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.phone import device
from autoprune.phone.adb import FOLDER, Adb, ConnectionLost
from autoprune.phone.delegates import PLACED
from autoprune.phone.logs import Measurement, parse
from autoprune.phone.protocol import Model, Run
from autoprune.phone.record import LOST, Record
from autoprune.phone.rows import COLUMNS, SCHEMA_VERSION
from autoprune.phone.runners import Tool

ENDED = b"Model executed successfully"  # what executor_runner prints last of a measurement


@dataclass(frozen=True)
class Settings:
    """How a session measures; times in seconds."""

    session_id: str
    tool: Tool
    tool_version: str
    tool_sha256: str
    runner: str
    mask: str
    delegate: str
    libraries: tuple[Path, ...]
    pause_s: float
    gate_sleep_s: float
    gate_limit_s: float
    retry_failed: bool
    sleep: Callable[[float], None] = time.sleep


def commands_of(run: Run, settings: Settings) -> list[str]:
    """The phone's commands of a run, the measured one last."""
    mask, some = mask_for(run.threads, settings.mask), bool(settings.libraries)
    file = run.model.file
    return settings.tool.commands(settings.runner, file, run.threads, mask, settings.delegate, some)


def mask_for(threads: int, mask: str) -> str:
    """The cores of a row: the fastest for one thread, the phone's choice for more."""
    return mask if threads == 1 else ""


def say(text: str) -> None:
    """Progress goes to stderr, a line each."""
    print(text, file=sys.stderr, flush=True)


def logcat(tag: str) -> tuple[str, str]:
    """The commands that empty the phone's log, and print it of one tag."""
    return "logcat -c", f"logcat -d -s {tag}"


def prepare(
    adb: Adb, runner: Path, sha256: str, libraries: Sequence[Path], models: Sequence[Model]
) -> None:
    """Push the runner and every model, always, and compare their bytes on the phone."""
    adb.shell(f"mkdir -p {FOLDER}")
    adb.push(runner, runner.name, sha256)
    adb.shell(chmod(runner.name))
    for library in libraries:
        adb.push(library, library.name)
    for model in models:
        adb.push(model.path, model.file, model.sha256)
    say(f"pushed {runner.name} and {len(models)} models, SHA-256 the same on the phone")


def chmod(name: str) -> str:
    """The command that makes the pushed runner executable."""
    return f"chmod 755 {FOLDER}/{name}"


def wait_cool(adb: Adb, settings: Settings) -> tuple[device.Reading, str]:
    """Wait until the phone is cool; its reading then, and ``passed``, ``timed_out`` or ``none``."""
    waited = 0.0
    while True:
        found = device.reading(adb)
        if found.gate is None:
            return found, "none"
        if found.gate:
            return found, "passed"
        if waited >= settings.gate_limit_s:
            say(f"  still {found} after {waited:.0f} s: going on, the run is marked")
            return found, "timed_out"
        say(
            f"  waiting for thermal status 0 and at most {device.MAX_BATTERY_C:g} C: {found} "
            f"({waited:.0f} of {settings.gate_limit_s:.0f} s)"
        )
        settings.sleep(settings.gate_sleep_s)
        waited += settings.gate_sleep_s


def execute(adb: Adb, run: Run, settings: Settings) -> tuple[int, bytes, int | None]:
    """Run the benchmark: exit code, log, and the runs of a warm-up process where there is one.

    A warm-up that fails is the run's failure. What it alone says of delegates, stands before the
    log.
    """
    tool = settings.tool
    warmup_runs = tool.warmup_runs
    commands = commands_of(run, settings)
    said = b""
    for number, command in enumerate(commands, 1):
        if tool.logcat:
            adb.shell(logcat(tool.logcat)[0])
        done = adb.try_shell(command)
        log = done.out  # the phone's stderr is in it; adb's own has a word when it fails
        if done.code != 0:
            log += done.err
        if tool.logcat and ENDED not in log:
            log += adb.try_shell(logcat(tool.logcat)[1]).out
        if done.code != 0 or number == len(commands):
            return done.code, said + log, warmup_runs
        said = b"".join(
            line for line in log.splitlines(True) if PLACED.search(line.decode("latin-1"))
        )
        if warmup_runs is None:
            try:
                warmup_runs = parse(log.decode(errors="replace"), "warm-up").runs
            except InputError:  # the run fails by this log
                return done.code, log, None
    raise AssertionError("a tool without a command")


def check(found: Measurement, run: Run, tool: Tool, delegate: str) -> str | None:
    """What in a log belongs to another run, None if nothing does."""
    # not every version of LiteRT's prints the block that tells it from TFLite's
    if found.tool not in (tool.name, tool.name.replace("litert", "tflite")):
        return f"the log is one of {found.tool}, expected {tool.name}"
    if found.graph is not None and Path(found.graph).name != run.model.file:
        return f"the log is of the model {found.graph}, expected {run.model.file}"
    if found.threads is not None and found.threads != run.threads:
        return f"the log says {found.threads} threads, expected {run.threads}"
    if found.delegate not in (None, delegate):
        took = " {} of {} nodes".format(*found.nodes) if found.nodes else ""
        return f"the log says that {found.delegate} ran it{took and ','}{took}, expected {delegate}"
    return None


def measured(code: int, log: bytes, run: Run, tool: Tool, delegate: str) -> Measurement | str:
    """A log's measurement, or why the run failed."""
    if code != 0:
        name = ""
        if code > 128 and code - 128 in set(signal.Signals):
            name = f" ({signal.Signals(code - 128).name})"
        return f"exit code {code}{name}"
    try:
        found = parse(log.decode("utf-8"), "log")
    except UnicodeDecodeError:
        return "the log is no text in UTF-8"
    except InputError as error:
        return str(error)
    return check(found, run, tool, delegate) or found


def row_of(run: Run, found: Measurement, settings: Settings) -> dict[str, Any]:
    """What a row of runs.csv says of the run and its numbers."""
    model, tool = run.model, settings.tool
    return dict.fromkeys(COLUMNS) | {
        "schema_version": SCHEMA_VERSION,
        "session_id": settings.session_id,
        **{key: getattr(model, key) for key in ("model_id", "variant", "format", "precision")},
        "model_sha256": model.sha256,
        **{"tool": tool.name, "tool_version": settings.tool_version},
        **{"tool_sha256": settings.tool_sha256, "delegate": settings.delegate},
        **{"threads": run.threads, "cpu_mask": mask_for(run.threads, settings.mask)},
        **{"batch": 1, "repeat": run.repeat, "order": run.order},
        **found.cells(),
        "runs": found.runs,
    }


def one(adb: Adb, run: Run, attempt: int, record: Record, settings: Settings) -> str | None:
    """Measure one run and write it down; why it failed, or None.

    Raises ConnectionLost, the run written down as such, when the phone goes away meanwhile.
    """
    before, gate = wait_cool(adb, settings)
    started = {"started_at": datetime.now(UTC).isoformat(timespec="seconds")}
    about: dict[str, Any] = {"run_id": run.run_id(attempt)} | started
    try:
        code, log, warmup_runs = execute(adb, run, settings)
        after = device.reading(adb)
    except ConnectionLost as error:
        about |= record.keep_log(run.run_id(attempt), error.out)
        record.add_failure(run, about | {"exit_code": None, "reason": LOST})
        raise
    about |= record.keep_log(run.run_id(attempt), log)
    found = measured(code, log, run, settings.tool, settings.delegate)
    if isinstance(found, str):
        record.add_failure(run, about | {"exit_code": code, "reason": found})
        return f"{found}; its log is {record.folder / about['raw_log']}"
    heat = {
        "battery_temp_c_start": before.battery_temp_c,
        "battery_temp_c_end": after.battery_temp_c,
        "thermal_status_start": before.thermal_status,
        "thermal_status_end": after.thermal_status,
        "battery_percent": before.battery_percent,
        "powered": before.powered,
    }
    row = row_of(run, found, settings) | about | heat
    record.add_run(row | {"gate": gate, "warmup_runs": warmup_runs})
    time_ms = found.median_ms if found.median_ms is not None else found.mean_ms
    hot = f"; ended at {after}: does not count" if after.thermal_status else ""
    took = " {} of {} nodes".format(*found.nodes) if found.nodes else ""
    name = "mean" if found.median_ms is None else "median"
    say(f"  {name} {time_ms:.4g} ms, {settings.delegate}{took}{hot}")
    return None


def todo(runs: Sequence[Run], record: Record, retry_failed: bool) -> list[tuple[Run, int]]:
    """The runs that are still to do, each with the number of the attempt.

    A failed run is done again only when asked for, or when the connection was lost.
    """
    finished, failures = record.finished(), record.failures()
    found = []
    for run in runs:
        before = failures.get(run.key, [])
        again = not before or retry_failed or before[-1]["reason"] == LOST
        if run.key not in finished and again:
            found.append((run, len(before) + 1))
    return found


def measure(adb: Adb, runs: Sequence[Run], record: Record, settings: Settings) -> None:
    """All runs that are still to do, in order.

    Raises InputError when every model has failed in a row, or the connection is lost.
    """
    left = todo(runs, record, settings.retry_failed)
    if len(left) < len(runs):
        say(f"{len(runs) - len(left)} of {len(runs)} runs are there already")
    begun, in_a_row = time.monotonic(), 0
    models = len({run.model.sha256 for run in runs})
    for number, (run, attempt) in enumerate(left):
        if number:
            settings.sleep(settings.pause_s)
        rest = (time.monotonic() - begun) / max(number, 1) * (len(left) - number)
        time_left = f", about {rest / 60:.0f} min left" if number and rest > 60 else ""
        say(
            f"[{run.order}/{len(runs)}] {run.model.variant} {run.model.precision}, threads "
            f"{run.threads}, repeat {run.repeat}: {run.model.file}{time_left}"
        )
        try:
            failure = one(adb, run, attempt, record, settings)
        except ConnectionLost as error:
            raise ConnectionLost(
                f"{error}, in run {run.order} of {len(runs)}; {len(record.finished())} finished "
                "runs are kept: plug the phone in and give the same command again"
            ) from None
        in_a_row = in_a_row + 1 if failure else 0
        if failure:
            say(f"  failed: {failure}")
        if in_a_row == models:
            raise InputError(
                f"{in_a_row} runs in a row failed, the last: {failure}; a runner of another "
                "--tool, or for another Android?"
            )


def summary(runs: Sequence[Run], record: Record) -> str:
    """What the session came to; raises InputError when a run failed or a model has no number."""
    finished, failures = record.finished(), record.failures()
    failed = [run for run in runs if run.key in failures and run.key not in finished]
    hot = [key for key, row in finished.items() if row["thermal_status_end"] not in ("", "0")]
    counted = {(key[0], key[1]) for key in finished if key not in hot}
    text = (
        f"{record.folder}: {len(finished)} of {len(runs)} runs, {len(failed)} failed, "
        f"{len(hot)} ended hot and do not count"
    )
    if len({(run.model.sha256, run.threads) for run in runs}) > len(counted):
        advice = "let the phone cool down and use a new --session" if hot else ""
        advice = advice or "see failed.csv, and --retry-failed"
        raise InputError(f"{text}; a model has no run that counts: {advice}")
    if failed:
        raise InputError(f"{text}; see failed.csv, and --retry-failed")
    return text
