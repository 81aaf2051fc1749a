"""What the report knows of each run: who it is, its curves, its plan, its files, its origin."""

import csv
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.core.labels import arm_label, arm_order
from autoprune.measure.table import RUN
from autoprune.pruning.record import read_plan

ARM = ("method", "variant")
ORIGIN = ("settings", "store_checksum", "partition_checksum", "code", "versions")
FIGURES = (
    "test_accuracy",
    "parameters",
    "macs",
    "flops_tf_profiler",
    "bytes_total",
    "payload_total",
)
BOUNDARIES = ("mean", "std", "lower", "upper")
DIGITS = 5  # of what is drawn; the files hold all
TIMES = {"seconds": "s", "memory_mb": "max_rss"}  # columns of Snakemake's benchmark files


def address(file: str | Path, page: Path) -> str:
    """How a page links to a file: relative, with / on every system, fit for an href."""
    return quote(Path(os.path.relpath(file, page.parent)).as_posix())


def shorter(value: float | None, digits: int = DIGITS) -> float | int | None:
    """A number to a few significant digits, as short as JSON can have it; None for nan and inf."""
    if value is None or not math.isfinite(value):
        return None
    rounded = float(f"{value:.{digits}g}")
    return int(rounded) if rounded == int(rounded) else rounded


def read_runs(
    folders: Sequence[str | Path], metrics: pd.DataFrame, page: Path, benchmarks: Path | None
) -> list[dict[str, Any]]:
    """A record per run folder, in the order of the tables.

    Raises InputError for a folder without a run.json, for one whose run.json lacks what tells
    its origin, and for one that the metrics do not know.
    """
    rounds = dict(iter(metrics.groupby([*RUN[:1], *RUN[3:]])))
    records = []
    for folder in map(Path, folders):
        about = read_json(folder / "run.json")
        missing = [name for name in (*RUN, *ORIGIN) if name not in about]
        if missing:
            raise InputError(f"{folder / 'run.json'}: {missing[0]} is missing; run it again")
        key = tuple(about[name] for name in (*RUN[:1], *RUN[3:]))
        if key not in rounds:
            raise InputError(f"{folder}: not in the metrics; make metrics.csv again")
        records.append(_record(folder, about, rounds[key], page, benchmarks))
    arms = arm_order((record["method"], record["variant"]) for record in records)
    places = {arm: place for place, arm in enumerate(arms)}
    return sorted(
        records,
        key=lambda r: (r["dataset"], r["model"], places[r["method"], r["variant"]], r["seed"]),
    )


def _record(
    folder: Path, about: dict, rows: pd.DataFrame, page: Path, benchmarks: Path | None
) -> dict[str, Any]:
    run = "/".join(str(about[part]) for part in ("dataset", "model", *ARM))
    run += f"/seed-{about['seed']}"
    final = rows[rows["round"].isna()].set_index("metric")["value"]
    plan = folder / "plan.json"
    return {
        "id": run,
        "label": arm_label(about["method"], about["variant"]),
        **{part: about[part] for part in ("dataset", "model", *ARM, "seed")},
        "kind": about["data_kind"],
        "folder": folder.as_posix(),
        "address": address(folder, page),
        "files": [[file.name, file.stat().st_size] for file in _files(folder)],
        **{part: about[part] for part in ORIGIN},
        "final": {part: shorter(final.get(part), 7) for part in FIGURES},
        "curves": curves(rows[rows["round"].notna()]),
        "plan": short_plan(read_plan(plan), str(plan)) if plan.exists() else None,
        "cost": cost(benchmarks / "runs" / f"{run}.tsv") if benchmarks else None,
    }


def _files(folder: Path) -> Iterable[Path]:
    """What a finished run leaves, without scratch files and checkpoints."""
    files = sorted(folder.iterdir())
    return [f for f in files if f.is_file() and f.name[0] != "." and "checkpoint" not in f.name]


def curves(rounds: pd.DataFrame) -> dict[str, Any]:
    """The rounds of one run: ``round`` and columns beside it; by layer, only where they change,
    ``widths`` and the numbers of ``live`` filters, which are none where nobody counted.
    """
    wide = rounds.pivot_table(index="round", columns="metric", values="value")
    wide = wide.astype(float)

    def column(name: str) -> list[float | int | None]:
        if name not in wide:
            return [None] * len(wide)
        return [shorter(value) for value in wide[name]]

    layers = sorted(
        (name for name in wide if name.startswith("width_")),
        key=lambda name: int(name.removeprefix("width_")),
    )
    lives = [name.replace("width", "live") for name in layers]
    # a fraction stands until the next evaluation, of the width that there is
    live = wide.reindex(columns=lives).ffill() * wide[layers].to_numpy()
    return {
        "round": [int(at) for at in wide.index],
        "validation": column("validation_accuracy"),
        "test": column("test_accuracy"),
        "widths": changes(wide[layers]),
        "live": changes(live.dropna()),
        "shrunk": [int(at) for at, flag in zip(wide.index, column("shrunk"), strict=True) if flag],
    }


def changes(table: pd.DataFrame) -> list[list[int]]:
    """Rows of whole numbers, each behind its round, where they are not those of the row before."""
    found: list[list[int]] = []
    for at, values in zip(table.index, table.itertuples(index=False), strict=True):
        now = [round(value) for value in values]
        if not found or found[-1][1:] != now:
            found.append([int(at), *now])
    return found


def short_plan(plan: dict[str, Any], source: str) -> dict[str, Any]:
    """The shrinks of a plan: a layer's boundaries where its method has them.

    A removed filter is numbered in the network before the shrink. Raises InputError when the
    plan is none.
    """
    try:
        before = list(plan["base"]["widths"])
        shrinks = []
        for shrink in plan["shrinks"]:
            layers = [_layer(layer, before[place]) for place, layer in enumerate(shrink["layers"])]
            before = list(shrink["widths"])
            shrinks.append({"round": shrink["round"], "layers": layers, "widths": before})
        known = ("weights", "variant", "k", "tails", "statistics", "norms", "stopped", "budget")
        facts = {name: plan[name] for name in known if plan.get(name) is not None}
        if aimed := plan.get("target"):
            facts["target"] = f"{aimed['of']} {aimed['value']:.7g}, by {aimed['multiple']}"
        changes = [[change["round"], change["nonzeros"]] for change in plan.get("changes", [])]
        return {"facts": facts, "base": plan["base"]["widths"], "shrinks": shrinks, "mask": changes}
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{source}: no pruning plan ({error!r}); run the training again") from None


def _layer(layer: dict[str, Any], before: int) -> dict[str, Any]:
    """One layer at one shrink; ``before`` is its width where there are no scores to count."""
    width, kept = len(layer.get("scores", ())) or before, set(layer["kept"])
    return {
        "layer": layer["layer"],
        "width": width,
        "removed": [unit for unit in range(width) if unit not in kept],
        **{name: shorter(layer[name]) for name in BOUNDARIES if name in layer},
    }


def cost(file: Path) -> dict[str, float | int | None] | None:
    """Seconds and MB from a benchmark file of Snakemake's; None where there is none."""
    if not file.exists():
        return None
    with file.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    values: dict[str, float | int | None] = {}
    for name, column in TIMES.items():
        try:
            values[name] = shorter(float(rows[-1][column]), 4)
        except (IndexError, KeyError, ValueError):  # a short job's memory is NA
            values[name] = None
    return values
