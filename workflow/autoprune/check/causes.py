"""Why numbers may have moved: the settings, code, versions and platform that differ."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autoprune.check.compare import keyed
from autoprune.check.reference import KEYS, Record, modules_of
from autoprune.core import provenance
from autoprune.core.errors import InputError

# of environment.json's kernels and machine, what makes a class of platforms
MACHINE = ("system", "machine", "cpu")
NOT_SETTINGS = {"run", "code"}
NOT_LIBRARIES = {"python", "machine", "system", "cpu", "gpu"}


@dataclass
class Causes:
    """Lines for people, of what differs; ``platform`` is empty on the same class of platform.

    ``settings``: of runs both have. ``code``: modules. ``versions``: of libraries and Python.
    ``notes``: what makes these lines less than certain.
    """

    settings: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    platform: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def causes(reference: Record, results: Record) -> Causes:
    """All that made the results and did not make the reference, or the other way round."""
    return Causes(
        settings=changed_settings(reference, results),
        code=changed_code(reference, results),
        versions=changed_versions(reference.made, results.made),
        platform=changed_platform(reference.made, results.made),
        notes=stale(results),
    )


def changed_settings(reference: Record, results: Record) -> list[str]:
    """Settings of the runs that both have: key, old and new value, and in how many runs; seeds."""
    before = keyed(reference.tables["settings"], KEYS["settings"])
    after = keyed(results.tables["settings"], KEYS["settings"])
    found: dict[tuple[str, str, str], list[str]] = {}
    for key in before.keys() & after.keys():
        old, new = before[key], after[key]
        for name in sorted({*old, *new} - NOT_SETTINGS):
            change = (name, old.get(name, ""), new.get(name, ""))
            if change[1] != change[2]:
                found.setdefault(change, []).append(key[0])
    lines = [
        f"{name} {old or 'not set'} → {new or 'not set'} in {some(runs)}"
        for (name, old, new), runs in sorted(found.items(), key=lambda item: -len(item[1]))
    ]
    for place, name in enumerate(("dataset", "model", "method", "variant", "seed")):
        parts = ({run.split("/")[place] for (run,) in rows} for rows in (before, after))
        mine, theirs = ({part.removeprefix("seed-") for part in side} for side in parts)
        if gone := sorted(mine - theirs):
            lines.append(f"{name} {', '.join(gone)}: in the reference only")
        if come := sorted(theirs - mine):
            lines.append(f"{name} {', '.join(come)}: in the results only")
    return lines


def some(runs: Iterable[str]) -> str:
    """How many runs, and which the first is."""
    first, *others = sorted(runs)
    return f"{len(others) + 1} runs ({first}, …)" if others else first


def changed_code(reference: Record, results: Record) -> list[str]:
    """Modules that were edited, added or removed, and whose code each is."""
    before, after = reference.made["modules"], results.made["modules"]
    closures = closures_of(row["run"] for row in results.tables["runs"])
    lines = []
    for name in sorted({*before, *after}):
        if before.get(name) == after.get(name):
            continue
        what = "edited"
        if name not in before or name not in after:
            what = "new" if name not in before else "removed"
        runs = [run for run, modules in closures.items() if name in modules]
        whose = f"in the code of {len(runs)} of {len(closures)} runs" if runs else "of no run"
        lines.append((-len(runs), f"{name} {what}, {whose}"))
    return [line for _, line in sorted(lines)]


def closures_of(runs: Iterable[str]) -> dict[str, set[str]]:
    """Of each run, the modules that it is made by, as the package at hand has them."""
    known: dict[tuple[str, ...], set[str]] = {}
    found = {}
    for run in runs:
        modules = modules_of(run)
        if modules not in known:
            try:
                known[modules] = provenance.closure(*modules)
            except InputError:  # a method or a network that is gone since
                known[modules] = set()
        found[run] = known[modules]
    return found


def stale(results: Record) -> list[str]:
    """A note when runs were made by other code than is at hand: modules cannot be named then."""
    runs = [row for row in results.tables["settings"] if row["code"] != current_code(row["run"])]
    if not runs:
        return []
    names = some(row["run"] for row in runs)
    return [f"made by other code than is at hand: {names}; `snakemake all` makes them again"]


def current_code(run: str) -> str | None:
    """The code version that a run would have today; None when its method or network is gone."""
    try:
        return provenance.code_version(*modules_of(run))
    except InputError:
        return None


def changed_versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Libraries of another version, in the runs or in the environment of the study.

    Local builds of one version (``+cpu``) and Python's patch level are the platform's.
    """
    lines = []
    libraries = {*before["versions"], *after["versions"]} - NOT_LIBRARIES
    for name in sorted(libraries):
        old, new = ({public(v): n for v, n in made["versions"].get(name, {}).items()}
                    for made in (before, after))  # fmt: skip
        if old.keys() != new.keys():
            total = sum(new.values())
            where = ", ".join(f"{v} in {n} of {total} runs" for v, n in new.items() if v not in old)
            lines.append(f"{name} {' and '.join(old) or 'absent'} → {where or 'absent'}")
    packages = [made["environment"]["versions"] for made in (before, after)]
    for name in sorted({*packages[0], *packages[1]} - libraries):
        was, now = (public(versions.get(name, "absent")) for versions in packages)
        if was != now:
            lines.append(f"{name} {was} → {now} in the environment")
    pythons = [made["environment"]["python"].rpartition(".")[0] for made in (before, after)]
    if pythons[0] != pythons[1]:
        lines.append(f"Python {pythons[0]} → {pythons[1]}")
    return lines


def public(version: str) -> str:
    """A version without its local build tag."""
    return version.partition("+")[0]


def platform_class(made: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the last bits of a run: equal dictionaries, equal bits."""
    environment = made["environment"]
    ran_on = {  # every processor that runs were made on, and the one that described the study
        "cpu": sorted({*made["versions"].get("cpu", {}), environment["machine"]["cpu"]}),
        "gpu": sorted(made["versions"].get("gpu", {})) or "none",
        "torch": sorted(made["versions"].get("torch", {})),
        "numba": sorted(made["versions"].get("numba", {})),
    }
    machine = {name: environment["machine"][name] for name in MACHINE}
    return {**machine, **environment["kernels"], **ran_on}


def changed_platform(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What makes the two another class of platform; empty when they are of the same."""
    old, new = platform_class(before), platform_class(after)
    lines = []
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) == new.get(name):
            continue
        if name == "instructions":
            lost, won = set(old[name]) - set(new[name]), set(new[name]) - set(old[name])
            parts = [*(f"-{flag}" for flag in sorted(lost)), *(f"+{flag}" for flag in sorted(won))]
            lines.append(f"{name} {' '.join(parts)}")
        else:
            lines.append(f"{name} {_plain(old.get(name))} → {_plain(new.get(name))}")
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {part}" for key, part in value.items()) or "none"
    return " and ".join(value) if isinstance(value, list) else str(value)
