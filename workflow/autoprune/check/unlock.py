"""Before `make`: drop the locks of a Snakemake that died (power cut, SIGKILL) in this folder.

Snakemake itself asks for `--unlock` then. Locks are only dropped when no Snakemake process of this
machine works in the folder; on a file system shared by machines use `snakemake --unlock` by hand.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from autoprune.core.errors import InputError, run_main


def working_here(folder: Path) -> list[int]:
    """Ids of the other processes that run Snakemake in ``folder``."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        facts = process.info
        runs_snakemake = any("snakemake" in Path(word).name for word in facts["cmdline"] or [])
        here = facts["cwd"] is not None and Path(facts["cwd"]) == folder
        if runs_snakemake and here and facts["pid"] not in (os.getpid(), os.getppid()):
            found.append(facts["pid"])
    return found


def main(argv: Sequence[str] | None) -> None:
    """Remove stale locks of the current folder; raises InputError when Snakemake runs in it."""
    folder = Path.cwd()
    locks = sorted((folder / ".snakemake" / "locks").glob("*.lock"))
    if not locks:
        return
    if running := working_here(folder):
        raise InputError(
            f"{folder}: Snakemake is already running here (process {running[0]}); "
            "wait for it or stop it"
        )
    for lock in locks:
        lock.unlink()
    print("the last run was cut off; going on where it was", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
