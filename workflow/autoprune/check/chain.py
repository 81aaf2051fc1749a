"""What stands behind a number of a table: metrics, runs, data, each with its checksum."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.files import read_json, sha256_file
from autoprune.core.labels import STAND_IN
from autoprune.core.provenance import code_version
from autoprune.core.tasks import R2, named, plain
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.measure.table import RUN, read_metrics
from autoprune.publish import tables
from autoprune.publish.origin import metrics_behind, origin

SAME, DIFFERS = "as recorded", "DIFFERS from what the run recorded"


@dataclass
class Link:
    """One thing in the chain, what is known about it, and what it was made from."""

    name: str
    facts: dict[str, Any] = field(default_factory=dict)
    behind: list["Link"] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def chain(table: Path, row: pd.Series, number: int, column: str, check_data: bool = False) -> Link:
    """The chain behind one cell of a table's CSV; ``check_data`` reads all arrays of the stores.

    Raises InputError when a file that it leads to is absent or broken.
    """
    results = table.parent.parent
    stages = ("autoprune.evidence.tabulate", f"autoprune.evidence.{table.stem}")
    made = Link(f"{table}", file_facts(table) | {"rule": "tabulate", **code_facts(*stages)})
    if table.stem == "partition":  # no run has a part in it
        dataset = row["dataset"].removesuffix(STAND_IN)
        made.behind.append(data_link(results, dataset, check_data))
        return Link(f"{column}, row {number}: {row[column]}", {}, [made])
    behind = origin(row, column)
    files = [located(results, name) for names in behind.runs.values() for name in names]
    runs: dict[Path, list[Link]] = {file.parent: [] for file in files}
    if runs:
        made.behind.append(metrics_link(results, table.stem, row, column, files, runs))
    others = [located(results, name) for name in behind.others if name.endswith(".json")]
    made.behind += [Link(str(file), file_facts(file)) for file in others]
    runs |= {results / "runs" / name: [] for name in behind.networks}
    made.behind += [run_link(folder, links) for folder, links in sorted(runs.items())]
    datasets = dict.fromkeys(folder.parents[3].name for folder in sorted(runs))
    made.behind += [data_link(results, name, check_data) for name in datasets]
    return Link(f"{column}, row {number}: {row[column]}", {}, [made])


def metrics_link(
    results: Path,
    table: str,
    row: pd.Series,
    column: str,
    files: Sequence[Path],
    runs: dict[Path, list[Link]],
) -> Link:
    """metrics.csv, and in ``runs`` the values of each run that the cell was made from."""
    path = results / "metrics.csv"
    metrics = read_metrics(path)
    final = metrics[metrics["round"].isna()]
    names = metrics_behind(row, column)
    if not set(names) & set(final["metric"]):
        names = metrics_below(table, row, column)
    used = 0
    for found in final[final["metric"].isin(names)].itertuples():
        source = located(results, found.source_file)
        if source in files:
            runs[source.parent].append(value_link(found, source))
            used += 1
    facts = file_facts(path) | {
        "rule": "metrics",
        **code_facts("autoprune.measure.metrics"),
    }
    derived = f"none: {column} is derived, no metric has its name"
    return Link(str(path), facts | {"rows used": used or derived})


def metrics_below(table: str, row: pd.Series, column: str) -> list[str]:
    """The metrics of those columns of the CSV that a derived column of the table is made of."""
    columns = tables.load(table).COLUMNS
    shown = [one.behind for one in columns if one.behind[:1] == (plain(column),)]
    return [name for _, *parts in shown for part in parts for name in metrics_behind(row, part)]


def value_link(found: Any, source: Path) -> Link:
    """One value of a run, and whether the file that it was read from still says so."""
    facts = {"value": found.value, "unit": found.unit, "from": source.name}
    name = found.metric
    if source.suffix == ".json":
        record = read_json(source)
        name = name if name in record else named(name, R2)
        there = record.get(name)
        facts["in the file"] = "the same" if there == found.value else f"DIFFERS: {there}"
    return Link(name, facts)


def run_link(folder: Path, values: list[Link]) -> Link:
    """A run: the values used, its files, its settings, whether data and code are still the same."""
    about = read_json(folder / "run.json")
    facts = {name: about[name] for name in RUN if name in about}
    link = Link(str(folder), facts, list(values))
    if "code" in about:
        now = code_version(
            "autoprune.federation.__main__",
            f"autoprune.models.{about['model']}",
            f"autoprune.methods.{about['method'].replace('-', '_')}",
        )
        same = "the code here is the same" if now == about["code"] else f"the code here is {now}"
        link.facts |= {"code": about["code"], "now": same}
    for name in ("settings", "versions"):
        if about.get(name):
            link.behind.append(Link(name, about[name]))
    link.behind += [
        Link(file.name, file_facts(file)) for file in sorted(folder.iterdir()) if file.is_file()
    ]
    link.behind += recorded_links(folder, about)
    return link


def recorded_links(folder: Path, about: dict[str, Any]) -> Iterator[Link]:
    """What run.json recorded of its inputs, beside what stands there now."""
    data = folder.parents[5] / "data" / about["dataset"]
    if "store_checksum" in about:
        now = read_json(data / "store" / "header.json")["checksum"]
        yield compared("data store", about["store_checksum"], now)
    if "partition_checksum" in about:
        now = Partition.open(data / "partition").checksum
        yield compared("partition", about["partition_checksum"], now)
    if "plan_checksum" in about:
        plans = folder.parents[2].glob(f"autoprune/*/{folder.name}/plan.json")
        now = {sha256_file(plan): plan for plan in sorted(plans)}
        recorded = about["plan_checksum"]
        link = compared("plan followed", recorded, recorded if recorded in now else "no such plan")
        link.facts |= {"file": str(now.get(recorded, "none of the autoprune runs of this seed"))}
        yield link
    if "dense_checksum" in about:
        dense = folder.parents[2] / "dense" / "fedavg" / folder.name / "history.csv"
        now = sha256_file(dense) if dense.exists() else "no such run"
        yield compared("dense run that says when to prune", about["dense_checksum"], now)


def compared(name: str, recorded: str, now: str) -> Link:
    """A checksum of run.json beside the one of today."""
    facts = {"recorded": recorded, "state": SAME if recorded == now else DIFFERS}
    return Link(name, facts if recorded == now else facts | {"now": now})


def data_link(results: Path, dataset: str, check_data: bool) -> Link:
    """The data set that runs were trained on: store, partition, and what it was made from."""
    folder = results / "data" / dataset
    header = read_json(folder / "store" / "header.json")
    facts = {name: header[name] for name in ("source", "kind", "samples", "preprocessing")}
    store = Link("store", file_facts(folder / "store" / "header.json"))
    store.facts |= {"checksum of its arrays": header["checksum"]}
    if check_data:
        ClientStore.open(folder / "store").verify()
        store.facts |= {"arrays": "read anew, the checksum is right"}
    part = Partition.open(folder / "partition")
    divided = file_facts(folder / "partition" / "partition.json") | {
        "scheme": part.header["scheme"],
        "clients": part.clients,
        "of the store": part.header["store"]["checksum"],
        "state": SAME if part.header["store"]["checksum"] == header["checksum"] else DIFFERS,
    }
    return Link(f"data set {dataset}", facts, [store, Link("partition", divided)])


def receipt_link(path: Path) -> Link:
    """A downloaded file as its receipt has it."""
    receipt = read_json(path)
    known = {k: v for k, v in receipt.items() if isinstance(v, str | int) and k != "schema_version"}
    return Link(str(path), known)


def located(results: Path, name: str) -> Path:
    """A file named in a table, which may have moved with its results folder."""
    path = Path(name)
    if not path.exists() and "runs" in path.parts:
        return results.joinpath(*path.parts[path.parts.index("runs") :])
    return path


def file_facts(path: Path) -> dict[str, Any]:
    """A file's SHA-256 and size; InputError when it is not there."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; it is part of what stands behind this cell")
    return {"sha256": sha256_file(path), "bytes": path.stat().st_size}


def code_facts(*stage: str) -> dict[str, Any]:
    """The modules of a stage and the version of their code as it stands here."""
    return {"stage": " ".join(stage), "code now": code_version(*stage)}
