"""Write HDF5 files of TensorFlow Federated's shape and size, filled with generated images.

`femnist` has 3,400 writers, `celeba` 8,408 and 935 identities, unless asked otherwise. A pool of
images is drawn once and reused, each time with other pixels in a corner, since a data set in which
whole clients are repeated is refused: for measuring readers, not for training.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import h5py
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "workflow")]

from autoprune.core.files import whole_file  # noqa: E402
from autoprune.core.seeds import generator  # noqa: E402
from autoprune.data.prepare.readers.tff_layout import CELEBA, FEMNIST  # noqa: E402
from autoprune.data.prepare.sources import count, discover, progress, whole_number  # noqa: E402

POOL = ("--clients", "40", "--samples", "50")  # about 2,000 images


@dataclass(frozen=True)
class Size:
    """Clients and images of the training and the test file."""

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
    module = discover()[source]
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    samples = module.prepare(parser.parse_args([*POOL, "--seed", str(seed)]))
    return samples.images, samples.labels


def uneven(rng: np.random.Generator, clients: int, images: int) -> np.ndarray:
    """Images of each client (clients,), at least 1, uneven as in real federated data."""
    share = rng.lognormal(0, 0.4, clients)
    sizes = 1 + np.floor(share / share.sum() * (images - clients)).astype(int)
    sizes[: images - sizes.sum()] += 1
    return sizes


def write(
    path: Path, kind: str, clients: Sequence[str], images: int, compression: str | None, seed: int
) -> None:
    """One file: examples/<client>/ with pixels and label, or image and CelebA's attributes."""
    pool, labels = pool_of("glyphs" if kind == "femnist" else "faces", seed)
    if kind == "femnist":
        pool = (pool[..., 0] / 255).astype(np.float32)
    rng = generator(seed, path.name)
    names = list(CELEBA.labels.values())
    sizes = uneven(rng, len(clients), images)
    with whole_file(path) as scratch, h5py.File(scratch, "w") as file:
        examples = file.create_group("examples")
        pairs = list(zip(clients, sizes, strict=True))
        for client, size in progress(pairs, f"writing {path.name}"):
            rows = rng.integers(0, len(pool), size)
            images, corner = pool[rows], rng.integers(0, 256, (size, 4))
            group = examples.create_group(client)
            if kind == "femnist":
                images[:, 0, :4] = corner / 255
                group.create_dataset(FEMNIST.image, data=images, compression=compression)
                group["label"] = labels[rows, 0].astype(np.int32)
                continue
            images[:, 0, :4, 0] = corner
            group.create_dataset(CELEBA.image, data=images, compression=compression)
            drawn = rng.random((len(names), size)) < 0.5
            drawn[names.index("male")], drawn[names.index("smiling")] = labels[rows].T
            for name, values in zip(names, drawn, strict=True):
                group[name] = values


def make(
    kind: str, train: Path, test: Path, size: Size, compression: str | None = None, seed: int = 0
) -> None:
    """Both files; FEMNIST's writers are in both, CelebA's identities in one."""
    number = max(size.train_clients, size.test_clients)
    if kind == "femnist":
        ids = [f"f{writer:04d}_{writer * 7 % 50:02d}" for writer in range(number)]
        parts = ids[: size.train_clients], ids[: size.test_clients]
    else:
        ids = [str(identity) for identity in range(size.train_clients + size.test_clients)]
        parts = ids[: size.train_clients], ids[size.train_clients :]
    write(train, kind, parts[0], size.train_images, compression, seed)
    write(test, kind, parts[1], size.test_images, compression, seed)


def main() -> None:
    """Parse the command line and write both files."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, size in SIZES.items():
        command = kinds.add_parser(kind)
        add = command.add_argument
        add("--train", type=Path, required=True, help="new training file")
        add("--test", type=Path, required=True, help="new test file")
        for name, default in vars(size).items():
            add(f"--{name.replace('_', '-')}", type=count, default=default, help="%(default)s")
        add("--compression", choices=("none", "gzip"), default="none", help="%(default)s")
        add("--seed", type=whole_number, default=0, help="%(default)s")
    args = parser.parse_args()
    size = Size(*(getattr(args, name) for name in vars(SIZES[args.kind])))
    for part in ("train", "test"):
        if getattr(size, f"{part}_images") < getattr(size, f"{part}_clients"):
            parser.error(f"--{part}-images: expected at least one a client")
    compression = None if args.compression == "none" else args.compression
    make(args.kind, args.train, args.test, size, compression, args.seed)


if __name__ == "__main__":
    main()
