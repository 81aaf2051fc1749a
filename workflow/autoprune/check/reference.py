"""What a reference holds: a finished study as a few small tables of text, written whole or not."""

import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from autoprune.core import provenance
from autoprune.core.errors import InputError
from autoprune.core.files import read_json, whole_folder, write_json
from autoprune.measure.table import GIVEN, read_metrics, written
from autoprune.pruning.record import read_plan
from autoprune.publish.items import timed
from autoprune.study.methods import module_of

SCHEMA_VERSION = 1
MADE_BY = "made_by.json"
# columns that say which row a row is; of the published tables the leading columns without numbers
KEYS = {
    "data": ("dataset",),
    "published": ("dataset", "model", "widths"),
    "null": ("pair", "null", "draw"),
    "plans": ("run", "round", "layer"),
    "runs": ("run",),
    "rounds": ("run", "round"),
    "settings": ("run",),
}
ALSO_NEEDED = {"settings": ("decided_on", "code"), "runs": ("test_examples",)}
MADE = ("environment", "versions", "modules")
PUBLISHED = "tables/"  # tables under this name are copies of those that the study publishes
Row = dict[str, str]


@dataclass(frozen=True)
class Record:
    """A study's numbers: ``tables`` by name (KEYS and published ones), and what made them.

    ``made``: ``environment`` (environment.json without git), ``versions`` that the runs name and
    how many do, ``modules``, the digest of each module of the package.
    """

    tables: dict[str, list[Row]]
    made: dict[str, Any]


def name_of(run: Mapping[str, Any]) -> str:
    """A run's name, as its folder: dataset/model/method/variant/seed-N."""
    names = [str(run[key]) for key in ("dataset", "model", "method", "variant")]
    return "/".join([*names, f"seed-{run['seed']}"])


def modules_of(run: str) -> tuple[str, ...]:
    """The modules whose import closure is a run's code; as ``federation.identity`` has them."""
    _, model, method, *_ = run.split("/")
    return "autoprune.federation.__main__", f"autoprune.models.{model}", module_of(method)


@cache
def module_digests() -> dict[str, str]:
    """Of each module of the package at hand, what its code without comments comes to."""
    root = provenance.ROOT
    names = (
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((root / provenance.PACKAGE).rglob("*.py"))
    )
    essences = ((name, provenance.essence(name)) for name in names)
    return {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in essences}


def gather(results: Path) -> Record:
    """The record of the study in ``results``; raises InputError when a file of it is missing.

    Its runs are those of metrics.csv: what an earlier configuration left beside them is no part.
    """
    metrics = read_metrics(results / "metrics.csv")
    finals: dict[str, Row] = {}
    rounds: dict[tuple[str, int], Row] = {}
    for line in metrics.to_dict("records"):
        name, column, value = name_of(line), line["metric"], written(line["value"])
        if line["round"] is None or line["round"] != line["round"]:  # missing: of the whole run
            if column not in GIVEN:
                finals.setdefault(name, {"run": name})[column] = value
            continue
        at = int(line["round"])
        rounds.setdefault((name, at), {"run": name, "round": str(at)})[column] = value
    tables: dict[str, list[Row]] = {
        "runs": list(finals.values()),
        "rounds": [_with_widths(row) for row in rounds.values()],
        "published": list(_published(results / "published_counts.json")),
        "null": list(_null(results / "null")),
        "plans": [],
        "settings": [],
    }
    abouts = {name: read_json(results / "runs" / name / "run.json") for name in finals}
    versions: dict[str, Counter[str]] = {}
    for name, about in abouts.items():
        plan = _plan(results / "runs" / name, name)
        tables["plans"] += _shrinks(name, plan)
        tables["settings"].append(_settings(name, about, plan))
        for package, version in about["versions"].items():
            versions.setdefault(package, Counter())[version] += 1
    tables["data"] = list(_data(results, abouts.values()))
    for path in [*sorted((results / "tables").glob("*.csv")), results / "filter_survival.csv"]:
        if path.exists() and path.stem not in timed("tables"):
            tables[f"{PUBLISHED}{path.stem}"] = list(_without_sources(read_rows(path)))
    environment = read_json(results / "environment.json")
    environment.pop("git", None)  # a commit is no part of what numbers depend on: modules are
    made = {"environment": environment, "versions": versions, "modules": module_digests()}
    return Record(tables, {"schema_version": SCHEMA_VERSION, **made})


def _with_widths(row: Row) -> Row:
    """The widths as one cell: 12 14."""
    layers = [key for key in row if key.startswith("width_")]
    layers.sort(key=lambda key: int(key.removeprefix("width_")))
    others = {key: value for key, value in row.items() if key not in layers}
    return {**others, "widths": " ".join(row[key] for key in layers)}


def _plan(folder: Path, run: str) -> dict[str, Any]:
    """A run's plan; of the dense baseline, which has none, an empty one."""
    path = folder / "plan.json"
    return {} if run.split("/")[2] == "dense" and not path.exists() else read_plan(path)


