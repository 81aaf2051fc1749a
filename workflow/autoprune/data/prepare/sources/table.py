"""A user's own images by a table (csv, tsv or parquet) of paths, labels and clients."""

import difflib
import math
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field, model_validator

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Samples

if TYPE_CHECKING:
    import pandas as pd

KIND = "real"
SPLITS = {"train": 0, "validation": 1, "test": 2}
ENDINGS = (".csv", ".tsv", ".parquet")
LOST = ("", "nan")  # what pandas writes for a cell that it has no value of, the case aside


class Options(decoding.Own):
    """What may be set."""

    table: Path = sources.reads(
        *ENDINGS,
        default=...,
        description="A .csv or .tsv with a header line, or a .parquet; one row an image. Paths "
        "count from its folder; being the user's own they may lead anywhere.",
    )
    path_column: str = Field("path", description="Column of the images' paths.")
    label_column: str = Field("label", description="Column of the labels.")
    label_columns: list[str] | None = Field(
        None,
        min_length=1,
        description="Columns of labels, each a target of its own, instead of `label_column`: for "
        "several answers at once.",
    )
    number_columns: list[str] | None = Field(
        None,
        min_length=1,
        description="Columns of numbers, each a target of its own, for a regression; "
        "`label_column` is read beside them where it is given.",
    )
    client_column: str = Field("client", description="Column of the clients.")
    split_column: str | None = Field(
        None,
        description="Column of `train`, `validation` and `test`, or of `train` and `test`, whose "
        "rows are then halved; without it each client's images are split by seed.",
    )

    @model_validator(mode="after")
    def _columns_once(self) -> Self:
        if self.label_columns and "label_column" in self.model_fields_set:
            raise ValueError("give label_column or label_columns, not both")
        if len(names := self.classed + (self.number_columns or [])) > len({*names}):
            raise ValueError(f"a target column is named twice among {', '.join(names)}")
        return self

    @property
    def classed(self) -> list[str]:
        """The columns of labels."""
        alone = "label_column" in self.model_fields_set or not self.number_columns
        return self.label_columns or ([self.label_column] if alone else [])


def prepare(options: Options, processes: int = 1) -> Samples:
    """Read the table; images (N, H, W, C) in its order, a target a column of labels or numbers.

    Raises InputError naming the table's row (from 1, below the header) of a fault, or the image.
    """
    table = options.table
    own = [*options.classed, *(options.number_columns or [])]
    columns = [options.path_column, *own, options.client_column]
    columns += [options.split_column] if options.split_column else []
    paths, *rest = _read(table, columns)
    labels, (clients, *splits) = rest[: len(own)], rest[len(own) :]
    places = [f"{table}, row {row}" for row in range(1, len(paths) + 1)]
    _check_files(table.parent, paths, places)
    for place, split in zip(places, splits[0] if splits else (), strict=False):
        if split not in SPLITS:
            raise InputError(
                f"{place}: {options.split_column} is {split!r}, expected one of {', '.join(SPLITS)}"
            )
    files = [(path, f"{place}: ") for path, place in zip(paths, places, strict=True)]
    return options.samples(
        table.parent,
        files,
        clients,
        _targets(options, dict(zip(own, labels, strict=True)), places),
        splits=np.array([SPLITS[split] for split in splits[0]]) if splits else None,
    )


def _targets(
    options: Options, columns: Mapping[str, list[str]], places: Sequence[str]
) -> dict[str, tuple[list[str], np.ndarray]]:
    """Each target's classes and labels (image, 1), no classes for numbers."""
    found: dict[str, tuple[list[str], np.ndarray]] = {}
    for column, texts in columns.items():
        if column not in options.classed:
            cells = zip(places, texts, strict=True)
            found[column] = [], np.array([[_number(*cell, column)] for cell in cells])
        else:
            alone = len(options.classed) == 1
            name = (options.name_of_target if alone else None) or column
            where = str(options.table) if alone else f"{options.table}: {column}"
            found[name] = sources.class_numbers(texts, where)
    return found


def _number(place: str, text: str, column: str) -> float:
    """A cell of a column of numbers."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{place}: {column} is {text!r}, expected a finite number")
    return number


def _check_files(folder: Path, paths: list[str], places: list[str]) -> None:
    """Raise InputError for a path that occurs twice or names no file."""
    seen: dict[str, str] = {}
    for place, path in zip(places, paths, strict=True):
        file = os.path.normpath(folder / path)
        if file in seen:
            raise InputError(f"{place}: {path} occurs twice, first in {seen[file]}; remove one")
        if not os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises for too long a name
            raise InputError(f"{place}: no file {file}; correct the path or remove the row")
        seen[file] = place.rpartition(", ")[2]


def _read(path: Path, columns: list[str]) -> list[list[str]]:
    """The cells of ``columns``, none of them empty, each column a list."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .csv, .tsv or .parquet")
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: expected a .csv, .tsv or .parquet, as its name says")
    header, rows = _cells(path)
    if rows.empty:
        raise InputError(f"{path}: no row in it; expected one for each image")
    found = []
    for column in columns:
        if header.count(column) != 1:
            near = difflib.get_close_matches(column, header)
            raise InputError(
                f"{path}: {header.count(column)} columns {column!r} (there are: "
                f"{', '.join(near or header)}), expected one; say which by path_column, "
                "label_column, client_column, split_column"
            )
        cells = rows.iloc[:, header.index(column)]
        texts = [
            "" if lost else str(cell).strip()
            for cell, lost in zip(cells, cells.isna(), strict=True)
        ]
        for row, text in enumerate(texts, 1):
            if text.lower() in LOST:
                said = f"{text}, no value" if text else "empty"
                raise InputError(f"{path}, row {row}: {column} is {said}; fill it in or remove it")
            if not text.isprintable():
                raise InputError(
                    f"{path}, row {row}: {column} is {text[:40]!r}, expected printable text"
                )
        found.append(texts)
    return found


def _check_text(path: Path) -> None:
    """Raise InputError, naming the row, for a text file that is not UTF-8."""
    text = path.read_bytes()
    try:
        text.decode()
    except UnicodeDecodeError as error:
        row = text.count(b"\n", 0, error.start)
        where = f"row {row}" if row else "header"
        looks = "UTF-16" if text[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "Latin-1 or Windows-1252"
        raise InputError(
            f"{path}, {where}: byte {text[error.start]:#x} is not UTF-8, it looks like {looks}; "
            "save the table as UTF-8"
        ) from None


def _cells(path: Path) -> "tuple[list[str], pd.DataFrame]":
    """The header and the rows below it; of a text file all cells are text."""
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            table = pd.read_parquet(path)
            return list(table.columns), table
        _check_text(path)
        tab = path.suffix.lower() == ".tsv"
        # no header for pandas, which would rename a column that is there twice
        table = pd.read_csv(
            path,
            sep="\t" if tab else ",",
            header=None,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
        )
    # pandas' and pyarrow's own errors are ValueErrors, or OSErrors
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as a table ({reason}); save it as {path.suffix}, text as UTF-8"
        ) from None
    return [str(name).strip() for name in table.iloc[0]], table.iloc[1:]
