"""What Snakemake 9.27 does otherwise here: how it starts jobs and measures them."""

import atexit
import json
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from snakemake.benchmark import BenchmarkTimer
from snakemake.executors.local import RealExecutor

from autoprune.study import stages


def quote_python(cls: Any = RealExecutor) -> None:
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


def limit_gpus(workflow: Any, gpus: int) -> None:
    """Let jobs that ask for a GPU wait for one of ``gpus``, where they run on this machine.

    ``--resources gpu=N`` on the command line goes before; a cluster gives its own.
    """
    if workflow.local_exec and "gpu" not in workflow.global_resources:
        workflow.register_resource("gpu", gpus)
        workflow.scheduler.global_resources["gpu"] = gpus


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
