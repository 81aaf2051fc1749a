"""Where samples come from: each module here is one source; what they share stands here."""

import argparse
import importlib
import pkgutil
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from autoprune.core import seeds
from autoprune.core.errors import InputError
from autoprune.data.prepare.images import Images, Samples

Item = TypeVar("Item")


def discover() -> dict[str, ModuleType]:
    """Every source by name: the modules of this package, imported."""
    return {
        found.name: importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
    }


def progress(items: Iterable[Item], what: str) -> Iterable[Item]:
    """``items`` with a progress bar on stderr, when that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=what, disable=None, leave=False)


def checked(convert: type, low: float, high: float, wanted: str) -> Any:
    """An argparse ``type`` for a finite number with ``low <= number <= high``."""

    def parse(text: str) -> float:
        try:
            number = convert(text)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return number

    return parse


whole_number = checked(int, 0, 2**63 - 1, "a whole number of 0 or more")
count = checked(int, 1, 2**31 - 1, "a whole number of 1 or more")
fraction = checked(float, 0, 0.9, "a fraction between 0 and 0.9")
strength = checked(float, 0, 4, "a number between 0 and 4")


def add_seed(parser: argparse.ArgumentParser) -> None:
    """Add ``--seed``, which fixes everything that is drawn at random."""
    parser.add_argument(
        "--seed",
        type=whole_number,
        default=0,
        help="whole number; fixes the splits and what a generator draws (default: %(default)s)",
    )


def add_test_fraction(parser: argparse.ArgumentParser) -> None:
    """Add ``--test-fraction``."""
    parser.add_argument(
        "--test-fraction",
        type=fraction,
        default=0.2,
        help="share of samples held out, half of it for validation; 0.2 leaves most for training "
        "and still some of every client (default: %(default)s)",
    )


def add_min_samples(parser: argparse.ArgumentParser) -> None:
    """Add ``--min-samples``."""
    parser.add_argument(
        "--min-samples",
        type=count,
        default=2,
        help="samples; a client with fewer is dropped and counted, since one sample cannot serve "
        "both training and test (default: %(default)s)",
    )


def add_generator_arguments(parser: argparse.ArgumentParser, clients: int, samples: int) -> None:
    """Add the flags of a generated source: its size, its split and its seed."""
    parser.add_argument(
        "--clients",
        type=count,
        default=clients,
        help="clients drawn, each with a look of its own (default: %(default)s)",
    )
    parser.add_argument(
        "--samples",
        type=count,
        default=samples,
        help="mean samples a client; the numbers are uneven, as in real federated data "
        "(default: %(default)s)",
    )
    add_test_fraction(parser)
    add_min_samples(parser)
    add_seed(parser)


def uneven_count(rng: np.random.Generator, mean: int) -> int:
    """A client's number of samples: log-normal with this mean, at least 1.

    The spread (sigma 0.4) gives FEMNIST's ratio of standard deviation to mean, about 0.4.
    """
    return max(1, round(mean * rng.lognormal(-0.08, 0.4)))


def held_out(groups: np.ndarray, keys: Sequence[int], share: float, seed: int) -> np.ndarray:
    """Mark (N,) bool the ``share`` of each group's rows that are for test, at least 1 stays.

    Group g is drawn from its own stream (seed, keys[g]), so that it does not depend on the
    other groups.
    """
    test = np.zeros(len(groups), bool)
    order = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], np.arange(len(keys)), side="right")
    for key, rows in zip(keys, np.split(order, ends[:-1]), strict=True):
        number = min(round(share * len(rows)), len(rows) - 1)
        if number > 0:
            test[seeds.generator(seed, "test-split", key).permutation(rows)[:number]] = True
    return test


def halved(test: np.ndarray, seed: int) -> np.ndarray:
    """Splits (N,) from the test mark: the pooled test rows are halved at random.

    Validation gets the smaller half of an odd number, as the paper's 38,741 of 77,483.
    """
    splits = np.where(test, 2, 0).astype(np.uint8)
    rows = seeds.generator(seed, "validation-split").permutation(np.flatnonzero(test))
    splits[rows[: len(rows) // 2]] = 1
    return splits


def report_dropped(
    client_ids: Sequence[str], sizes: Sequence[int], small: Iterable[int], reason: str
) -> list[dict[str, Any]]:
    """The header's entries for the clients numbered ``small``; a line on stderr if there are any.

    ``sizes`` are the samples of every client in ``client_ids``.
    """
    dropped = [
        {"client": client_ids[number], "samples": int(sizes[number]), "reason": reason}
        for number in small
    ]
    if dropped:
        lost = sum(entry["samples"] for entry in dropped)
        print(
            f"dropped {len(dropped)} of {len(client_ids)} clients ({lost} samples): {reason}",
            file=sys.stderr,
        )
    return dropped


def by_client(
    *,
    images: np.ndarray | Images,
    labels: np.ndarray,
    clients: np.ndarray,
    client_ids: Sequence[str],
    targets: Sequence[Mapping[str, Any]],
    polarity: str,
    kind: str,
    min_samples: int,
    seed: int,
    test: np.ndarray | None = None,
    test_fraction: float = 0.2,
) -> Samples:
    """Drop small clients and split the rest; arrays as in ``Samples``. Reads no ``Images``.

    ``test`` (N,) bool is the split that the source brings; without one each client's samples are
    split by seed. A client that only has test samples of a given split is kept, however few:
    it never trains.
    """
    sizes = np.bincount(clients, minlength=len(client_ids))
    small = sizes < min_samples
    if test is not None:
        small &= (np.bincount(clients[~test], minlength=len(client_ids)) > 0) | (sizes == 0)
    reason = f"fewer than {min_samples} samples"
    dropped = report_dropped(client_ids, sizes, np.flatnonzero(small), reason)
    kept = np.flatnonzero(~small)
    if len(kept) == 0:
        raise InputError(
            f"no client is left: all {len(client_ids)} have fewer than {min_samples} samples; "
            "lower --min-samples or give more data"
        )
    rows = np.flatnonzero(~small[clients])
    ids = [client_ids[client] for client in kept]
    clients = np.searchsorted(kept, clients[rows])
    if test is None:
        keys = [zlib.crc32(client.encode()) for client in ids]
        mark = held_out(clients, keys, test_fraction, seed)
    else:
        mark = test[rows]
    if len(rows) < len(images):  # no copy of all images where none is dropped
        images = images.take(rows) if isinstance(images, Images) else images[rows]
    return Samples(
        images=images,
        labels=labels[rows],
        clients=clients,
        splits=halved(mark, seed),
        client_ids=ids,
        targets=targets,
        dropped=dropped,
        polarity=polarity,
        natural_clients=True,
        kind=kind,
    )


def by_own_split(splits: np.ndarray, *, labels: np.ndarray, **samples: Any) -> Samples:
    """As ``by_client``, but ``splits`` (N,) with 0 train, 1 validation, 2 test stay."""
    # A column of the labels, since only by_client knows which rows it keeps.
    carried = np.column_stack([labels, splits])
    kept = by_client(labels=carried, test=splits > 0, **samples)
    return replace(kept, labels=kept.labels[:, :-1], splits=kept.labels[:, -1].astype(np.uint8))


def class_numbers(labels: list[str], where: str) -> tuple[list[str], np.ndarray]:
    """The classes in order, by value if all are whole numbers, and the labels (N, 1) as numbers.

    Raises InputError unless there are two classes at least.
    """
    known = set(labels)
    numbers = all(label.isdecimal() for label in known)
    classes = sorted(known, key=lambda label: (int(label), label) if numbers else (0, label))
    if len(classes) < 2:
        raise InputError(
            f"{where}: {classes[0]!r} is the only label; give images of two labels at least"
        )
    place = {label: number for number, label in enumerate(classes)}
    return classes, np.array([place[label] for label in labels], np.uint16)[:, None]
