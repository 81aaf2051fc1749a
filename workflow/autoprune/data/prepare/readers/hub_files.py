"""Parquet files of a data set on the Hugging Face hub: fetched, found in a folder and read."""

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from autoprune.core.errors import InputError
from autoprune.data.prepare import sources

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Result = TypeVar("Result")

AGAIN = "fetch the file again"
ROWS = 2048  # of one part at least; the hub's row groups have 100
SPLITS = {"train": 0, "valid": 1, "validation": 1, "val": 1, "test": 2}

Part = tuple[Path, range, int]  # a file, some of its row groups, the row of the first image


def find_files(folder: Path) -> dict[Path, int]:
    """The parquet files below a folder, by name, and the split of each: 0, 1 or 2.

    The hub names them train-00000-of-00019.parquet, its converted ones train/0000.parquet.
    Raises InputError when there is none, one of a numbered set is missing or one has no split.
    """
    found = {}
    numbers: dict[str, set[int]] = {}
    for path in sorted(path for path in folder.rglob("*.parquet") if ".cache" not in path.parts):
        name = path.stem.partition("-")[0]
        word = name if name in SPLITS else path.parent.name
        if word not in SPLITS:
            raise InputError(
                f"{path}: of which split? expected a name as {folder / 'train-00000-of-00001'}"
                ".parquet, or a folder train, valid or test"
            )
        found[path] = SPLITS[word]
        if match := re.search(r"-(\d+)-of-(\d+)$", path.stem):
            numbered = f"{path.parent / name}-NUMBER-of-{match[2]}.parquet"
            numbers.setdefault(numbered, set(range(int(match[2])))).discard(int(match[1]))
    for numbered, missing in numbers.items():
        if missing:
            raise InputError(
                f"{numbered.replace('NUMBER', f'{min(missing):05d}')} is missing "
                f"({len(missing)} such files are); put it there"
            )
    if 0 not in found.values():
        what = "file of the split train" if found else "*.parquet file"
        raise InputError(f"{folder}: no {what} in it; put the repository's there")
    return found


def read_columns(files: Sequence[Path], client: str, targets: Sequence[str]) -> "pa.Table":
    """The clients and labels of all files, one after the other; no image is read."""
    import pyarrow as pa

    tables: list[pa.Table] = []
    for path in sources.progress(files, "reading labels"):
        file = opened(path)
        known = file.schema_arrow.names
        for column in (client, *targets, "image"):
            if column not in known:
                raise InputError(f"{path}: no column {column!r}; it has {', '.join(known)}")
        kind = file.schema_arrow.field("image").type
        if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise InputError(f"{path}: column image is {kind}, expected a struct with bytes")
        table = _guarded(
            path, functools.partial(file.read, list(dict.fromkeys([client, *targets])))
        )
        _guarded(path, functools.partial(table.validate, full=True))  # text is UTF-8, say
        for column in table.column_names:
            if table[column].null_count:
                row = table[column].is_null().index(True).as_py()
                raise InputError(f"{path}, row {row}: no {column}; {AGAIN}")
        if tables and not table.schema.equals(tables[0].schema):
            raise InputError(f"{path}: other column types than {files[0]}; fetch both")
        tables.append(table)
    table = pa.concat_tables(tables)
    if not len(table):
        raise InputError(f"{files[0]}: no row in it; {AGAIN}")
    return table


def class_names(path: Path, column: str) -> list[str] | None:
    """The names that the hub's metadata gives to a column's numbers, if it does."""
    try:
        information = json.loads((opened(path).schema_arrow.metadata or {})[b"huggingface"])
        names: list[str] = information["info"]["features"][column]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return names


def parts(files: Sequence[Path]) -> list[Part]:
    """Runs of row groups with ``ROWS`` rows or a few more."""
    found, before = [], 0
    for path in files:
        metadata = opened(path).metadata
        start, rows = 0, 0
        for group in range(metadata.num_row_groups):
            rows += metadata.row_group(group).num_rows
            if rows >= ROWS or (rows and group == metadata.num_row_groups - 1):
                found.append((path, range(start, group + 1), before))
                before, start, rows = before + rows, group + 1, 0
    return found


@functools.lru_cache(maxsize=32)  # a footer of 8,000 row groups takes long to read
def opened(path: Path) -> "pq.ParquetFile":
    """The file, its footer read; InputError unless it is a whole one."""
    import pyarrow.parquet as pq

    def read() -> "pq.ParquetFile":
        # Not whole: a row group may have any size.
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        _ = file.schema_arrow.names  # which must be text
        return file

    return _guarded(path, read)


def _guarded(path: Path, work: Callable[[], Result]) -> Result:
    import pyarrow as pa

    try:
        return work()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a whole parquet file ({reason}); {AGAIN}") from None


def batches(path: Path, groups: range, step: int) -> Iterator["pa.Array"]:
    """The contents of the images of some row groups, ``step`` at a time."""
    found = opened(path).iter_batches(step, list(groups), ["image.bytes"], use_threads=False)
    while (batch := _guarded(path, lambda: next(found, None))) is not None:
        yield batch.column(0).field("bytes")


def fetch(repository: str, revision: str, folder: Path) -> None:
    """Bring a repository's parquet files at one commit to a folder; whole ones stay as they are.

    Interrupted transfers go on where they stopped. Raises InputError when the hub cannot be
    reached or refuses, or a file has not the SHA-256 that the hub names.
    """
    # Read at import. The data are public: no token is looked for.
    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_DISABLE_IMPLICIT_TOKEN="1")
    if not sys.stderr.isatty():
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    import httpx
    from huggingface_hub import HfApi

    api = HfApi(token=False, library_name="autoprune")
    where = f"{repository} at {revision}"
    which: dict[str, Any] = {
        "repo_type": "dataset",
        "revision": revision,
        "local_dir": folder,
    }
    try:
        api.snapshot_download(repository, allow_patterns="*.parquet", **which)
        verified = api.verify_repo_checksums(repository, **which)
    except (httpx.HTTPError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{where}: the hub cannot be reached or refused ({reason}); try again, or use local"
        ) from None
    for wrong in verified.mismatches:
        (folder / wrong["path"]).unlink()
        raise InputError(f"{where}: {wrong['path']} came with another checksum; try again")
