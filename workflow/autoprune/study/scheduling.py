"""What Snakemake 9.27 does otherwise here: how it starts jobs on other nodes."""

import shlex
from typing import Any

from snakemake.executors.local import RealExecutor


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
