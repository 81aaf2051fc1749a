"""TensorFlow Federated's files: a SQLite database with a row for each example."""

import functools
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Images
from autoprune.data.prepare.readers.tff_example import (
    Layout,
    example_image,
    example_labels,
    layout_of,
    parse_example,
)

MAGIC = b"SQLite format 3\0"
# sql_client_data.py of TensorFlow Federated requires these tables and columns.
COLUMNS = {
    "examples": {"split_name", "client_id", "serialized_example_proto"},
    "client_metadata": {"split_name", "client_id", "num_examples"},
}
PAPER = ("all", "split_by_clients")  # of FEMNIST and of CelebA: the splits of the notebooks

Sizes = dict[tuple[bool, str], int]  # of (test, client): its examples
Part = tuple[Path, tuple[str, str], int, int, np.ndarray]  # file, splits, row ids, rows


@dataclass(frozen=True, eq=False)
class Examples:
    """N examples: training before test, by client, then as in the file; pixels not yet read.

    labels (N, T) uint8, a column for each of ``layout.labels``; clients (N,) numbers into the
    sorted ``client_ids``; test (N,) 0 or 1.
    """

    layout: Layout
    labels: np.ndarray
    clients: np.ndarray
    client_ids: list[str]
    test: np.ndarray
    images: Images


def read_sqlite(path: Path, split: str | None = None) -> Examples:
    """Read the labels of the examples in ``<split>_train`` and ``<split>_test``.

    Without ``split`` it is the paper's, or the only one there is. Raises InputError, which names
    file, client and row.
    """
    with _opened(path) as database:
        splits = _splits(path, database, split)
        sizes = _sizes(path, database, splits)
        layout, labels, keys, row_ids = _scan(path, database, splits, sizes)

    ids = sorted({client for _, client in sizes})
    number = {client: place for place, client in enumerate(ids)}
    columns = np.array([(test, number[client]) for test, client in sizes], np.int64)
    test, clients = columns[keys].T
    order = np.lexsort((row_ids, clients, test))
    rows = np.empty(len(order), np.int64)
    rows[order] = np.arange(len(order))
    parts = [
        (path, splits, int(row_ids[first]), int(row_ids[end - 1]), rows[first:end])
        for first in range(0, len(rows), layout.rows)
        for end in [min(first + layout.rows, len(rows))]
    ]
    return Examples(
        layout=layout,
        labels=labels[order],
        clients=clients[order],
        client_ids=ids,
        test=test[order],
        images=Images((len(rows), *layout.shape), parts, functools.partial(read_part, layout)),
    )


def read_part(layout: Layout, part: Part) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows (n,) and images (n, H, W, C) of one part, as ``Images`` wants them."""
    path, splits, low, high, rows = part
    images = np.empty((len(rows), *layout.shape), np.uint8)
    done = 0
    with _opened(path) as database:
        found = database.execute(
            "SELECT rowid, client_id, serialized_example_proto FROM examples NOT INDEXED "
            "WHERE rowid BETWEEN ? AND ? AND split_name IN (?, ?) ORDER BY rowid",
            (low, high, *splits),
        )
        for row_id, client, serialized in found:
            here = f"{path}: client {client}, row id {row_id}"
            if done == len(rows):
                raise InputError(f"{here}: came while the file was read; do not write to it")
            images[done] = example_image(here, parse_example(here, serialized), layout)
            done += 1
    if done < len(rows):
        raise InputError(f"{path}: changed while it was read; do not write to it")
    yield rows, images


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The database, which has the tables; what SQLite raises becomes an InputError."""
    try:
        with open(path, "rb") as stream:
            magic = stream.read(len(MAGIC))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); correct the path") from None
    if magic != MAGIC:
        raise InputError(
            f"{path}: not a SQLite database; give TensorFlow Federated's file, unpacked"
        )
    try:
        # immutable: SQLite writes neither locks nor journals beside the user's file
        uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(uri, uri=True)) as database:
            _check_length(path, database)
            for table, columns in COLUMNS.items():
                found = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
                if missing := columns - found:
                    what = f"no column {', '.join(sorted(missing))} in" if found else "no"
                    raise InputError(
                        f"{path}: {what} table `{table}`; give one of TensorFlow Federated's files"
                    )
            yield database
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: damaged or cut off ({error}); fetch it again") from None


