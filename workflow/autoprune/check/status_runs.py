"""What each run of the study is doing, from the files that it writes and nothing else."""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from autoprune.check.failures import is_stop, last_error
from autoprune.check.unlock import working_here
from autoprune.core.tasks import ACCURACY, plain
from autoprune.federation.progress import BEAT, PROGRESS, machine
from autoprune.study import tasks
from autoprune.study.config import Config, run_settings
from autoprune.study.grid import Run, runs_of

STATES = ("running", "failed", "stopped", "waiting", "done")
# a run of another machine is taken for dead after this: a shared disk may tell a minute late
SILENT = BEAT + 80
STARTING = 120  # seconds that a job with an empty log may take to its first round's beginning


@dataclass(frozen=True)
class Status:
    """One run. What is not known is None.

    ``round`` of ``rounds`` is finished; ``accuracy`` is on the validation split, a fraction;
    ``clients_per_second`` and ``seconds_left`` are a running run's, ``seconds`` is how long its
    job took or is going to take. ``reason`` says in a line why a run failed or was stopped.
    """

    run: Run
    state: str
    rounds: int
    round: int = 0
    accuracy: float | None = None
    parameters: int | None = None
    clients_per_second: float | None = None
    seconds_left: float | None = None
    seconds: float | None = None
    resumed_after: int = 0
    reason: str = ""
    log: str = ""
    score: str = ACCURACY  # what ``accuracy`` is, R2 of a regression

    @property
    def name(self) -> str:
        """The run for people, in the words of its files."""
        return f"{self.run.pair} {self.run.method}/{self.run.variant} seed {self.run.seed}"


