"""What Snakemake 9.27 does otherwise here: how often it looks for work, how it starts far jobs."""

import shlex
import threading
from typing import Any

from snakemake.executors.local import RealExecutor
from snakemake.scheduling.job_scheduler import JobScheduler


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
