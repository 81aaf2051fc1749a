"""Stage: what results were made with: versions, processor, threads, the state of the checkout."""

import argparse
import ast
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from autoprune.core import provenance
from autoprune.core.errors import run_main
from autoprune.core.files import read_json, write_json

SCHEMA_VERSION = 1
# What of /proc/cpuinfo's flags (Arm: Features) the libraries choose their kernels by.
KERNEL_SETS = re.compile(r"sse4|avx|fma$|f16c|amx|asimd|sve|bf16|i8mm")
# What a user may set to make them choose others; the same processor then adds in another order.
KERNEL_LIMITS = (
    "ATEN_CPU_CAPABILITY",
    "DNNL_MAX_CPU_ISA",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "NUMBA_OPT",
    "GLIBC_TUNABLES",
)
# of a checkout, what decides the results; notes beside it do not count
WHAT_RUNS = ("Snakefile", "workflow", "config")


def packages() -> dict[str, str]:
    """Version of every distribution that this package imports, and of Snakemake.

    What is imported but not installed (an optional export format) is left out.
    """
    modules = {"snakemake"}
    for path in sorted((provenance.ROOT / provenance.PACKAGE).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules.add(node.module.partition(".")[0])
    providers = metadata.packages_distributions()
    names = {name for module in modules for name in providers.get(module, ())}
    return {name: metadata.version(name) for name in sorted(names, key=str.lower)}


def kernels() -> dict[str, Any]:
    """What decides the last bits of a floating-point sum, the versions apart; no host, no path.

    ``vendor``, ``family``, ``model`` of the processor, its ``instructions`` and the sizes of its
    ``caches`` (libraries cut their blocks by them), and the ``limits`` set in the environment.
    A processor's name is not enough: hypervisors shorten it. Empty where the system does not say.
    """
    facts: dict[str, str] = {}
    source = Path("/proc/cpuinfo")
    if source.exists():
        lines = source.read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = facts.get("flags", facts.get("Features", "")).split()
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_line(index / name) for name in ("level", "type", "size"))
        caches[f"L{level} {kind.lower()}"] = size
    return {
        "vendor": facts.get("vendor_id", facts.get("CPU implementer", "")),
        "family": facts.get("cpu family", facts.get("CPU architecture", "")),
        "model": facts.get("model", facts.get("CPU part", "")),
        "instructions": sorted(flag for flag in flags if KERNEL_SETS.match(flag)),
        "caches": caches,
        "limits": {name: os.environ[name] for name in KERNEL_LIMITS if os.environ.get(name)},
    }


def _line(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def checkout(folder: Path) -> dict[str, Any] | None:
    """Commit of the git checkout ``folder`` is, and whether code or configuration differ from it.

    None outside a checkout: also where the project only lies unpacked inside another one, and
    where git is not there or refuses to look.
    """
    # nothing of an enclosing hook, and no lock on the index of somebody who works here
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *words],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", "workflow/autoprune/core/provenance.py") is None:
        return None
    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--", *WHAT_RUNS)
    if commit is None or changes is None:
        return None
    return {"commit": commit, "modified": bool(changes)}


def describe(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The environment as JSON values, of a study with these runs (their run.json).

    ``threads`` is torch's thread count in each process of the runs; a list where they differ.
    ``devices`` are those that runs computed on, ``gpus`` the kinds of them that are GPUs.
    Cores and memory are the machine's, whatever a scheduler gave.
    """
    threads = sorted({run["settings"]["torch-threads"] for run in runs})
    devices = {run["settings"].get("device", "cpu") for run in runs}  # of most it is not said
    gpus = {run["versions"]["gpu"] for run in runs if "gpu" in run.get("versions", {})}
    own = provenance.versions()
    return {
        "schema_version": SCHEMA_VERSION,
        "versions": packages(),
        "python": platform.python_version(),
        "machine": {
            "system": own["system"],
            "machine": own["machine"],
            "cpu": own["cpu"],
            "cores": psutil.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        },
        "kernels": kernels(),
        "threads": threads[0] if len(threads) == 1 else threads,
        "devices": sorted(devices),
        "gpus": sorted(gpus),
        "git": checkout(provenance.ROOT.parent),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(prog="autoprune.core.environment", description=__doc__)
    parser.add_argument("--runs", nargs="+", required=True, metavar="DIR", help="folders of runs")
    parser.add_argument("--output", required=True, metavar="FILE", help="the description, as JSON")
    args = parser.parse_args(argv)
    write_json(args.output, describe([read_json(Path(run) / "run.json") for run in args.runs]))
    print(f"{args.output}: written", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