@dataclass
class Study:
    """The runs of a configuration, looked at again and again; what is done is read once."""

    config: Config
    runs: list[Run] = field(init=False)
    _done: dict[Run, tuple[int, Status]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.runs = runs_of(self.config)
        self._rounds = {
            run: run_settings(self.config, run.pair, run.method, run.variant)[0]["rounds"]
            for run in self.runs
        }

    def folder(self, run: Run) -> Path:
        """Where a run's outputs lie, and its progress while it lasts."""
        return Path(self.config["pathvars"]["results"]) / "runs" / run.path

    def log(self, run: Run) -> Path:
        """Where its job's output goes."""
        return Path(self.config["pathvars"]["logs"]) / "runs" / f"{run.path}.log"

    def look(self, since: float | None = None) -> list[Status]:
        """All runs in the configuration's order.

        With ``since``, the time at which the Snakemake that works here began, a run that failed
        before is waiting again.
        """
        return [self._look_at(run, since) for run in self.runs]

    def _look_at(self, run: Run, since: float | None) -> Status:
        folder, log = self.folder(run), self.log(run)
        progress, beat = _read(folder / PROGRESS)
        score = tasks.score(self.config, run.pair)
        shown = str(log) if log.exists() else ""
        known = Status(run, "waiting", self._rounds[run], log=shown, score=score)
        if progress and not progress["ended"] and _alive(progress, beat):
            return _with(known, "running", progress)
        finished = _time(folder / "run.json")
        if finished is not None:
            return self._look_at_done(known, int(finished * 1e9))
        written = _time(log)
        if written is not None and log.stat().st_size == 0:  # its job is loading libraries
            if written > (beat or 0) and time.time() - written < STARTING:
                return replace(known, state="running")
            return _with(known, "stopped" if progress else "waiting", progress)
        error = last_error(log)
        if progress and (not error or (beat or 0) > (written or 0) + BEAT):
            # a run by hand has no log; its progress says how it ended, if it could still say
            error = progress["reason"] if progress["ended"] == "failed" else ""
        reason = error.removeprefix("error: ").removeprefix(f"{folder}: ")
        if error and not is_stop(error):
            ended = max(written or 0, beat or 0)
            state = "waiting" if since is not None and ended < since else "failed"
            return _with(known, state, progress, reason)
        if progress or (folder / "checkpoint.safetensors").exists():
            return _with(known, "stopped", progress, reason if is_stop(error) else "")
        return known

    def _look_at_done(self, known: Status, version: int) -> Status:
        """A finished run, from its outputs and its job's benchmark."""
        run = known.run
        if run in self._done and self._done[run][0] == version:
            return self._done[run][1]
        last = _last_row(self.folder(run) / "history.csv")
        accuracy, rounds = last.get("validation_accuracy"), int(last.get("round", known.rounds))
        table = Path(self.config["pathvars"]["benchmarks"]) / "runs" / f"{run.path}.tsv"
        seconds = _last_row(table, "\t").get("s")
        status = replace(
            known,
            state="done",
            rounds=rounds,
            round=rounds,
            accuracy=float(accuracy) if accuracy else None,
            parameters=int(last["parameters"]) if "parameters" in last else None,
            seconds=float(seconds) if seconds else None,
        )
        if seconds:  # Snakemake writes it a moment after the outputs
            self._done[run] = version, status
        return status


def working_since(folder: Path) -> float | None:
    """When the Snakemake that works in a folder on this machine began; None where none does."""
    locks = [_time(lock) for lock in (folder / ".snakemake" / "locks").glob("*.lock")]
    times = [lock for lock in locks if lock is not None]
    return max(times) if times and working_here(folder) else None


def time_left(statuses: Sequence[Status]) -> tuple[float | None, int]:
    """Seconds until all runs are trained, and how many runs that leaves out for want of a measure.

    A run that has not begun takes as long as the median of its like: of other seeds of its
    variant, else of its method, else of its pair. The runs that are going share the rest, as many
    at a time as there are now. None when nothing is running or nothing is left to estimate from.
    """
    running = [status for status in statuses if status.state == "running"]
    ahead = [status for status in statuses if status.state in ("waiting", "stopped")]
    lefts = [status.seconds_left for status in running if status.seconds_left is not None]
    taken: dict[tuple[str, ...], list[float]] = {}
    for status in statuses:
        if status.seconds is not None:
            for like in _likes(status.run):
                taken.setdefault(like, []).append(status.seconds)
    work, unknown = sum(lefts), len(running) - len(lefts)
    for status in ahead:
        if known := [taken[like] for like in _likes(status.run) if like in taken]:
            work += median(known[0]) * (1 - status.round / status.rounds)
        else:
            unknown += 1
    if not running or not work:
        return None, unknown
    return max([work / len(running), *lefts]), unknown


def _likes(run: Run) -> list[tuple[str, ...]]:
    """Groups of runs that take about as long, the closest first."""
    return [(run.pair, run.method, run.variant), (run.pair, run.method), (run.pair,)]


def _with(known: Status, state: str, progress: dict[str, Any] | None, reason: str = "") -> Status:
    """A run's status with what its progress file tells."""
    if progress is None:
        return replace(known, state=state, reason=reason)
    pace, rounds, done = progress["seconds_per_round"], progress["rounds"], progress["round"]
    status = replace(
        known,
        state=state,
        rounds=rounds,
        round=done,
        accuracy=progress["validation_accuracy"],
        parameters=progress["parameters"],
        resumed_after=progress["resumed_after"],
        reason=reason,
    )
    if state != "running" or pace is None:
        return status
    left = (rounds - done) * pace - (time.time() - progress["round_ended"])
    return replace(
        status,
        clients_per_second=progress["clients_per_second"],
        seconds_left=max(0.0, left),
        seconds=rounds * pace,
    )


def _read(path: Path) -> tuple[dict[str, Any] | None, float | None]:
    """A progress file and when it was last touched; None for both where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream), path.stat().st_mtime
    except (OSError, ValueError):
        return None, None


def _alive(progress: dict[str, Any], beat: float | None) -> bool:
    """Whether the process that wrote a progress file is still at it."""
    if progress["machine"] != machine():
        return beat is not None and time.time() - beat < SILENT
    try:
        process = psutil.Process(progress["process"])
        # a later process may have been given the number of one that is gone
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and process.create_time() <= progress["started"] + 1
        )
    except psutil.Error:
        return False


def _time(path: Path) -> float | None:
    """When a file was last written; None where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _last_row(path: Path, delimiter: str = ",") -> dict[str, str]:
    """The last row of a table, R² under the name of an accuracy; empty where there is none."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    return {plain(name): cell for name, cell in rows[-1].items()} if rows else {}
