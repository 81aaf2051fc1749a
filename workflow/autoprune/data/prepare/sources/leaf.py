"""FEMNIST as LEAF writes it: JSON shards of writers, their pixels and labels."""

import gzip
import sys
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import closing, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, Self, cast

import numpy as np
from pydantic import model_validator

from autoprune.core.errors import InputError, shown
from autoprune.data.prepare import sources, workers
from autoprune.data.prepare.images import Images, Samples
from autoprune.data.prepare.sources import CHARACTERS

KIND = "real"
SIDE = 28  # pixels
ENDINGS = (".json", ".json.gz")
NESTED = 10_000  # brackets; LEAF has 4, and the parser's memory grows with the square

Pool = dict[str, list[tuple[Path, np.ndarray]]]  # user -> (shard, labels)


class Options(sources.Split):
    """What may be set."""

    folder: Path | None = sources.reads(
        *ENDINGS,
        description="Folder of LEAF's shards (.json, .json.gz) without a split, instead of `train` "
        "and `test`; each writer's samples are then split by seed. Where none lies in the folder "
        "itself, those of the folders in it are read.",
    )
    train: Path | None = sources.reads(
        *ENDINGS, description="Folder of LEAF's training shards, which keeps LEAF's split."
    )
    test: Path | None = sources.reads(
        *ENDINGS, description="Folder of LEAF's test shards, with `train`."
    )

    @model_validator(mode="after")
    def _folder_or_split(self) -> Self:
        given = bool(self.train), bool(self.test), bool(self.folder)
        if given not in ((True, True, False), (False, False, True)):
            raise ValueError("leaf needs train and test, or folder alone")
        if self.train and self.test and self.train.resolve() == self.test.resolve():
            raise ValueError(f"train and test are one folder, {self.train}; use folder")
        return self

    @property
    def folders(self) -> list[Path]:
        """The folder without a split, or those for training and test."""
        return [folder for folder in (self.folder, self.train, self.test) if folder]


def prepare(options: Options, processes: int = 1) -> Samples:
    """Samples of (28, 28, 1), dark on light; InputError names the place of a fault.

    The labels are read now, a writer at a time, and the pixels when the store is written.
    """
    pools = [_read_folder(folder, processes) for folder in options.folders]
    users = sorted(set().union(*pools))  # so that client numbers do not depend on shard order
    parts: dict[Path, dict[str, int]] = {}
    labels, clients, splits = [], [], []
    row = 0
    for number, user in enumerate(users):
        for part, pool in enumerate(pools):
            for path, classes in pool.get(user, ()):
                parts.setdefault(path, {})[user] = row
                row += len(classes)
                labels.append(classes)
                clients.append(np.full(len(classes), number))
                splits.append(np.full(len(classes), 2 * part))
    return sources.by_client(
        options,
        images=Images((row, SIDE, SIDE, 1), sorted(parts.items()), read_images, itemgetter(0)),
        labels=np.concatenate(labels)[:, None],
        clients=np.concatenate(clients),
        client_ids=users,
        targets=[{"name": "character", "classes": CHARACTERS}],
        polarity="dark-on-light",
        kind=KIND,
        splits=np.concatenate(splits) if len(pools) == 2 else None,
    )


