"""How rows are divided among clients: the store's own, or drawn by flwr-datasets' partitioners."""

import os
import warnings
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from autoprune.core import seeds
from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.data.store import ClientStore

if TYPE_CHECKING:
    from flwr_datasets.partitioner import Partitioner

# What a scheme must be told; "a|b" is exactly one of two.
NEEDS = {
    "natural": (),
    "iid": ("clients",),
    "dirichlet": ("clients", "alpha"),
    "pathological": ("clients", "classes_per_client"),
    "shards": ("clients", "shards_per_client|shard_size"),
    "quantity": ("clients", "alpha"),
    "linear": ("clients",),
    "square": ("clients",),
    "exponential": ("clients",),
}
SUMMARY = {
    "natural": "the store's own clients",
    "iid": "equal parts at random",
    "dirichlet": "each class in shares drawn from Dirichlet(alpha) (arXiv 1905.12022)",
    "pathological": "so many classes a client, each class in equal parts (arXiv 2102.02079)",
    "shards": "rows sorted by label, cut into equal shards, so many a client (arXiv 1602.05629)",
    "quantity": "parts at random, their sizes drawn from Dirichlet(alpha) (arXiv 2102.02079)",
    "linear": "parts at random, the size of the n-th in proportion to n",
    "square": "parts at random, the size of the n-th in proportion to n squared",
    "exponential": "parts at random, the size of the n-th in proportion to e to the n",
}
# Why a scheme may leave rows with no client at all.
LEFT_OVER = {
    "pathological": "their class was given to no client",
    "shards": "more than fill the shards that were dealt out",
}
NO_SAMPLE = "the smallest client would get no sample; give fewer clients"
MISFIT = {
    "pathological": "a class has fewer samples than clients that are to have it; "
    "give fewer clients or classes_per_client",
    "shards": "there are fewer shards than clients; give a smaller shard_size or fewer clients",
    "linear": NO_SAMPLE,
    "square": NO_SAMPLE,
    "exponential": NO_SAMPLE,
}


class Division(Block):
    """How the training images are divided among clients."""

    scheme: Literal[
        "natural",
        "iid",
        "dirichlet",
        "pathological",
        "shards",
        "quantity",
        "linear",
        "square",
        "exponential",
    ] = Field(description="How; see Partition schemes.")
    seed: int = Field(0, ge=0, description="Seed of the division.")
    clients: int | None = Field(None, ge=1, description="Number of clients that are drawn.")
    alpha: float | None = Field(
        None,
        ge=1e-3,
        le=1e9,
        description="Concentration: below 1 clients differ much, above 100 they are all alike.",
    )
    classes_per_client: int | None = Field(None, ge=1, description="Classes of a client.")
    shards_per_client: int | None = Field(
        None,
        ge=1,
        description="Shards of a client; their size follows, and images beyond are dropped and "
        "counted.",
    )
    shard_size: int | None = Field(
        None,
        ge=1,
        description="Images of a shard; their number follows, and some clients get one more than "
        "others.",
    )
    min_samples: int = Field(
        2,
        ge=1,
        description="Training images; a client with fewer is dropped, and counted as dropped: "
        "batch statistics need two.",
    )

    @model_validator(mode="after")
    def _what_the_scheme_needs(self) -> Self:
        given = {name for name in SETTINGS if getattr(self, name) is not None}
        groups = [need.split("|") for need in NEEDS[self.scheme]]
        if extra := sorted(given - {name for group in groups for name in group}):
            raise ValueError(
                f"scheme {self.scheme} does not use {' and '.join(extra)}; leave "
                f"{'it' if len(extra) == 1 else 'them'} out"
            )
        if any(len(given & {*group}) != 1 for group in groups):
            words = [f"{'either ' * (len(group) > 1)}{' or '.join(group)}" for group in groups]
            raise ValueError(f"scheme {self.scheme} needs {' and '.join(words)}")
        return self


# Schemes that divide by the classes of one label.
BY_LABEL = ("dirichlet", "pathological", "shards")
# What else than the scheme and its seed may be set; partition.json has them in this order.
SETTINGS = ("clients", "alpha", "classes_per_client", "shards_per_client", "shard_size")


def no_classes(scheme: str, found: str) -> str:
    """Why a scheme that divides by label does not do without the classes of one target."""
    others = [name for name in NEEDS if name not in BY_LABEL]
    return (
        f"{scheme} divides by the classes of one target, found {found}; use {' or '.join(others)}"
    )


def natural(store: ClientStore) -> tuple[list[str], list[np.ndarray]]:
    """The store's own clients that have training rows: their ids and rows.

    Raises InputError for a store whose samples have no owner.
    """
    if not store.natural_clients:
        raise InputError(
            f"{store.folder}: data set {store.name!r} has no clients of its own; use "
            "scheme dirichlet with clients and alpha, or another scheme that draws clients"
        )
    rows = store.rows("train")
    numbers, starts = np.unique(store.clients[rows], return_index=True)
    ends = [*starts[1:], rows.stop]
    parts = [np.arange(start, end) for start, end in zip(starts, ends, strict=True)]
    return [store.client_ids[number] for number in numbers], parts


