"""What Snakemake 9.27 does otherwise here: how it looks for work, starts jobs, measures them."""

import atexit
import json
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from snakemake.benchmark import BenchmarkTimer
from snakemake.executors.local import RealExecutor
from snakemake.scheduling.job_scheduler import JobScheduler

from autoprune.study import stages


def wait_once(cls: type = JobScheduler) -> None:
    """Let at most one re-evaluation of a ``JobScheduler`` be pending.

    Snakemake 9.27 starts a timer of a second in every pass that leaves jobs ready, and each timer
    ends in such a pass; each finished job adds a pass. After a hundred jobs it looks for work a
    hundred times a second, with the state of every ready job's files: in a study of 184 jobs on two
    cores a third of one. One timer wakes the scheduler as soon. Nothing is changed in a version
    that has no ``_schedule_reevalutation`` (spelled so).
    """
    if not hasattr(cls, "_schedule_reevalutation"):
        return

    def schedule(self: JobScheduler, delay: float) -> None:
        """Wake the scheduler in ``delay`` seconds, unless that is going to happen."""
        if getattr(self, "_is_woken", False):
            return
        self._is_woken = True

        def wake() -> None:
            self._is_woken = False  # first: the pass that this starts may wait anew
            self._open_jobs.release()

        timer = threading.Timer(delay, wake)
        timer.daemon = True  # the end of the workflow does not wait for it
        timer.start()

    cls._schedule_reevalutation = schedule


def quote_python(cls: type = RealExecutor) -> None:
    """Let the command of a job on another node name a Python whose path has a space.

    Snakemake 9.27 quotes every word of that command but the first, and the shell of the node looks
    for a program of half the path. Nothing is changed in a version that quotes it.
    """
    as_it_comes = cls.format_job_exec

    def format_job_exec(self: RealExecutor, job: Any) -> str:
        """The command with which an executor starts a job."""
        command: str = as_it_comes(self, job)
        python = self.get_python_executable()
        if shlex.quote(python) in command:
            return command
        return command.replace(f"{python} -m ", f"{shlex.quote(python)} -m ", 1)

    cls.format_job_exec = format_job_exec


def fork_stages(workflow: Any, set_path: Callable[[Path], None]) -> None:
    """Have the jobs' stages forked by a server, which ``set_path`` puts before the interpreter.

    Only where jobs run on this machine and in this environment: not on a cluster, nor in a
    container.
    """
    elsewhere = workflow.deployment_settings.deployment_method
    if workflow.executor_plugin.name != "local" or elsewhere or not (server := stages.start()):
        return
    atexit.register(server.stop)
    measure_stages(server.folder)
    set_path(server.folder)


def measure_stages(folder: Path, cls: Any = BenchmarkTimer) -> None:
    """Let ``benchmark:`` of a job measure the stages that a server in ``folder`` forks for it.

    Snakemake 9.27 adds up the processes below a job's shell, every half second at first; there a
    stage's client is. What the server notes of the client's stage (``stages.Stages.note``) takes
    its place: while it lasts its process, in the end all its CPU seconds and its largest memory.
    Nothing is changed in a version that does it otherwise.
    """
    if not all(hasattr(cls, name) for name in ("_update_record", "cancel")):
        return
    begin, cancel = cls.__init__, cls.cancel

    def noted(job: int, since: float) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Files of a job's clients, which are its shell or the shell's children."""
        for file in [*folder.glob(f"{job}-*"), *folder.glob(f"*-{job}")]:
            with suppress(OSError, ValueError):  # gone, or half written
                if file.stat().st_mtime > since:
                    yield file, json.loads(file.read_text(encoding="utf-8"))

    class Job(psutil.Process):
        """A job's shell, its stages among its children."""

        began = time.time()

        def children(self, recursive: bool = False) -> list[psutil.Process]:
            """The processes below it and, of a stage of the server, the stage and those below."""
            found = super().children(recursive)
            for _, facts in noted(self.pid, self.began):
                with suppress(KeyError, psutil.Error):
                    stage = psutil.Process(facts["pid"])
                    found += [stage, *stage.children(recursive)]
            return found

    def begin_with_stages(self: BenchmarkTimer, pid: int, *args: Any, **named: Any) -> None:
        """Begin to measure the process ``pid``."""
        begin(self, pid, *args, **named)
        with suppress(psutil.Error):
            self.main = Job(pid)
            self.main.began = time.time() - 1

    def cancel_and_count(self: BenchmarkTimer) -> None:
        """The job has ended."""
        cancel(self)
        record = self.bench_record
        for file, facts in noted(self.pid, getattr(self.main, "began", 0)):
            file.unlink()
            if "cpu" in facts:
                record.data_collected = True
                record.cpu_time, record.cpu_usage = facts["cpu"], 100 * facts["cpu"]
                record.max_rss = max(record.max_rss or 0, facts["rss"])

    cls.__init__, cls.cancel = begin_with_stages, cancel_and_count
