"""A whole file of every kind that the package reads, and the call that reads it."""

import csv
import gzip
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from autoprune.data.partition import Partition
from autoprune.data.prepare import __main__ as prepare
from autoprune.data.prepare.readers import hub_files
from autoprune.data.store import ClientStore
from autoprune.evidence.claims import read_counts, read_published
from autoprune.evidence.clients import read_units
from autoprune.federation.__main__ import settings_of
from autoprune.federation.checkpoint import load
from autoprune.measure.metrics import collect, collect_units
from autoprune.measure.table import read_metrics
from autoprune.models.weights import load_weights
from autoprune.phone.exported import models_in, read_models
from autoprune.phone.lab import read_results
from autoprune.phone.logs import parse
from autoprune.phone.session import read_session
from autoprune.pruning.plan import Plan
from autoprune.pruning.record import read_plan
from autoprune.study.grid import read_config
from copies import ROOT


class Read(NamedTuple):
    """A file that is damaged, what reads it, and what a refusal must not leave behind."""

    file: Path
    call: Callable[[], object]
    output: Path | None = None


def stored(folder: Path) -> None:
    ClientStore.open(folder).verify()


def divided(folder: Path, store: Path) -> None:
    Partition.open(folder).verify(ClientStore.open(store))


def of_run(run: Path, tiny: Path) -> dict[str, Read]:
    """The files of a finished run, and those of the tiny data it is of."""
    found = {
        name: Read(run / name, lambda: collect([run]))
        for name in ("history.csv", "run.json", "evaluation.json", "complexity.json")
    }
    plan = run / "plan.json"
    found["units.csv"] = Read(run / "units.csv", lambda: collect_units([run]))
    found["plan.json"] = Read(plan, lambda: Plan.from_json(read_plan(plan)))
    weights = run / "weights.safetensors"
    found["weights"] = Read(weights, lambda: load_weights(weights))
    checkpoint = run / "checkpoint.safetensors"
    found["checkpoint"] = Read(checkpoint, lambda: load(checkpoint, "mark"))
    store, partition = tiny / "store", tiny / "partition"
    for name in ("header.json", "images.npy", "labels.npy", "clients.npy", "splits.npy"):
        found[f"store/{name}"] = Read(store / name, lambda: stored(store))
    for name in ("partition.json", "offsets.npy", "indices.npy"):
        found[f"partition/{name}"] = Read(partition / name, lambda: divided(partition, store))
    return found


def of_tables(folder: Path, run: Path) -> dict[str, Read]:
    """metrics.csv and units.csv as other tools hand them on, without their seals."""
    metrics, units = folder / "metrics.csv", folder / "units.csv"
    collect([run]).to_csv(metrics, index=False)
    collect_units([run]).to_csv(units, index=False)
    published = folder / "published.tsv"
    published.write_bytes((ROOT / "config/published.tsv").read_bytes())
    counts = folder / "counts.json"
    names = ("dataset", "model", "widths", "parameters_with_statistics", "flops_tf_profiler")
    counts.write_text(
        json.dumps([dict(zip(names, ("femnist", "cnn", [32, 64], 1, 2), strict=True))])
    )
    return {
        "metrics.csv": Read(metrics, lambda: read_metrics(metrics)),
        "results/units.csv": Read(units, lambda: read_units(str(units))),
        "published.tsv": Read(published, lambda: read_published(str(published))),
        "counts.json": Read(counts, lambda: read_counts(str(counts))),
    }


def of_study(folder: Path, run: Path) -> dict[str, Read]:
    """What a study is told: an overlay, and one run's settings."""
    overlay, settings = folder / "overlay.yaml", folder / "settings.json"
    overlay.write_bytes((ROOT / "config/ci.yaml").read_bytes())
    settings.write_bytes((run / "run.json").read_bytes())
    files = ["--store", "s", "--partition", "p", "--output", "o"]
    return {
        "overlay.yaml": Read(overlay, lambda: read_config([overlay])),
        "settings.json": Read(settings, lambda: settings_of(["--settings", str(settings), *files])),
    }


