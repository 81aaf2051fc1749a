"""FEMNIST as LEAF writes it: JSON shards of writers, their pixels and labels."""

import argparse
import string
import sys
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.data import sources
from autoprune.data.store import Samples
from autoprune.errors import InputError
from autoprune.files import read_json

KIND = "real"
SIDE = 28  # pixels
CLASSES = [*string.digits, *string.ascii_uppercase, *string.ascii_lowercase]

Pool = dict[str, list[tuple[np.ndarray, np.ndarray]]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this source's flags."""
    parser.add_argument("--train", type=Path, help="folder of LEAF's training shards (*.json)")
    parser.add_argument(
        "--test", type=Path, help="folder of LEAF's test shards (*.json); keeps LEAF's own split"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="folder of shards (*.json) with no split, instead of --train and --test; each "
        "writer's samples are then split by seed",
    )
    sources.add_test_fraction(parser)
    sources.add_min_samples(parser)
    sources.add_seed(parser)


def prepare(args: argparse.Namespace) -> Samples:
    """Read the shards into (N, 28, 28, 1), dark on light; InputError names the place of a fault."""
    if args.folder and not (args.train or args.test):
        pools = [_read_folder(args.folder)]
    elif args.train and args.test and not args.folder:
        if args.train.resolve() == args.test.resolve():
            raise InputError(f"{args.train}: --train and --test are one folder; use --folder")
        pools = [_read_folder(args.train), _read_folder(args.test)]
    else:
        raise InputError("leaf needs --train FOLDER and --test FOLDER, or --folder FOLDER alone")

    users = sorted(set().union(*pools))  # so that client numbers do not depend on shard order
    images, labels, clients, test = [], [], [], []
    for number, user in enumerate(users):
        for part, pool in enumerate(pools):
            for pixels, classes in pool.get(user, ()):
                images.append(pixels)
                labels.append(classes)
                clients.append(np.full(len(classes), number))
                test.append(np.full(len(classes), part == 1))
    return sources.by_client(
        images=np.concatenate(images).reshape(-1, SIDE, SIDE, 1),
        labels=np.concatenate(labels)[:, None],
        clients=np.concatenate(clients),
        client_ids=users,
        targets=[{"name": "character", "classes": CLASSES}],
        polarity="dark-on-light",
        kind=KIND,
        min_samples=args.min_samples,
        seed=args.seed,
        test=np.concatenate(test) if len(pools) == 2 else None,
        test_fraction=args.test_fraction,
    )


def _read_folder(folder: Path) -> Pool:
    """Every user's parts, by user, of all shards of a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of LEAF's *.json shards")
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise InputError(f"{folder}: no *.json file in it; give the folder of LEAF's shards")
    pool: Pool = {}
    for path in sources.progress(paths, f"reading {folder.name}"):
        for user, pixels, classes in _read_shard(path):
            if user in pool:
                print(f"{path}: user {user} occurred before; merged", file=sys.stderr)
            pool.setdefault(user, []).append((pixels, classes))
    if not pool:
        raise InputError(f"{folder}: its {len(paths)} *.json files hold no user; fetch them again")
    return pool


def _read_shard(path: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(user, pixels (n, 784) uint8, classes (n,) uint8) of each user of one shard."""
    try:
        shard = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); fetch the file again") from None
    if not isinstance(shard, dict) or not isinstance(shard.get("user_data"), dict):
        raise InputError(
            f"{path}: not a LEAF shard, expected an object with `users`, `num_samples` and "
            "`user_data`; give only LEAF's data files"
        )
    data = shard["user_data"]
    users = shard.get("users", list(data))
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
    parts = [(user, *_read_user(path, user, data[user])) for user in users]
    numbers = shard.get("num_samples", [len(classes) for _, _, classes in parts])
    if not isinstance(numbers, list) or len(numbers) != len(users):
        raise InputError(
            f"{path}: `num_samples` is not a list of {len(users)} numbers, one a user; "
            "fetch the file again"
        )
    for number, (user, _, classes) in zip(numbers, parts, strict=True):
        if number != len(classes):
            raise InputError(
                f"{path}: user {user}: `num_samples` says {number}, found {len(classes)} samples; "
                "fetch the file again"
            )
    return parts


def _read_user(path: Path, user: str, data: Any) -> tuple[np.ndarray, np.ndarray]:
    where = f"{path}: user {user}"
    x, y = (data.get("x"), data.get("y")) if isinstance(data, dict) else (None, None)
    if not isinstance(x, list) or not isinstance(y, list):
        raise InputError(f"{where}: expected an object with lists `x` and `y`; fetch it again")
    if len(x) != len(y):
        raise InputError(
            f"{where}: {len(x)} images in `x` but {len(y)} labels in `y`; fix the file"
        )
    for row, label in enumerate(y):
        if type(label) is not int or not 0 <= label < len(CLASSES):
            raise InputError(
                f"{where}, row {row}: label {_short(label)}, expected an integer from 0 to "
                f"{len(CLASSES) - 1}; fix or remove the row"
            )
    pixels = np.empty((len(x), SIDE * SIDE), np.uint8)
    for row, values in enumerate(x):
        pixels[row] = _read_image(f"{where}, row {row}", values)
    return pixels, np.array(y, np.uint8)


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
