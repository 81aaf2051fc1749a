"""A user's own images by a table (csv, tsv or parquet) of paths, labels and clients."""

import argparse
import csv
import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Samples

KIND = "real"
SPLITS = {"train": 0, "validation": 1, "test": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this source's flags."""
    parser.add_argument(
        "--table",
        type=Path,
        required=True,
        help="a .csv or .tsv with a header line, or a .parquet; one row an image. Paths count from "
        "the table's folder; being the user's own they may lead anywhere",
    )
    for column in ("path", "label", "client"):
        parser.add_argument(
            f"--{column}-column", default=column, help="name of the column (default: %(default)s)"
        )
    parser.add_argument(
        "--split-column",
        help="name of a column of train, validation and test, or of train and test (then the test "
        "rows are halved); default: each client's images are split by seed",
    )
    decoding.add_form(parser)
    parser.add_argument(
        "--name-of-target",
        help="what is to be predicted, as tables name it (default: the label column's name)",
    )
    sources.add_test_fraction(parser)
    sources.add_min_samples(parser)
    sources.add_seed(parser)


def prepare(args: argparse.Namespace) -> Samples:
    """Read the table; images (N, H, W, C) in its order, one target with the labels as classes.

    Raises InputError naming the table's line (a parquet's row, from 1) of a fault, or the image.
    """
    columns = [args.path_column, args.label_column, args.client_column]
    columns += [args.split_column] if args.split_column else []
    files, labels, clients, splits = [], [], [], []
    seen: dict[Path, str] = {}
    for place, (path, label, client, *split) in _rows(args.table, columns):
        file = Path(os.path.normpath(args.table.parent / path))
        if file in seen:
            raise InputError(f"{place}: {path} occurs twice, first on {seen[file]}; remove one")
        if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises for too long a name
            raise InputError(f"{place}: no file {file}; correct the path or remove the row")
        if split and split[0] not in SPLITS:
            raise InputError(
                f"{place}: {args.split_column} is {split[0]!r}, expected one of {', '.join(SPLITS)}"
            )
        seen[file] = place.rpartition(", ")[2]
        files.append((path, f"{place}: "))
        labels.append(label)
        clients.append(client)
        splits += [SPLITS[word] for word in split]
    if not files:
        raise InputError(f"{args.table}: no row in it; expected one for each image")
    form = decoding.form(args, args.table.parent, files[0])
    client_ids, clients = np.unique(clients, return_inverse=True)
    classes, labels = sources.class_numbers(labels, str(args.table))
    samples = {
        "images": decoding.images(args.table.parent, files, form),
        "labels": labels,
        "clients": clients,
        "client_ids": client_ids.tolist(),
        "targets": [{"name": args.name_of_target or args.label_column, "classes": classes}],
        "polarity": decoding.polarity(args),
        "kind": KIND,
        "min_samples": args.min_samples,
        "seed": args.seed,
    }
    if 1 in splits:
        return sources.by_own_split(np.array(splits, np.uint8), **samples)
    test = np.array(splits) == 2 if splits else None
    return sources.by_client(**samples, test=test, test_fraction=args.test_fraction)


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """(table and line, cells of ``columns``) of each row; a cell is never empty."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .csv, .tsv or .parquet")
    readers = {".csv": _csv_rows, ".tsv": _csv_rows, ".parquet": _parquet_rows}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: expected a .csv, .tsv or .parquet, as its name says")
    for place, cells in readers[path.suffix.lower()](path, columns):
        for column, cell in zip(columns, cells, strict=True):
            if not cell:
                raise InputError(f"{place}: {column} is empty; fill it in or remove the row")
            if not cell.isprintable():
                raise InputError(f"{place}: {column} is {cell[:40]!r}, expected printable text")
        yield place, cells


def _csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            # csv, not pandas: a wrong row is to be named by its line, also after a quoted one.
            tab = path.suffix.lower() == ".tsv"
            reader = csv.reader(stream, delimiter="\t" if tab else ",", strict=True)
            header = [name.strip() for name in next(reader, [])]
            places = _places(path, columns, header)
            for cells in reader:
                place = f"{path}, line {reader.line_num}"
                if not any(cells):  # a blank line
                    continue
                if len(cells) != len(header):
                    raise InputError(
                        f"{place}: {len(cells)} cells, the header has {len(header)}; quote a cell "
                        "that has the separator in it"
                    )
                yield place, [cells[number].strip() for number in places]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path}: cannot be read as a table ({error}); save it as UTF-8 {path.suffix}"
        ) from None


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as table:
            _places(path, columns, table.schema_arrow.names)
            row = 0
            for batch in table.iter_batches(columns=list(dict.fromkeys(columns))):
                for cells in zip(*(batch[name].to_pylist() for name in columns), strict=True):
                    row += 1
                    yield (
                        f"{path}, row {row}",
                        ["" if cell is None else str(cell).strip() for cell in cells],
                    )
    except (OSError, pyarrow.ArrowException) as error:
        raise InputError(f"{path}: not a whole parquet file ({error}); write it again") from None


def _places(path: Path, columns: Sequence[str], header: Sequence[str]) -> list[int]:
    """Where ``columns`` stand; InputError naming the flag of one that is not there."""
    for column in columns:
        if header.count(column) != 1:
            near = difflib.get_close_matches(column, header)
            names = ", ".join(near or header) or "none"
            raise InputError(
                f"{path}: {header.count(column)} columns {column!r} (there are: {names}), expected "
                "one; say which by --path-column, --label-column, --client-column, --split-column"
            )
    return [header.index(column) for column in columns]
