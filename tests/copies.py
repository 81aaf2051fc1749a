"""Copies of the repository in which tests run the workflow as its users do."""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", ".snakemake", "results", "__pycache__", ".pytest_cache", ".ruff_cache"),
    ".hypothesis",
)


def copy_of_the_repository(folder):
    """The repository at ``folder``, with the environment that ``make`` sets up."""
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    (folder / ".venv").symlink_to(sys.prefix)
    # older than the environment, so that no `make` of a page installs it again
    os.utime(folder / "envs/requirements.lock", (0, 0))
    return folder


def environment(folder):
    """As a shell has it after what docs/README.md says to type first.

    `make test` tells a make below it that it is not the first, which then prints its folder.
    """
    outside = {"PYTHONPATH", "MAKELEVEL", "MAKEFLAGS", "MFLAGS"}
    inherited = {key: value for key, value in os.environ.items() if key not in outside}
    return inherited | {
        "PATH": f"{folder}/.venv/bin:{os.environ['PATH']}",
        "PYTHONPATH": "workflow",
        "FLWR_TELEMETRY_ENABLED": "0",
    }
