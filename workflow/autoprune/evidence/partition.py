"""The table of partitions: how many samples each data set's clients hold, and what was dropped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from autoprune.core.labels import STAND_IN
from autoprune.data.partition import Partition

INPUTS = {"partitions": "<results>/data/{dataset}/partition/partition.json"}
COLUMNS = (
    *("dataset", "source", "scheme", "target", "clients", "samples per client, min"),
    *("samples per client, median", "samples per client, max", "classes"),
    *("label entropy per client, bits", "train", "validation", "test"),
    *("held out, also trained on", "of these, other labels", "dropped clients"),
    *("dropped samples", "dropped, why"),
)


def title(header: Mapping[str, Any]) -> str:
    """The data set's name, marked when it stands in for another."""
    store = header["store"]
    return store["name"] + (STAND_IN if store["kind"] == "stand-in" else "")


def scheme(header: Mapping[str, Any]) -> str:
    """The scheme with the setting that sets its skew; the number of clients stands beside it."""
    settings = header["settings"]
    words = {
        "alpha": "α = {:g}",
        "classes_per_client": "{} classes a client",
        "shards_per_client": "{} a client",
        "shard_size": "of {} samples",
    }
    chosen = [
        text.format(settings[name])
        for name, text in words.items()
        if settings.get(name) is not None
    ]
    return ", ".join([header["scheme"], *chosen])


def reasons(dropped: Sequence[Mapping[str, Any]]) -> str:
    """Why clients and samples were dropped, with counts: the store's reasons, then the scheme's.

    An entry whose client is None is samples that went to no client.
    """
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in dropped:
        found.setdefault((entry["stage"], entry["reason"]), []).append(entry)
    parts = []
    for (stage, reason), entries in found.items():
        clients = sum(entry["client"] is not None for entry in entries)
        samples = sum(entry["samples"] for entry in entries)
        who = f"{clients} client{'s' * (clients != 1)}, " if clients else ""
        parts.append(f"{who}{samples} sample{'s' * (samples != 1)}: {reason} ({stage})")
    return "; ".join(parts) or "nothing"


def row(header: Mapping[str, Any]) -> tuple[Any, ...]:
    """COLUMNS of one partition.

    ``source`` says whose split the numbers are from: the same writers count differently in
    TensorFlow Federated's, LEAF's and the hub's.
    """
    sizes, samples, dropped = (header[key] for key in ("samples_per_client", "samples", "dropped"))
    images, alike = (
        sum(split[key] for split in header["repeated"].values())
        for key in ("images", "same_labels")
    )
    return (
        *(title(header), header["store"]["source"], scheme(header), header["target"]),
        *(header["clients"], sizes["min"], f"{sizes['median']:g}", sizes["max"]),
        *(header["classes"], f"{header['mean_label_entropy_bits']:.2f}"),
        *(samples["train"], samples["validation"], samples["test"], images, images - alike),
        sum(entry["client"] is not None for entry in dropped),
        sum(entry["samples"] for entry in dropped),
        reasons(dropped),
    )


def table(partitions: Sequence[str]) -> pd.DataFrame:
    """A row a partition, given by its partition.json; InputError for one that is none."""
    headers = [Partition.open(Path(path).parent).header for path in partitions]
    return pd.DataFrame([row(header) for header in headers], columns=list(COLUMNS))
