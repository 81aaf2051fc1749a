"""Measure how a federation grows with its clients: the same rounds, each of 10 with 4 images.

Writes a store of so many clients, partitions it, trains three rounds; each step a process of its
own. Writes OUTPUT.csv and OUTPUT.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT / "workflow"), str(HERE)]

# libraries are imported where they are used: a child's largest memory begins with its parent's

EACH, SIDE, BLOCK = 4, 16, 4096  # images a client, pixels a side, images made at a time
RUN = {
    "dataset": "scale", "stands-for": "none", "target": "label", "model": "cnn", "widths": "8 8",
    "method": "dense", "variant": "fedavg", "seed": 0, "rounds": 3, "clients-per-round": 10,
    "local-epochs": 1, "batch-size": 4, "learning-rate": 0.001, "epsilon": 1e-7,
    "precision": "fp32", "optimizer-state": "fresh", "batch-norm": "refreshed", "min-clients": 1,
    "evaluate-every": 3, "checkpoint-every": 3,
}  # fmt: skip


def read(part: range):
    """Random images of these rows, always the same."""
    import numpy as np

    stream = np.random.default_rng(part.start)
    yield (
        np.arange(part.start, part.stop),
        stream.integers(0, 256, (len(part), SIDE, SIDE, 1), np.uint8),
    )


def prepare(clients: int, folder: Path) -> None:
    """A store of so many clients; 1,000 images are held out, of few clients one of each."""
    import numpy as np

    from autoprune.data.prepare.images import Images
    from autoprune.data.prepare.write import write_store

    count = clients * EACH
    splits = np.zeros(count, int)
    held_out = splits[:: max(EACH, count // 1000)]
    held_out[:] = np.resize([1, 2], len(held_out))
    write_store(
        folder,
        name="scale",
        source="benchmark",
        kind="stand-in",
        images=Images(
            (count, SIDE, SIDE, 1),
            [range(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)],
            read,
        ),
        labels=(np.arange(count) % 4)[:, None],
        clients=np.arange(count) // EACH,
        splits=splits,
        client_ids=[f"c{number:07d}" for number in range(clients)],
        targets=[{"name": "label", "classes": list("abcd")}],
        dropped=[],
        polarity="light-on-dark",
        natural_clients=True,
    )


def timed(command: list[str]) -> tuple[float, float]:
    """Seconds and largest memory, in MB, of a process that must succeed."""
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow")}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(command[:4])}: exit code {child.returncode}")
    return time.monotonic() - began, used.ru_maxrss / 1024


def measure(clients: int, folder: Path) -> dict[str, float]:
    """One row of the table."""
    store, partition, run = (folder / name for name in ("store", "partition", "run"))
    python = [sys.executable]
    data = ["--store", str(store)]
    split = ["--target", "label", "--scheme", "natural", "--output", str(partition)]
    trains = ["--settings", json.dumps(RUN), "--partition", str(partition), "--output", str(run)]
    steps = {
        "prepare": [*python, __file__, "--prepare", str(clients), str(store)],
        "partition": [*python, "-m", "autoprune.data.prepare.partition", *data, *split],
        "three rounds": [*python, "-m", "autoprune.federation", *data, *trains],
    }
    row: dict[str, float] = {"clients": clients}
    for name, command in steps.items():
        row[f"{name}, s"], row[f"{name}, MB"] = timed(command)
    row["store, MB"] = sum(file.stat().st_size for file in store.iterdir()) / 1e6
    row["header.json, MB"] = (store / "header.json").stat().st_size / 1e6
    return row


def main() -> None:
    """All sizes, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--clients", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000])
    add("--output", default="benchmarks/scale", help="start of the files' names")
    add("--prepare", nargs=2, metavar=("CLIENTS", "FOLDER"), help="only write this store")
    args = parser.parse_args()
    if args.prepare:
        prepare(int(args.prepare[0]), Path(args.prepare[1]))
        return
    rows = []
    for clients in args.clients:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(clients, Path(folder)))
            print(rows[-1], flush=True)
    import pandas as pd
    from bench_report import where

    from autoprune.core.files import write_text

    table = pd.DataFrame(rows).astype({"clients": int})
    write_text(f"{args.output}.csv", table.to_csv(index=False, lineterminator="\n"))
    shown = table.map(lambda value: f"{value:,.0f}" if value >= 10 else f"{value:.2g}")
    text = shown.to_markdown(index=False, disable_numparse=True)
    write_text(f"{args.output}.md", f"{text}\n\n{where()}\n")


if __name__ == "__main__":
    main()
