"""What was run, in words and numbers: data, sizes, hours, machine, and what runs share."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.core.labels import dataset_label, decimal, label
from autoprune.publish.report.runs import cost


def read_datasets(partitions: Sequence[str]) -> list[dict[str, Any]]:
    """The data sets behind the runs, from each partition.json and the header of its store.

    Raises InputError for a file that is none of these.
    """
    found = []
    for path in map(Path, partitions):
        partition = read_json(path)
        header = read_json(path.parents[1] / "store" / "header.json")
        try:
            name = path.parents[1].name
            found.append(
                {
                    "name": name,
                    "kind": partition["store"]["kind"],
                    "label": dataset_label(name, partition["store"]["kind"]),
                    "source": partition["store"]["source"],
                    "store": partition["store"]["checksum"],
                    "scheme": partition["scheme"],
                    "target": partition["target"],
                    "clients": partition["clients"],
                    "classes": partition["classes"],
                    "samples": partition["samples"],
                    "per_client": partition["samples_per_client"],
                    "shape": " × ".join(map(str, header["shape"])),
                }
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: {error} is missing; make the partition again") from None
    return sorted(found, key=lambda dataset: dataset["name"])


def hours(runs: Sequence[dict[str, Any]], benchmarks: Path | None) -> dict[str, Any] | None:
    """Time of the runs, and of every other job that left a benchmark; None without any.

    What runs of an earlier grid left is not counted.
    """
    if benchmarks is None or not benchmarks.is_dir():
        return None
    others = [f for f in benchmarks.rglob("*.tsv") if f.relative_to(benchmarks).parts[0] != "runs"]
    spent = {
        "runs": [run["cost"] for run in runs if run["cost"]],
        "rest": [found for found in map(cost, others) if found],
    }
    if not spent["runs"]:
        return None
    seconds = {name: sum(c["seconds"] or 0 for c in costs) for name, costs in spent.items()}
    memory = max(c["memory_mb"] or 0 for costs in spent.values() for c in costs)
    return {**{name: duration(total) for name, total in seconds.items()}, "memory": memory}


def duration(seconds: float) -> str:
    """Seconds as a reader says them: 40 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{decimal(seconds, 0)} s"
    if seconds < 5400:
        return f"{decimal(seconds / 60, 0)} min"
    return f"{decimal(seconds / 3600, 1)} h"


def shared(values: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The keys on which all dictionaries agree, with their value."""
    values = list(values)
    first = values[0] if values else {}
    return {
        name: value
        for name, value in first.items()
        if all(name in other and other[name] == value for other in values)
    }


def pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Replace what many runs share by its place in a list; the lists.

    Versions are pooled whole. Of the settings, those that all runs share are left out of each.
    """
    versions: list[dict[str, str]] = []
    common = shared(run["settings"] for run in runs)
    for run in runs:
        if run["versions"] not in versions:
            versions.append(run["versions"])
        run["versions"] = versions.index(run["versions"])
        run["settings"] = {k: v for k, v in run["settings"].items() if k not in common}
    return {"versions": versions, "settings": common}


def facts(
    runs: list[dict[str, Any]],
    datasets: list[dict[str, Any]],
    spent: dict[str, Any] | None,
    environment: dict[str, Any] | None,
) -> list[tuple[str, str]]:
    """Rows of "what was run": a word and what there is to say."""
    seeds = sorted({run["seed"] for run in runs})
    pairs = sorted({(run["dataset"], run["kind"], run["model"]) for run in runs})
    rounds = sorted({int(run["curves"]["round"][-1]) for run in runs})
    clients = sorted({int(run["settings"].get("clients-per-round", 0)) for run in runs})
    machines = Counter(
        f"{run['versions']['cpu']} ({run['versions']['system']}, {run['versions']['machine']})"
        for run in runs
        if {"cpu", "system", "machine"} <= set(run["versions"])
    )
    lines = [
        ("Data", ", ".join(f"{d['label']}: {d['clients']} clients" for d in datasets)),
        ("Networks", ", ".join(f"{label(m)} on {dataset_label(d, k)}" for d, k, m in pairs)),
        (
            "Grid",
            f"{len(runs)} runs: {len(pairs)} pairs of data set and network, "
            f"{len({(r['method'], r['variant']) for r in runs})} methods and variants, "
            f"seeds {', '.join(map(str, seeds))}",
        ),
        ("Federation", f"{_span(rounds)} rounds, {_span(clients)} clients a round"),
        ("Processor", "; ".join(machines) or "not recorded"),
    ]
    if environment:
        machine = environment.get("machine", {})
        git = environment.get("git") or {}
        lines.append(
            (
                "Machine",
                f"{machine.get('cores', '?')} cores, {machine.get('memory_gb', '?')} GB of memory",
            )
        )
        if git.get("commit"):
            changed = ", with changes that are not committed" if git.get("modified") else ""
            lines.append(("Commit", f"{git['commit'][:12]}{changed}"))
    if spent:
        lines.append(
            (
                "Hours",
                f"{spent['runs']} of training, {spent['rest']} for all else, summed over jobs as "
                f"they ran side by side; at most {decimal(spent['memory'], 0)} MB a job",
            )
        )
    return lines


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