def drawn(labels: np.ndarray, chosen: Division) -> tuple[list[str], list[np.ndarray]]:
    """Divide rows 0..N-1 with ``labels`` (N,) among clients: their ids and rows, ascending.

    No row comes twice; a client may get none, and some rows may be with no client
    (``LEFT_OVER``). Raises InputError for settings that do not fit the rows.
    """
    clients = chosen.clients or 0
    check_fit(labels, chosen)
    # Read at import: nothing may reach for the network, nor report home.
    os.environ.update(
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        FLWR_TELEMETRY_ENABLED="0",
    )
    from datasets import Dataset

    rows = np.arange(len(labels))
    if chosen.scheme != "dirichlet":
        # The store is sorted by client, and the partitioners take neighbours together: without
        # this a drawn client would be a few writers. Dirichlet keeps the order it always had.
        rows = seeds.generator(chosen.seed, "partition-order").permutation(rows)
    numbers, partitioner = _partitioner(len(rows), chosen)
    partitioner.dataset = Dataset.from_dict({"label": labels[rows], "row": rows})
    parts = [np.empty(0, np.int64)] * clients
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # classes without a client; they are counted instead
            for place, client in enumerate(numbers):
                held = partitioner.load_partition(place).with_format("numpy")
                parts[client] = np.sort(np.asarray(held["row"][:], np.int64))
    except ValueError as error:
        raise InputError(
            f"scheme {chosen.scheme} for {len(labels)} training samples and {clients} clients: "
            f"{MISFIT.get(chosen.scheme, error)}"
        ) from None
    return [f"part-{client:04d}" for client in range(clients)], parts


def check_fit(labels: np.ndarray, chosen: Division) -> None:
    """Raise InputError when the settings ask for more than there are rows or classes."""
    there = {
        "clients": (len(labels), "training samples"),
        "classes_per_client": (len(np.unique(labels)), "classes of the training samples"),
    }
    for name, (number, what) in there.items():
        wanted = getattr(chosen, name) or 0
        if wanted > number:
            raise InputError(f"{name} {wanted} is more than the {number} {what}; give fewer")
    shards = (chosen.clients or 0) * (chosen.shards_per_client or 0)
    if shards > len(labels):
        raise InputError(
            f"shards_per_client {chosen.shards_per_client} for {chosen.clients} clients is more "
            f"than the {len(labels)} training samples; give fewer"
        )


def _partitioner(rows: int, chosen: Division) -> tuple[np.ndarray, "Partitioner"]:
    """The clients that get rows, by number, and what deals them out in this order."""
    from flwr_datasets import partitioner as by

    scheme, seed = chosen.scheme, chosen.seed
    clients, alpha = chosen.clients or 0, chosen.alpha or 0.0
    everyone = np.arange(clients)
    drawn_by = int(seeds.sequence(seed, "partition").generate_state(1)[0])
    common = {"partition_by": "label", "shuffle": False, "seed": drawn_by}
    match scheme:
        case "dirichlet":
            # min_partition_size 0: a positive one makes it draw up to ten times and then give
            # up; the small clients are dropped and counted here instead, so that any alpha
            # gives a partition. Balancing stops feeding a client at the mean size, so that
            # which classes it gets hangs on their order as much as on alpha; without it alpha
            # alone sets the skew.
            return everyone, by.DirichletPartitioner(
                clients, alpha=alpha, min_partition_size=0, self_balancing=False, **common
            )
        case "pathological":
            # As in arXiv 2102.02079: client n has class n, so that none is left out while there
            # are as many clients as classes.
            return everyone, by.PathologicalPartitioner(
                clients,
                num_classes_per_partition=chosen.classes_per_client,
                class_assignment_mode="first-deterministic",
                **common,
            )
        case "shards":
            return everyone, by.ShardPartitioner(
                clients,
                num_shards_per_partition=chosen.shards_per_client,
                shard_size=chosen.shard_size,
                # Of a given size every shard is dealt out, the last and smaller one too.
                keep_incomplete_shard=chosen.shard_size is not None,
                **common,
            )
        case "quantity":
            sizes = _dirichlet_sizes(rows, clients, alpha, seed)
            some = np.flatnonzero(sizes)  # the partitioner refuses empty parts
            return some, by.SizePartitioner(sizes[some].tolist())
    plain = {
        "iid": by.IidPartitioner,
        "linear": by.LinearPartitioner,
        "square": by.SquarePartitioner,
        "exponential": by.ExponentialPartitioner,
    }
    return everyone, plain[scheme](clients)


def _dirichlet_sizes(rows: int, clients: int, alpha: float, seed: int) -> np.ndarray:
    """(clients,) whole numbers that sum to ``rows``, in shares drawn from Dirichlet(alpha)."""
    share = seeds.generator(seed, "partition-sizes").dirichlet(np.full(clients, alpha))
    ends = np.minimum(np.cumsum(share) * rows, rows).astype(np.int64)
    ends[-1] = rows
    return np.diff(ends, prepend=0)