def _shrinks(run: str, plan: Mapping[str, Any]) -> Iterator[Row]:
    """A row for each shrink and layer, and for each change of a mask: what was kept, and why."""
    for shrink in plan.get("shrinks", ()):
        for layer in shrink["layers"]:
            row = {"run": run, "round": str(shrink["round"]), "layer": str(layer["layer"])}
            row |= {"kept": str(len(layer["kept"])), "filters": digest(layer["kept"])}
            limits = {k: layer[k] for k in ("lower", "upper") if layer.get(k) is not None}
            yield row | {name: written(value) for name, value in limits.items()}
    for number, change in enumerate(plan.get("changes", ()), start=1):
        row = {"run": run, "round": str(change["round"]), "layer": "mask"}
        # the plan holds the last mask, not those before
        mask = plan["mask"] if number == len(plan["changes"]) else None
        yield row | {"kept": str(change["nonzeros"]), "filters": digest(mask)}


def digest(value: object) -> str:
    """12 hex digits of a value's text; empty for an empty value."""
    return hashlib.sha256(str(value).encode()).hexdigest()[:12] if value else ""


def _settings(run: str, about: Mapping[str, Any], plan: Mapping[str, Any]) -> Row:
    """What was asked of a run, which code ran, and what its shrinks were decided on."""
    decided = "random weights" if str(plan.get("norms")).startswith("null") else "trained weights"
    row = {"run": run, "decided_on": decided if plan else "nothing", "code": about["code"]}
    return row | {name: str(value) for name, value in about["settings"].items()}


def _data(results: Path, abouts: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """A row for each data set: checksums, sizes, and how it was made and divided."""
    checksums = {a["dataset"]: (a["store_checksum"], a["partition_checksum"]) for a in abouts}
    for dataset, (stored, divided) in sorted(checksums.items()):
        store = read_json(results / "data" / dataset / "store" / "header.json")
        partition = read_json(results / "data" / dataset / "partition" / "partition.json")
        row = {"dataset": dataset, "store": stored, "partition": divided, "source": store["source"]}
        how = {**store["preprocessing"], "scheme": partition["scheme"], **partition["settings"]}
        row |= {name: "" if value is None else str(value) for name, value in how.items()}
        row |= {split: str(number) for split, number in store["samples"].items()}
        yield row | {"clients": str(partition["clients"])}


def _published(path: Path) -> Iterator[Row]:
    for network in read_json(path):
        yield {
            name: " ".join(map(str, value)) if isinstance(value, list) else str(value)
            for name, value in network.items()
        }


def _null(folder: Path) -> Iterator[Row]:
    for path in sorted(folder.glob("*.csv")):
        for row in read_rows(path):
            yield {"pair": path.stem, **row}


def _without_sources(rows: Iterable[Row]) -> Iterator[Row]:
    for row in rows:
        yield {name: value for name, value in row.items() if name != "source_files"}


def read_rows(path: Path) -> list[Row]:
    """Rows of a CSV file as text; raises InputError when it is absent or no CSV."""
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = [dict(row) for row in reader]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():
            raise InputError(f"{path}: row {number} has not as many cells as the header")
    return rows


def columns_of(rows: Sequence[Row]) -> list[str]:
    """All columns that rows have, in the order in which they first occur."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write(record: Record, folder: Path, overwrite: bool = False) -> None:
    """Write a reference as ``folder``, whole or not at all.

    Raises InputError when a reference is there already and ``overwrite`` does not say to replace
    it, and when the folder holds something that is no reference's.
    """
    if folder.exists():
        foreign = sorted(
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and path.name != MADE_BY and path.suffix != ".csv"
        )
        if foreign or (not (folder / MADE_BY).exists() and any(folder.iterdir())):
            what = foreign[0] if foreign else "no " + MADE_BY
            raise InputError(f"{folder}: not a folder of a reference ({what}); name another")
        if (folder / MADE_BY).exists() and not overwrite:
            raise InputError(f"{folder}: holds a reference; give --overwrite to replace it")
    names = [MADE_BY, *(f"{name}.csv" for name in record.tables)]
    with whole_folder(folder, names) as scratch:
        for name, rows in record.tables.items():
            with scratch[f"{name}.csv"].open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, columns_of(rows), restval="", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
        write_json(scratch[MADE_BY], record.made)
        for path in folder.rglob("[!.]*.csv"):  # of an earlier reference
            if path.relative_to(folder).as_posix() not in names:
                path.unlink()


def read(folder: Path) -> Record:
    """Read a reference; raises InputError when it is not there, not whole, or of another schema."""
    if not (folder / MADE_BY).exists():
        raise InputError(
            f"{folder}: no reference there; make one with: python -m autoprune.check.verify "
            f"--record --results RESULTS --reference {folder}"
        )
    made = read_json(folder / MADE_BY)
    if made.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{folder / MADE_BY}: schema_version is {made.get('schema_version')!r}, expected "
            f"{SCHEMA_VERSION}; record the reference again"
        )
    tables = {
        path.relative_to(folder).with_suffix("").as_posix(): read_rows(path)
        for path in sorted(folder.rglob("*.csv"))
    }
    for name, keys in KEYS.items():
        if name not in tables:
            raise InputError(f"{folder}: {name}.csv is missing; record the reference again")
        needed = [*keys, *ALSO_NEEDED.get(name, ())]
        if lacking := [column for column in needed for row in tables[name] if column not in row]:
            place = folder / f"{name}.csv"
            raise InputError(f"{place}: column {lacking[0]} is missing; record it again")
    if lacking := [name for name in MADE if name not in made]:
        raise InputError(f"{folder / MADE_BY}: {lacking[0]} is missing; record it again")
    return Record(tables, made)
