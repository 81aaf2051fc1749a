"""Stage: divide a store's training rows among federated clients."""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import whole_folder, write_json
from autoprune.core.options import add_flags, from_flags
from autoprune.core.tasks import TOGETHER
from autoprune.data.partition import FILES, SCHEMA_VERSION, checksum
from autoprune.data.prepare.schemes import (
    BY_LABEL,
    LEFT_OVER,
    SETTINGS,
    SUMMARY,
    Division,
    drawn,
    natural,
    no_classes,
)
from autoprune.data.prepare.sources import report_dropped
from autoprune.data.store import ClientStore

FIFTHS = 5  # into which numbers are sorted, to show how they are spread


def make_partition(
    store: ClientStore, output: Path, targets: Sequence[str], chosen: Division
) -> None:
    """Write the partition of a store's training rows; nothing is written when it fails.

    With several ``targets``, or one of numbers, rows are not divided by label. Clients below
    ``min_samples`` rows are dropped and counted, and so are rows that the scheme gives to nobody.
    Raises InputError for settings that do not fit the store.
    """
    scheme, min_samples = chosen.scheme, chosen.min_samples
    counted = Counted.of(store, targets)
    if scheme in BY_LABEL and counted.task:
        found = f"{' and '.join(map(repr, targets))}, which is {counted.task}"
        raise InputError(f"scheme {no_classes(scheme, found)}")
    labels = counted.drawn_by
    ids, parts = natural(store) if scheme == "natural" else drawn(labels, chosen)

    kept = [number for number, part in enumerate(parts) if len(part) >= min_samples]
    if not kept:
        raise InputError(
            f"no client is left: all {len(parts)} have fewer than {min_samples} training samples; "
            "lower min_samples or clients"
        )
    small = sorted(set(range(len(parts))) - set(kept))
    reason = f"fewer than {min_samples} training samples"
    dropped = report_dropped(ids, [len(part) for part in parts], small, reason)
    dropped += left_over(scheme, len(labels) - sum(map(len, parts)))
    parts = [parts[number] for number in kept]
    counts = np.stack([counted.counts(part) for part in parts])
    sizes = np.array([len(part) for part in parts])
    header: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "scheme": scheme,
        "settings": {
            "seed": chosen.seed,
            "min_samples": min_samples,
            **{name: getattr(chosen, name) for name in SETTINGS},
        },
        "store": {
            "name": store.name,
            "kind": store.kind,
            "source": store.source,
            "checksum": store.checksum,
        },
        "target": TOGETHER.join(targets),
        **({"task": counted.task} if counted.task else {}),
        "clients": len(parts),
        "client_ids": [ids[number] for number in kept],
        "samples_per_client": {**spread(sizes), "mean": float(sizes.mean())},
        "classes": len(counted.names),
        "classes_per_client": spread((counts > 0).sum(axis=1)),
        "mean_label_entropy_bits": float(counted.entropy(counts, sizes).mean()),
        "samples": dict(store.samples),
        "repeated": store.repeated,
        "dropped": [
            *({**entry, "stage": "store"} for entry in store.dropped),
            *({**entry, "stage": "partition"} for entry in dropped),
        ],
    }
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    indices = np.concatenate(parts).astype(np.int64)
    header["checksum"] = checksum(offsets, indices)
    with whole_folder(output, FILES) as scratch:
        np.save(scratch["offsets.npy"], offsets)
        np.save(scratch["indices.npy"], indices)
        _write_counts(scratch["label_counts.csv"], counts, counted.names)
        write_json(scratch["partition.json"], header)


@dataclass(frozen=True, eq=False)
class Counted:
    """What is counted of each client's labels: ``names``, and ``marks`` (row, name) of each row.

    Of one target its classes; of several each one's second class, yes; of numbers the fifths of
    all, by size. ``drawn_by`` (row,) is what label schemes divide by. ``task`` is "" for classes.
    """

    task: str
    names: Sequence[str]
    marks: np.ndarray
    drawn_by: np.ndarray

    @classmethod
    def of(cls, store: ClientStore, targets: Sequence[str]) -> "Counted":
        """Of a store's training rows."""
        columns = [store.target_column(target) for target in targets]
        labels = np.asarray(store.labels[store.rows("train")])[:, columns]
        nobody = np.zeros(len(labels), np.int64)
        if len(targets) > 1:
            return cls("multi-label", targets, labels > 0, nobody)
        if names := store.classes(targets[0]):
            numbers = labels[:, 0].astype(np.int64)
            # as they are stored, but beside numbers
            drawn_by = labels[:, 0] if labels.dtype.kind == "u" else numbers
            return cls("", names, numbers[:, None] == np.arange(len(names)), drawn_by)
        ends = np.unique(np.quantile(labels, np.linspace(0, 1, FIFTHS + 1)))
        fifth = np.clip(np.searchsorted(ends, labels[:, 0], side="right") - 1, 0, len(ends) - 2)
        spans = enumerate(pairwise(ends), start=1)  # numbered, as names are shown in their order
        names = [f"{place}: {low:.4g} to {high:.4g}" for place, (low, high) in spans]
        return cls("regression", names, fifth[:, None] == np.arange(len(names)), nobody)

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """How many of these rows have each name (name,)."""
        return self.marks[rows].sum(axis=0)

    def entropy(self, counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """Bits (client,) of ``counts`` (client, name); of several targets the mean over them."""
        if self.task != "multi-label":
            return entropy_bits(counts)
        both = [entropy_bits(np.stack([yes, sizes - yes], axis=1)) for yes in counts.T]
        return np.mean(both, axis=0)


def left_over(scheme: str, samples: int) -> list[dict[str, Any]]:
    """The header's entry for rows with no client, whose client is null; a line on stderr."""
    if not samples:
        return []
    print(f"dropped {samples} samples: {LEFT_OVER[scheme]}", file=sys.stderr)
    return [{"client": None, "samples": samples, "reason": LEFT_OVER[scheme]}]


def spread(values: np.ndarray) -> dict[str, float]:
    """Minimum, median and maximum of whole numbers (n,)."""
    return {
        "min": int(values.min()),
        "median": float(np.median(values)),
        "max": int(values.max()),
    }


def entropy_bits(counts: np.ndarray) -> np.ndarray:
    """Entropy (clients,) in bits of each client's labels, from its counts (clients, classes)."""
    share = counts / counts.sum(axis=1, keepdims=True)
    # log2(1) stands in where the share is 0, since p log p goes to 0 there.
    return -(share * np.log2(np.where(share > 0, share, 1))).sum(axis=1) + 0.0


def _write_counts(path: Path, counts: np.ndarray, classes: Sequence[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["client", "class", "count"])
        for client, number in np.argwhere(counts):
            table.writerow([client, classes[number], counts[client, number]])


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m autoprune.data.prepare.partition",
        description=f"{__doc__} Schemes: {'; '.join(map(': '.join, SUMMARY.items()))}.",
        allow_abbrev=False,
    )
    parser.add_argument("--store", required=True, type=Path, help="folder of the client store")
    parser.add_argument(
        "--target", required=True, nargs="+", help="label that is predicted and divided by, or more"
    )
    add_flags(parser, Division)
    parser.add_argument("--output", required=True, type=Path, help="folder of the new partition")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Partition one store; raises InputError for wrong input, and then writes nothing."""
    args = parse(argv)
    chosen = from_flags(Division, args)
    store = ClientStore.open(args.store)
    store.verify()
    make_partition(store, args.output, args.target, chosen)


if __name__ == "__main__":
    run_main(main)