def read_images(part: tuple[Path, dict[str, int]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows (n,) and images (n, 28, 28, 1) uint8 of each user of one shard.

    ``part`` is the shard and every user's first row.
    """
    path, first = part
    for user, data in _users(path):
        pixels = _pixels(path, user, data["x"])
        yield first[user] + np.arange(len(pixels)), pixels.reshape(-1, SIDE, SIDE, 1)


def _read_folder(folder: Path, processes: int) -> Pool:
    """Every user's labels, by user, of all shards of a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of LEAF's *.json shards")
    paths = _shards(folder)
    pool: Pool = {}
    with closing(workers.each(_read_labels, None, paths, processes)) as shards:
        found = zip(sources.progress(paths, f"reading {folder.name}"), shards, strict=True)
        for path, shard in found:
            for user, classes in shard:
                if user in pool:
                    print(f"{path}: user {shown(user)} occurred before; merged", file=sys.stderr)
                pool.setdefault(user, []).append((path, classes))
    if not pool:
        raise InputError(f"{folder}: its {len(paths)} shards hold no user; fetch them again")
    return pool


def _shards(folder: Path) -> list[Path]:
    """The shards in a folder, or else those of the folders in it; sorted by name."""
    for pattern in ("*", "**/*"):
        paths = sorted(path for path in folder.glob(pattern) if path.name.endswith(ENDINGS))
        inner = {part for path in paths for part in path.relative_to(folder).parts[:-1]}
        if {"train", "test"} <= inner:
            raise InputError(
                f"{folder}: has LEAF's split, folders train and test; give them as train and test"
            )
        for path in paths:
            if path.suffix == ".gz" and path.with_suffix("") in paths:
                raise InputError(f"{path}: the same shard lies unpacked beside it; remove one")
        if paths:
            return paths
    raise InputError(
        f"{folder}: no *.json or *.json.gz file in it; give the folder of LEAF's shards"
    )


def _read_labels(_: None, path: Path) -> list[tuple[str, np.ndarray]]:
    """(user, labels (n,) uint8) of each user of one shard; what is wrong with it but pixels."""
    if not _is_shard(path):
        raise InputError(
            f"{path}: not a LEAF shard, expected an object with `users`, `num_samples` and "
            "`user_data`; give only LEAF's data files"
        )
    data: dict[str, np.ndarray] = {}
    for user, value in _users(path):
        if user in data:
            raise InputError(f"{path}: user {user} is in `user_data` more than once; fix the file")
        data[user] = _labels(path, user, value)
    users = _first(path, "users", list(data))
    if not isinstance(users, list) or not all(isinstance(user, str) for user in users):
        raise InputError(f"{path}: `users` is not a list of strings; fetch the file again")
    if len(set(users)) != len(users):
        twice = next(user for user in users if users.count(user) > 1)
        raise InputError(f"{path}: user {twice} is listed more than once in `users`; list it once")
    for missing in sorted(set(users) - data.keys()):
        raise InputError(
            f"{path}: user {missing} is listed in `users` but not in `user_data`; "
            "fetch the file again"
        )
    for extra in sorted(data.keys() - set(users)):
        raise InputError(
            f"{path}: user {extra} is in `user_data` but not listed in `users`; list it there"
        )
    numbers = _first(path, "num_samples", [len(data[user]) for user in users])
    if not isinstance(numbers, list) or len(numbers) != len(users):
        raise InputError(
            f"{path}: `num_samples` is not a list of {len(users)} numbers, one a user; "
            "fetch the file again"
        )
    for number, user in zip(numbers, users, strict=True):
        if number != len(data[user]):
            raise InputError(
                f"{path}: user {user}: `num_samples` says {number}, found {len(data[user])} "
                "samples; fetch the file again"
            )
    return [(user, data[user]) for user in users]


class _Flat:
    """A file's bytes; refuses brackets nested so deep that the parser would eat the memory."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path, self.stream, self.depth = path, stream, 0

    def read(self, size: int) -> bytes:
        """The next bytes, up to ``size``."""
        data = self.stream.read(size)
        opened = data.count(b"[") + data.count(b"{")
        if self.depth + opened > NESTED:
            raise InputError(f"{self.path}: lists are nested too deep; fetch the file again")
        self.depth += opened - data.count(b"]") - data.count(b"}")
        return data


@contextmanager
def _parsing(path: Path) -> Iterator[_Flat]:
    """The shard for `ijson`; what it refuses, or the disk, becomes an InputError."""
    from ijson import JSONError

    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            stream = cast(BinaryIO, file)
            if stream.read(len(BOM_UTF8)) != BOM_UTF8:
                stream.seek(0)
            yield _Flat(path, stream)
    except JSONError as error:
        # The first of its lines; it is the repr() of bytes where they are not UTF-8.
        reason = str(error).removeprefix("b'").replace("\\n", "\n").split("\n")[0]
        raise InputError(
            f"{path}: not valid JSON ({reason}); make or fetch the file again"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}); fetch the file again") from None


def _users(path: Path) -> Iterator[tuple[str, Any]]:
    """Each user and what `user_data` says of it, one at a time."""
    import ijson

    with _parsing(path) as stream:
        yield from ijson.kvitems(stream, "user_data", use_float=True)


def _first(path: Path, key: str, default: Any) -> Any:
    """The value of a key of the shard; reads no further than there."""
    import ijson

    with _parsing(path) as stream:
        return next(ijson.items(stream, key, use_float=True), default)


def _is_shard(path: Path) -> bool:
    """Whether the shard is an object in which `user_data` is one; reads no further than there."""
    import ijson

    with _parsing(path) as stream:
        for prefix, event, _ in ijson.parse(stream, use_float=True):
            if prefix == "user_data" or (prefix == "" and event not in ("start_map", "map_key")):
                return prefix == "user_data" and event == "start_map"
    return False


def _labels(path: Path, user: str, data: Any) -> np.ndarray:
    """A user's labels (n,) uint8, one for each of its images."""
    where = f"{path}: user {user}"
    x, y = (data.get("x"), data.get("y")) if isinstance(data, dict) else (None, None)
    if not isinstance(x, list) or not isinstance(y, list):
        raise InputError(f"{where}: expected an object with lists `x` and `y`; fetch it again")
    if len(x) != len(y):
        raise InputError(
            f"{where}: {len(x)} images in `x` but {len(y)} labels in `y`; fix the file"
        )
    for row, label in enumerate(y):
        if type(label) is not int or not 0 <= label < len(CHARACTERS):
            raise InputError(
                f"{where}, row {row}: label {_short(label)}, expected an integer from 0 to "
                f"{len(CHARACTERS) - 1}; fix or remove the row"
            )
    return np.array(y, np.uint8)


def _pixels(path: Path, user: str, x: list[Any]) -> np.ndarray:
    """A user's images (n, 784) uint8, 255 for white."""
    try:
        images = np.asarray(x)  # all at once is fast
    except ValueError:  # lists of unlike lengths
        images = np.empty(0)
    whole = images.shape == (len(x), SIDE * SIDE) and images.dtype.kind in "fiu"
    if whole and ((images >= 0) & (images <= 1)).all():
        return np.rint(images * 255).astype(np.uint8)
    rows = [_read_image(f"{path}: user {user}, row {row}", v) for row, v in enumerate(x)]
    return np.array(rows, np.uint8).reshape(-1, SIDE * SIDE)


def _read_image(where: str, values: Any) -> np.ndarray:
    """784 numbers in [0, 1] become uint8, 255 for white."""
    if not isinstance(values, list) or len(values) != SIDE * SIDE:
        found = f"{len(values)} pixels" if isinstance(values, list) else _short(values)
        raise InputError(f"{where}: {found}, expected {SIDE * SIDE} pixels; fix or remove the row")
    try:
        image = np.asarray(values)
    except ValueError:  # a list among the numbers
        image = np.empty(0)
    if image.shape != (SIDE * SIDE,) or image.dtype.kind not in "fiu":
        wrong = next((v for v in values if type(v) not in (int, float)), values)
        raise InputError(f"{where}: pixel {_short(wrong)}, expected a number in 0..1; fix the row")
    inside = (image >= 0) & (image <= 1)  # also false for NaN
    if not inside.all():
        raise InputError(
            f"{where}, pixel {int(np.argmin(inside))}: {image[np.argmin(inside)]}, expected a "
            "number in 0..1; divide by the full scale, or fix or remove the row"
        )
    return np.rint(image * 255).astype(np.uint8)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
