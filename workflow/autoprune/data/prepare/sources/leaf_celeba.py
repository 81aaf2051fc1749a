"""CelebA as LEAF writes it: JSON shards of image names per celebrity, one answer: Smiling."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Samples
from autoprune.data.prepare.readers import leaf_shards
from autoprune.data.prepare.sources import celeba

KIND = "real"
FETCH = "make the shards again with LEAF's preprocess.sh"

Row = tuple[str, str, int, str]  # celebrity, image name, answer, place for messages


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this source's flags."""
    leaf_shards.add_arguments(parser, "celebrity")
    parser.add_argument(
        "--raw",
        type=Path,
        required=True,
        help="folder of img_align_celeba/ or img_align_celeba.zip: LEAF's data/celeba/data/raw",
    )
    celeba.add_frame(parser, "whole")


def prepare(args: argparse.Namespace) -> Samples:
    """Read the shards; images (N, side, side, 3), target Smiling; clients are celebrities.

    Layout after TalwalkarLab/leaf, data/celeba/preprocess/metadata_to_json.py: `x` are file
    names and `y` 0.0 or 1.0, since it halves them by `/`. Raises InputError naming shard, user and
    row of a fault, or the image.
    """
    folders = leaf_shards.folders(args)
    rows, test = [], []
    for part, folder in enumerate(folders):
        found = [row for path in leaf_shards.paths(folder) for row in _read_shard(path)]
        if not found:
            raise InputError(f"{folder}: its *.json files hold no image; {FETCH}")
        rows += found
        test += [part == 1] * len(found)
    seen: dict[str, str] = {}
    for _, name, _, place in rows:
        if name in seen:
            raise InputError(f"{place}{name} was given before ({seen[name]}); {FETCH}")
        seen[name] = place.removesuffix(": ")
    users, names, answers, places = zip(*rows, strict=True)
    root, files = celeba.find_images(args.raw, names, places)
    client_ids, clients = np.unique(users, return_inverse=True)
    return sources.by_client(
        images=decoding.images(root, files, celeba.face_form(args)),
        labels=np.array(answers, np.uint8)[:, None],
        clients=clients,
        client_ids=client_ids.tolist(),
        targets=[{"name": "Smiling", "classes": celeba.ANSWERS}],
        polarity="colour",
        kind=KIND,
        min_samples=args.min_samples,
        seed=args.seed,
        test=np.array(test) if len(folders) == 2 else None,
        test_fraction=args.test_fraction,
    )


def _read_shard(path: Path) -> Iterator[Row]:
    """Every image of a shard, a few MB of names even for all of CelebA."""
    try:
        shard = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {FETCH}") from None
    keys = ("users", "num_samples", "user_data")
    users, numbers, data = map(shard.get, keys) if isinstance(shard, dict) else (None, None, None)
    if not (isinstance(users, list) and isinstance(numbers, list) and isinstance(data, dict)):
        raise InputError(
            f"{path}: not a LEAF shard, expected an object with `users`, `num_samples` and "
            "`user_data`; give only LEAF's data files"
        )
    strings = all(isinstance(user, str) for user in users)
    if not strings or sorted(users) != sorted(data) or len(numbers) != len(users):
        raise InputError(
            f"{path}: `users` names {len(users)}, `num_samples` {len(numbers)} and `user_data` "
            f"{len(data)} users, expected the same ones in each; {FETCH}"
        )
    for user, number in zip(users, numbers, strict=True):
        yield from _read_user(f"{path}: user {user}", user, number, data[user])


def _read_user(where: str, user: str, number: Any, data: Any) -> Iterator[Row]:
    x, y = (data.get("x"), data.get("y")) if isinstance(data, dict) else (None, None)
    if not isinstance(x, list) or not isinstance(y, list):
        raise InputError(f"{where}: expected an object with lists `x` and `y`; {FETCH}")
    if not len(x) == len(y) == number:
        raise InputError(
            f"{where}: {len(x)} images in `x`, {len(y)} answers in `y` and `num_samples` says "
            f"{number}; {FETCH}"
        )
    for row, (name, answer) in enumerate(zip(x, y, strict=True)):
        if not isinstance(name, str):
            kind = "pixels" if isinstance(name, list) else repr(name)[:40]
            raise InputError(
                f"{where}, row {row}: {kind} in `x`, expected the file name of an image; this "
                "source reads LEAF's CelebA only"
            )
        if answer not in (0, 1):
            raise InputError(
                f"{where}, row {row}: answer {repr(answer)[:40]}, expected 0 or 1; {FETCH}"
            )
        yield user, name, int(answer), f"{where}, row {row}: "