def _check_length(path: Path, database: sqlite3.Connection) -> None:
    """Raise InputError for a file that ends within a page, which SQLite fills with zeros."""
    ((pages,),) = database.execute("PRAGMA page_count")
    ((size,),) = database.execute("PRAGMA page_size")
    found = path.stat().st_size
    if found < pages * size:
        raise InputError(
            f"{path}: cut off, {found} bytes where its header says {pages * size}; fetch it again"
        )


def _splits(path: Path, database: sqlite3.Connection, wanted: str | None) -> tuple[str, str]:
    """The names of the training and test split."""
    names = {str(name) for (name,) in database.execute("SELECT split_name FROM client_metadata")}
    pairs = sorted(
        name.removesuffix("_train")
        for name in names
        if name.endswith("_train") and f"{name.removesuffix('_train')}_test" in names
    )
    if not pairs:
        raise InputError(
            f"{path}: no client of a training and a test split (NAME_train, NAME_test), but of "
            f"{', '.join(sorted(names)[:5]) or 'none'}; fetch the file again"
        )
    if wanted is None:
        usual = [name for name in PAPER if name in pairs] or pairs
        wanted = usual[0] if len(usual) == 1 else None
    if wanted not in pairs:
        what = "several splits" if wanted is None else f"no split {wanted!r}"
        raise InputError(f"{path}: {what}; choose by --split one of {', '.join(pairs)}")
    return f"{wanted}_train", f"{wanted}_test"


def _sizes(path: Path, database: sqlite3.Connection, splits: tuple[str, str]) -> Sizes:
    """How many examples the database says that each client has in each split."""
    sizes: Sizes = {}
    rows = database.execute(
        "SELECT split_name, client_id, num_examples FROM client_metadata "
        "WHERE split_name IN (?, ?)",
        splits,
    )
    for split, client, number in rows:
        key = (split == splits[1], client)
        if not isinstance(client, str) or not isinstance(number, int) or key in sizes:
            raise InputError(
                f"{path}: client {client} of {split} is said to have {number} examples in "
                "`client_metadata`, expected one row, text and a number; fetch the file again"
            )
        sizes[key] = number
    return sizes


def _scan(
    path: Path, database: sqlite3.Connection, splits: tuple[str, str], sizes: Sizes
) -> tuple[Layout, np.ndarray, np.ndarray, np.ndarray]:
    """The layout, and in the table's order: labels (N, T), places in ``sizes``, row ids (N,)."""
    place = {key: number for number, key in enumerate(sizes)}
    layout, labels, keys, row_ids = None, bytearray(), array("l"), array("q")
    # NOT INDEXED: by an index the rows would come in another order, and SQLite would sort GBs
    rows = database.execute(
        "SELECT rowid, split_name, client_id, serialized_example_proto FROM examples NOT INDEXED "
        "WHERE split_name IN (?, ?) ORDER BY rowid",
        splits,
    )
    for row_id, split, client, serialized in sources.progress(rows, f"reading {path.name}"):
        where = f"{path}: client {client}, row id {row_id}"
        key = place.get((split == splits[1], client))
        if key is None:
            raise InputError(f"{where}: client is not in `client_metadata`; fetch the file again")
        features = parse_example(where, serialized)
        layout = layout or layout_of(where, features)
        labels += example_labels(where, features, layout)
        keys.append(key)
        row_ids.append(row_id)
    _check_counts(path, splits, sizes, keys)
    if layout is None:
        raise InputError(f"{path}: no example of {splits[0]}; fetch the file again")
    table = np.frombuffer(bytes(labels), np.uint8).reshape(-1, len(layout.labels))
    return layout, table, np.array(keys, np.int64), np.array(row_ids, np.int64)


def _check_counts(path: Path, splits: tuple[str, str], sizes: Sizes, keys: Sequence[int]) -> None:
    """Raise InputError unless every client has the examples it is said to have."""
    found = Counter(keys)
    for place, ((test, client), number) in enumerate(sizes.items()):
        if found[place] != number:
            raise InputError(
                f"{path}: client {client} of {splits[test]} has {found[place]} examples, "
                f"`client_metadata` says {number}; fetch the file again"
            )
