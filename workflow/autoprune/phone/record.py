"""Write a session's folder: session.json once, a row as each run ends, the raw logs."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import read_json, sha256_file, whole_file, write_json
from autoprune.phone.protocol import Run
from autoprune.phone.rows import COLUMNS

FAILED_COLUMNS = (
    *("run_id", "model_id", "model_sha256", "threads", "repeat", "order"),
    *("started_at", "exit_code", "reason", "raw_log", "raw_log_sha256"),
)
LOST = "connection lost"  # no fault of the run: it is run again
# what must be the same when a session is started again, and what else to do
SAME = {
    "device.serial_sha256": "another phone: give it a --session of its own",
    "device.fingerprint": "another Android: give it a --session of its own",
    **dict.fromkeys(("tool.name", "tool.version"), "another tool: give it a --session of its own"),
    "tool.sha256": "another runner: give it a --session of its own",
    "tool.libraries": "other libraries: give them a --session of their own",
    **dict.fromkeys(
        (
            *("protocol.version", "protocol.clocks", "protocol.threads", "protocol.repeats"),
            *("protocol.pause_s", "protocol.cpu_mask", "protocol.delegate"),
        ),
        "another protocol: use another --session",
    ),
    "models": "other models: use another --session",
}


class Record:
    """A session's folder on disk. Files are whole at any moment, or end in a row cut off."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs, self.failed = folder / "runs.csv", folder / "failed.csv"

    def open(self, about: Mapping[str, Any]) -> None:
        """Begin the session, or go on with it; raises InputError when it is another one.

        What may change between two starts, the switches of the phone, is added to ``starts``.
        """
        path = self.folder / "session.json"
        if not path.exists():
            if self.runs.exists():
                raise InputError(f"{self.runs}: rows but no session.json; use another --session")
        else:
            before = read_json(path)
            for key, advice in SAME.items():
                was, now = _at(before, key), _at(about, key)
                if was != now:
                    raise InputError(f"{path}: {key} is {_short(was)}, now {_short(now)}; {advice}")
            about = before | {"starts": [*before.get("starts", []), *about["starts"]]}
        for table, columns in ((self.runs, COLUMNS), (self.failed, FAILED_COLUMNS)):
            _mend(table, columns)
        write_json(path, about)

    def finished(self) -> dict[tuple[str, int, int], dict[str, str]]:
        """The rows of runs.csv by run."""
        return {_key(row): row for row in _rows(self.runs)}

    def failures(self) -> dict[tuple[str, int, int], list[dict[str, str]]]:
        """The rows of failed.csv by run, one for each attempt."""
        found: dict[tuple[str, int, int], list[dict[str, str]]] = {}
        for row in _rows(self.failed):
            found.setdefault(_key(row), []).append(row)
        return found

    def keep_log(self, run_id: str, log: bytes) -> dict[str, str]:
        """Write a raw log as it came; its place in the session and its SHA-256."""
        place = f"raw/{run_id}.log"
        with whole_file(self.folder / place) as scratch:
            scratch.write_bytes(log)
        return {"raw_log": place, "raw_log_sha256": sha256_file(self.folder / place)}

    def add_run(self, row: Mapping[str, Any]) -> None:
        """Append a finished run to runs.csv, on the disk when this returns."""
        _append(self.runs, COLUMNS, row)

    def add_failure(self, run: Run, row: Mapping[str, Any]) -> None:
        """Append a failed run to failed.csv, on the disk when this returns."""
        about: dict[str, Any] = {"model_id": run.model.model_id, "model_sha256": run.model.sha256}
        about |= {"threads": run.threads, "repeat": run.repeat, "order": run.order}
        _append(self.failed, FAILED_COLUMNS, about | dict(row))


def _at(value: Any, key: str) -> Any:
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _key(row: Mapping[str, str]) -> tuple[str, int, int]:
    return (row["model_sha256"], int(row["threads"]), int(row["repeat"]))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _append(path: Path, columns: Sequence[str], row: Mapping[str, Any]) -> None:
    """Add a row in one write, and its file's header where that is new."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if not path.exists():
        writer.writeheader()
    writer.writerow({key: "" if row[key] is None else row[key] for key in columns})
    with open(path, "ab") as stream:
        stream.write(text.getvalue().encode())
        stream.flush()
        os.fsync(stream.fileno())


def _mend(path: Path, columns: Sequence[str]) -> None:
    """Take away a last row that a killed process left half; its run is done again.

    Raises InputError when the header is another: the file is none of ours.
    """
    if not path.exists():
        return
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if whole and whole.split(b"\n", 1)[0].decode(errors="replace") != ",".join(columns):
        raise InputError(f"{path}: not the columns of this version; use another --session")
    if not whole:
        path.unlink()
    elif whole != data:
        with whole_file(path) as scratch:
            scratch.write_bytes(whole)
