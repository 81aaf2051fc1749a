"""Write a database of TensorFlow Federated's shape and size, filled with generated images.

`femnist` has 3,400 writers, `celeba` 8,408 and 935 identities, unless asked otherwise. A pool of
images is drawn once and reused, each time with other pixels in a corner, since a data set in which
whole clients are repeated is refused: for measuring readers, not for training.
"""

import argparse
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "workflow")]

from autoprune.core.files import whole_file  # noqa: E402
from autoprune.core.seeds import generator  # noqa: E402
from autoprune.data.prepare.readers.tff_example import CELEBA, example_class  # noqa: E402
from autoprune.data.prepare.sources import load, progress  # noqa: E402

POOL = {"clients": 40, "samples": 50}  # about 2,000 images
TABLES = """
CREATE TABLE examples (split_name TEXT NOT NULL, client_id TEXT NOT NULL,
    serialized_example_proto BLOB NOT NULL);
CREATE TABLE client_metadata (client_id TEXT NOT NULL, split_name TEXT NOT NULL,
    num_examples INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Size:
    """Clients and images of the training and the test split."""

    train_clients: int
    train_images: int
    test_clients: int
    test_images: int


# The numbers of the authors' notebooks; CelebA's training images and test identities are what
# LEAF's 200,288 images of 9,343 identities leave.
SIZES = {
    "femnist": Size(3_400, 671_585, 3_400, 77_483),
    "celeba": Size(8_408, 180_429, 935, 19_859),
}


@cache
def pool_of(source: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, H, W, C) uint8 and labels (n, T) of a generated source."""
    module = load(source)
    samples = module.prepare(module.Options(**POOL, seed=seed))
    return samples.images, samples.labels


def uneven(rng: np.random.Generator, clients: int, images: int) -> np.ndarray:
    """Images of each client (clients,), at least 1, uneven as in real federated data."""
    share = rng.lognormal(0, 0.4, clients)
    sizes = 1 + np.floor(share / share.sum() * (images - clients)).astype(int)
    sizes[: images - sizes.sum()] += 1
    return sizes


def examples(
    kind: str, split: str, clients: Sequence[str], images: int, seed: int
) -> Iterator[tuple[str, list[bytes]]]:
    """Each client's serialized examples: pixels and label, or image and CelebA's attributes."""
    pool, labels = pool_of("glyphs" if kind == "femnist" else "faces", seed)
    rng = generator(seed, split)
    names = list(CELEBA.labels.values())
    for client, size in zip(clients, uneven(rng, len(clients), images), strict=True):
        rows = rng.integers(0, len(pool), size)
        found = pool[rows].copy()
        found[:, 0, :4, 0] = rng.integers(0, 256, (size, 4))
        drawn = rng.random((size, len(names))) < 0.5
        made = []
        for image, of_image, attributes in zip(found, labels[rows], drawn, strict=True):
            example = example_class()()
            feature = example.features.feature
            if kind == "femnist":
                feature["pixels"].float_list.value.extend((image / 255).ravel().tolist())
                feature["label"].int64_list.value.append(int(of_image[0]))
            else:
                attributes[names.index("male")], attributes[names.index("smiling")] = of_image
                feature["image"].int64_list.value.extend(image.ravel().tolist())
                for name, value in zip(names, attributes, strict=True):
                    feature[name].int64_list.value.append(int(value))
            made.append(example.SerializeToString())
        yield client, made


def make(kind: str, path: Path, size: Size, seed: int = 0) -> None:
    """The database; FEMNIST's writers are in both splits, CelebA's identities in one."""
    number = max(size.train_clients, size.test_clients)
    if kind == "femnist":
        ids = [f"f{writer:04d}_{writer * 7 % 50:02d}" for writer in range(number)]
        parts = ids[: size.train_clients], ids[: size.test_clients]
        name = "all"
    else:
        ids = [str(identity) for identity in range(size.train_clients + size.test_clients)]
        parts = ids[: size.train_clients], ids[size.train_clients :]
        name = "split_by_clients"
    with whole_file(path) as scratch, closing(sqlite3.connect(scratch)) as database:
        database.executescript(TABLES)
        for end, clients, images in (
            ("train", parts[0], size.train_images),
            ("test", parts[1], size.test_images),
        ):
            split = f"{name}_{end}"
            made = examples(kind, split, clients, images, seed)
            for client, rows in progress(made, f"writing {split}"):
                database.executemany(
                    "INSERT INTO examples VALUES (?, ?, ?)", [(split, client, row) for row in rows]
                )
                database.execute(
                    "INSERT INTO client_metadata VALUES (?, ?, ?)", (client, split, len(rows))
                )
        database.commit()


def main() -> None:
    """Parse the command line and write the database."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, size in SIZES.items():
        command = kinds.add_parser(kind)
        add = command.add_argument
        add("--output", type=Path, required=True, help="new database")
        for name, default in vars(size).items():
            add(f"--{name.replace('_', '-')}", type=int, default=default, help="%(default)s")
        add("--seed", type=int, default=0, help="%(default)s")
    args = parser.parse_args()
    size = Size(*(getattr(args, name) for name in vars(SIZES[args.kind])))
    for part in ("train", "test"):
        if getattr(size, f"{part}_images") < getattr(size, f"{part}_clients"):
            parser.error(f"--{part}-images: expected at least one a client")
    make(args.kind, args.output, size, args.seed)


if __name__ == "__main__":
    main()
