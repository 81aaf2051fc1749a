"""Snakemake's events as a study's progress: `snakemake --logger study`, as `make` runs it.

A line for each job that ends or fails. In a pipe one more a minute for the study; on a terminal the
runs that train stand below the lines, redrawn. What Snakemake says besides is shown once each.
"""

import logging
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from autoprune.check.failures import is_stop, last_error
from autoprune.core.errors import InputError

if TYPE_CHECKING:  # each Snakemake in this folder imports this module, few use it
    from rich.console import RenderableType

    from autoprune.check.status_runs import Study

LOOK = 2.0  # seconds between looks at the runs' files on a terminal
SUMMARY = 60.0  # and in a pipe
FOOT = "Ctrl-C stops and keeps what is finished."


class Job(NamedTuple):
    """A job that runs: its name for people, its log's path or "", when it began."""

    name: str
    log: str
    began: float


class LogHandler(LogHandlerBase):
    """What Snakemake's logger plugin interface asks for; one object a run of Snakemake."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        from autoprune.study.overlay import check_files

        try:  # what Snakemake would read next, and break off with a traceback
            check_files(sys.argv[1:])
        except InputError as error:
            sys.exit(f"error: {error}")
        self.console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self.study: Study | None = None
        self.jobs: dict[int, Job] = {}
        self.ended: list[Job] = []
        self.steps = ""
        self._said: set[str] = set()
        self._over = threading.Event()
        live = self.console.is_terminal and not self.console.is_dumb_terminal
        self._live = (
            Live(
                console=self.console,
                get_renderable=self.picture,
                refresh_per_second=1 / LOOK,
                transient=True,
            )
            if live
            else None
        )
        self._summaries = threading.Thread(target=self._summarise, daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Say what an event means for the study; Snakemake calls it from one thread."""
        try:
            event = getattr(record, "event", None)
            if event in self.MEANINGS:
                self.MEANINGS[event](self, vars(record))
            elif event is None:
                self.remark(record)
        except Exception:
            self.handleError(record)

    def remark(self, record: logging.LogRecord) -> None:
        """What is no event: warnings always, the rest of what is said once."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            self.say(text, "yellow" if record.levelno == logging.WARNING else "red")
        elif record.levelno == logging.INFO and text not in self._said:
            self._said.add(text)
            self.say(text, "dim")

    def say(self, text: str, style: str = "") -> None:
        """A line above the picture; whole, however wide."""
        if text.strip():
            self.console.print(text, style=style, soft_wrap=True)

    def begin(self, facts: dict[str, Any]) -> None:
        """The workflow has been read: which study is it?"""
        from autoprune.check.status_runs import Study
        from autoprune.study.grid import base_config, read_config

        ours = base_config().resolve()
        overlays = [file for file in facts["configfiles"] if Path(file).resolve() != ours]
        try:
            self.study = Study(read_config(overlays))
        except InputError:  # what is wrong with it the Snakefile says
            return
        if self._live:
            self._live.start()
        else:
            self._summaries.start()

    def count(self, facts: dict[str, Any]) -> None:
        """How many jobs of each rule are ahead."""
        rules = Counter(
            {name: number for name, number in facts["stats"].items() if name != "total"}
        )
        parts = ", ".join(f"{number} {name}" for name, number in rules.most_common())
        self.say(f"{facts['stats']['total']} steps: {parts}")

    def start(self, facts: dict[str, Any]) -> None:
        """A job starts."""
        words = [facts["rule_name"], *(f"{k}={v}" for k, v in facts["wildcards"].items())]
        log = str(next(iter(facts["log"]), ""))
        self.jobs[facts["jobid"]] = Job(" ".join(words), log, time.monotonic())

    def finish(self, facts: dict[str, Any]) -> None:
        """A job is done; how many are is said next."""
        if job := self.jobs.pop(facts["job_id"], None):
            self.ended.append(job)

    def progress(self, facts: dict[str, Any]) -> None:
        """So many steps are done: a line for each job that ended."""
        from autoprune.check.status import duration

        self.steps = f"{facts['done']} of {facts['total']} steps"
        for job in self.ended:
            took = duration(time.monotonic() - job.began)
            self.say(f"{time.strftime('%H:%M:%S')} {self.steps}: {job.name}, {took}")
        self.ended.clear()

    def fail(self, facts: dict[str, Any]) -> None:
        """A job failed: its log, whose end the Snakefile shows when all is over."""
        log = str(next(iter(facts["log"]), ""))
        job = self.jobs.pop(facts["jobid"], Job(facts["rule_name"], log, 0.0))
        what = "stopped" if is_stop(last_error(log)) else "failed"
        self.say(f"{time.strftime('%H:%M:%S')} {what}: {job.name}; log: {log or 'none'}", "red")

    def error(self, facts: dict[str, Any]) -> None:
        """An error of Snakemake's; that of a job's command is said by ``fail``."""
        if facts["exception"] != "RuleException":
            self.say(facts["msg"], "red")

    MEANINGS: ClassVar[dict[LogEvent, Any]] = {
        LogEvent.WORKFLOW_STARTED: begin,
        LogEvent.RUN_INFO: count,
        LogEvent.JOB_INFO: start,
        LogEvent.JOB_FINISHED: finish,
        LogEvent.PROGRESS: progress,
        LogEvent.JOB_ERROR: fail,
        LogEvent.ERROR: error,
    }

    def picture(self) -> "RenderableType":
        """Below the lines on a terminal: the study in a line, the runs that train, the steps."""
        from rich.console import Group
        from rich.text import Text

        from autoprune.check.status import bar, summary, training

        if self.study is None:
            return Text(FOOT, "dim")
        statuses = self.study.look(self._began())
        foot = Text(f"{self.steps + '. ' if self.steps else ''}{FOOT}", "dim")
        return Group(summary(statuses), bar(statuses), *training(statuses), foot)

    def _began(self) -> float | None:
        from autoprune.check.status_runs import working_since

        return working_since(Path.cwd())

    def _summarise(self) -> None:
        """In a pipe: how far the study is, where that has changed, until all is over."""
        from autoprune.check.status import line, summary

        before = ""
        while self.study and not self._over.wait(SUMMARY):
            statuses = self.study.look(self._began())
            now = [summary(statuses).plain]
            now += [f"  {line(status)}" for status in statuses if status.state == "running"]
            if (text := "\n".join(now)) != before:
                self.say(f"{time.strftime('%H:%M:%S')} {text}")
            before = text

    def close(self) -> None:
        """All is said: the terminal is as it was."""
        self._over.set()
        if self._live:
            self._live.stop()
        if self._summaries.is_alive():
            self._summaries.join()
        super().close()
