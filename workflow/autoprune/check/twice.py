"""A study made twice, in two folders with different core counts: every result file byte by byte."""

import fnmatch
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

import yaml

from autoprune.core import provenance
from autoprune.core.errors import InputError

COPIED = ("Snakefile", "workflow", "config", "profiles", "resources")
LEFT_OUT = ("__pycache__", "downloads", "*.part")
# Files under the results that hold times, or the machine's state: not the same bytes twice.
TIMINGS = (
    "latency/*",
    "tables/latency.*",
    "figures/latency.*",
    "environment.json",
    "report/*",
    "report.html",
)
# of another length, and with a space: a path that gets into a result shows as a difference
FOLDERS = ("one", "the second folder")


def twice(configfiles: Sequence[str], cores: Sequence[int], keep: bool = False) -> int:
    """Run the study of ``configfiles`` twice and compare; 0 for the same bytes, else 1.

    Raises InputError when a configuration file is missing or a run fails. The folders are removed
    at the end, unless ``keep`` says otherwise.
    """
    root = provenance.ROOT.parent
    files = [_in_copy(Path(file), root) for file in configfiles]
    base = Path(tempfile.mkdtemp(prefix="autoprune-twice-"))
    try:
        folders = [base / name for name in FOLDERS]
        for folder in folders:  # both at once: an edit during the first run must not count
            copy_workflow(root, folder)
        for folder, number in zip(folders, cores, strict=True):
            run(folder, files, number)
        paths: dict[str, str] = {}
        for file in ["config/config.yaml", *files]:
            content = yaml.safe_load((folders[0] / file).read_text(encoding="utf-8")) or {}
            paths |= content.get("pathvars", {})
        results = paths["results"]
        skipped = [f"{os.path.relpath(paths[n], results)}/*" for n in ("logs", "benchmarks")]
        made = [folder / results for folder in folders]
        patterns = [*TIMINGS, *skipped]
        return tell(list(differences(made[0], made[1], patterns)), made[0], patterns, cores)
    finally:
        if keep:
            print(f"left in {base}", file=sys.stderr)
        else:
            shutil.rmtree(base, ignore_errors=True)


def _in_copy(file: Path, root: Path) -> str:
    """How a configuration file is called in a copy: relative, or as it is when it lies outside."""
    for place in (file, root / file):
        if place.is_file():
            inside = place.resolve()
            return str(inside.relative_to(root) if inside.is_relative_to(root) else inside)
    raise InputError(f"{file}: no such file; give the study's --configfile")


def copy_workflow(root: Path, folder: Path) -> None:
    """Copy what a study needs: code, configuration and profiles; downloads stay where they are."""
    folder.mkdir(parents=True)
    for name in COPIED:
        if (root / name).is_dir():
            ignore = shutil.ignore_patterns(*LEFT_OUT)
            shutil.copytree(root / name, folder / name, ignore=ignore)
        elif (root / name).exists():
            shutil.copy(root / name, folder / name)


def run(folder: Path, files: Sequence[str], cores: int) -> None:
    """Make the whole study in ``folder``; Snakemake's lines go to stderr.

    Raises InputError when it fails. Told to stop, it tells Snakemake.
    """
    command = [sys.executable, "-m", "snakemake", "--quiet", "rules", "host"]
    environment = {**os.environ, "FLWR_TELEMETRY_ENABLED": "0"}
    environment.pop("PYTHONPATH", None)  # each folder runs its own code
    name = f"{cores} core{'s' if cores > 1 else ''}"
    print(f"the study with {name}, in {folder}", file=sys.stderr, flush=True)
    with subprocess.Popen(
        [*command, "--cores", str(cores), "--configfile", *files, "--", "all"],
        cwd=folder,
        env=environment,
        stdout=2,  # what is said here on stdout is the verdict
    ) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            raise
    if code:
        raise InputError(f"the study with {name} failed; its last lines are above")


def result_files(results: Path, patterns: Sequence[str]) -> set[str]:
    """Names of the files under ``results`` that must be the same bytes every time."""
    names = (path.relative_to(results).as_posix() for path in results.rglob("*") if path.is_file())
    return {name for name in names if not any(fnmatch.fnmatch(name, p) for p in patterns)}


def differences(one: Path, other: Path, patterns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Files of two results folders that differ, or that tell where they were made: name and how."""
    first, second = (result_files(folder, patterns) for folder in (one, other))
    for name in sorted(first | second):
        if name not in second:
            yield name, "only in the first folder"
        elif name not in first:
            yield name, "only in the second folder"
        else:
            before, after = (one / name).read_bytes(), (other / name).read_bytes()
            if before != after:
                yield name, first_difference(before, after)
            elif str(one.parent).encode() in before:
                yield name, "holds the path of the folder it was made in"


def first_difference(one: bytes, other: bytes) -> str:
    """Where two contents part: line and both lines of text, or the byte's offset."""
    try:
        pairs = zip_longest(one.decode().splitlines(), other.decode().splitlines(), fillvalue="")
        number, (a, b) = next((n, p) for n, p in enumerate(pairs, start=1) if p[0] != p[1])
    except (UnicodeDecodeError, StopIteration):
        return f"byte {_parting(one, other)} of {len(one)} and {len(other)}"
    start = max(0, _parting(a, b) - 20)
    return f"line {number}: {a[start : start + 60]!r} against {b[start : start + 60]!r}"


def _parting(one: Sequence[object], other: Sequence[object]) -> int:
    """The first place in which two sequences differ."""
    return next(n for n, (a, b) in enumerate(zip_longest(one, other)) if a != b)


def tell(
    found: Sequence[tuple[str, str]], results: Path, patterns: Sequence[str], cores: Sequence[int]
) -> int:
    """Print the differing files and the verdict; returns the exit code."""
    number = len(result_files(results, patterns))
    for name, how in found:
        print(f"{name}: {how}")
    both = f"with {cores[0]} and {cores[1]} cores in two folders"
    print(f"Not compared, as they hold times: {', '.join(patterns)}")
    if found:
        print(f"DIFFERENT: {len(found)} of {number} files, {both}")
    else:
        print(f"SAME: {number} files, every byte, {both}")
    return int(bool(found))