def of_phones(
    folder: Path, session: Path, logs: Path, results: bytes, manifest: Path
) -> dict[str, Read]:
    """A session with its logs, logs of every tool, a lab's results, a manifest."""
    found = {
        f"session/{name}": Read(session / name, lambda: read_session(session, {}))
        for name in ("session.json", "runs.csv")
    }
    raw = sorted((session / "raw").iterdir())[0]
    found["session/log"] = Read(raw, lambda: read_session(session, {}))
    for path in sorted(logs.glob("*.txt")):
        log = folder / path.name
        log.write_bytes(path.read_bytes())

        def read(log: Path = log) -> object:
            return parse(log.read_bytes().decode("utf-8", "replace"), log.name)

        found[f"log/{path.name}"] = Read(log, read)
    board = folder / "results.pb"
    board.write_bytes(results)
    found["results.pb"] = Read(board, lambda: read_results(board))
    found["manifest.json"] = Read(manifest, lambda: (models_in(manifest), read_models([manifest])))
    return found


def of_sources(folder: Path, write_sqlite: Callable, femnist: Callable) -> dict[str, Read]:
    """Data as people have them, each read by its source into a store."""
    found = {}

    def source(name: str, file: Path, *flags: object) -> None:
        output = folder / "out"
        words = [name.partition("/")[0], "--name", "x", "--output", output, *flags, "--workers", 1]

        def read() -> None:
            hub_files.opened.cache_clear()  # it is told one file from another by its path
            prepare.main([*map(str, words)])

        found[name] = Read(file, read, output)

    draw = np.random.default_rng(0)
    shard = folder / "leaf/train.json"
    shard.parent.mkdir()
    users = {f"u{user}": draw.random((5, 784)).round(3).tolist() for user in range(3)}
    data = {user: {"x": x, "y": list(range(5))} for user, x in users.items()}
    text = {"users": list(users), "num_samples": [5] * 3, "user_data": data}
    shard.write_text(json.dumps(text))
    source("leaf", shard, "--folder", shard.parent)

    tree = folder / "tree"
    for number in range(18):
        path = tree / f"writer{number % 3}/label{number % 2}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8), np.uint8)).save(path)
    source("folder", path, "--folder", tree)
    rows = [["path", "label", "client"]]
    rows += [[p.relative_to(folder), p.parts[-2], p.parts[-3]] for p in sorted(tree.glob("*/*/*"))]
    table = folder / "table.csv"
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    source("table", table, "--table", table)

    mnist = folder / "mnist"
    mnist.mkdir()
    for word, count in (("train", 40), ("t10k", 20)):
        for what, values in (
            ("images-idx3", draw.integers(0, 256, (count, 6, 6))),
            ("labels-idx1", np.arange(count) % 10),
        ):
            head = struct.pack(f">{values.ndim + 1}I", 2048 + values.ndim, *values.shape)
            packed = gzip.compress(head + values.astype(np.uint8).tobytes(), mtime=0)
            (mnist / f"{word}-{what}-ubyte.gz").write_bytes(packed)
    for word in ("train-images-idx3", "t10k-labels-idx1"):
        file = mnist / f"{word}-ubyte.gz"
        source(f"torchvision/{word}", file, "--folder", mnist, "--dataset", "MNIST")

    database = folder / "emnist.sqlite"
    writers = {f"f{n:04d}_00": femnist(n, [0, 1, 2, 13]) for n in range(3)}
    held_out = {name: femnist(9 + n, [3, 4]) for n, name in enumerate(writers)}
    write_sqlite(database, {"all_train": writers, "all_test": held_out})
    source("tff", database, "--database", database)

    parquet = folder / "hub/train-0.parquet"
    parquet.parent.mkdir()
    images = [path.read_bytes() for path in sorted(tree.glob("*/*/*"))]
    columns = {"image": [{"bytes": image, "path": None} for image in images]}
    columns |= {"writer": [f"w{n % 3}" for n in range(18)], "character": [n % 2 for n in range(18)]}
    pq.write_table(pa.table(columns), parquet)
    flags = ["--local", parquet.parent, "--client-column", "writer", "--target-column", "character"]
    source("hub", parquet, "--repository", "x/y", *flags)
    return found
