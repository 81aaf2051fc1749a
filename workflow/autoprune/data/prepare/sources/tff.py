"""TensorFlow Federated's archives of FEMNIST and CelebA: the paper's split."""

import argparse
from pathlib import Path

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.data.fetch import extract
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Samples
from autoprune.data.prepare.readers import tff_hdf5, tff_sqlite
from autoprune.data.prepare.readers.tff_layout import CHARACTERS, FEMNIST, Examples, first_bytes

KIND = "real"
SQUEEZED = (".lzma", ".xz")  # one file; anything else is an archive of several
# More than the largest is: a CelebA database has every image twice.
MAX_FILES, MAX_BYTES = 16, 60 * 10**9


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this source's flags."""
    parser.add_argument(
        "--archive",
        type=Path,
        help="the file as downloaded, fed_emnist.tar.bz2 (HDF5), emnist_all.sqlite.lzma or "
        "celeba.sqlite.lzma (SQLite); unpacked once",
    )
    parser.add_argument(
        "--unpacked", type=Path, help="folder to unpack into (default: next to the archive)"
    )
    parser.add_argument("--train", type=Path, help="training file (*_train.h5), with --test")
    parser.add_argument("--test", type=Path, help="test file (*_test.h5), with --train")
    parser.add_argument("--database", type=Path, help="an unpacked *.sqlite, instead of the others")
    parser.add_argument(
        "--split",
        help="of a database: take NAME_train and NAME_test; FEMNIST has all and digits_only, "
        "CelebA has split_by_clients and split_by_examples (default: all or split_by_clients, "
        "the paper's)",
        metavar="NAME",
    )
    sources.add_min_samples(parser)
    sources.add_seed(parser)


def prepare(args: argparse.Namespace) -> Samples:
    """Read the labels; images, (N, 28, 28, 1) or (N, 84, 84, 3), follow when they are stored.

    Training examples stay so, the pooled test examples are halved into validation and test.
    FEMNIST has the target "character" of 62 classes, or 10 where all labels are digits; CelebA
    its 40 attributes, named as in its own files. InputError names file, client and row.
    """
    examples = _read(args)
    layout = examples.layout
    classes = list(layout.classes)
    if layout == FEMNIST and examples.labels.max() < 10:
        classes = CHARACTERS[:10]
    return sources.by_client(
        images=examples.images,
        labels=examples.labels,
        clients=examples.clients,
        client_ids=examples.client_ids,
        targets=[{"name": name, "classes": classes} for name in layout.labels],
        polarity=layout.polarity,
        kind=KIND,
        min_samples=args.min_samples,
        seed=args.seed,
        test=examples.test,
    )


def _read(args: argparse.Namespace) -> Examples:
    """The examples of what the flags name."""
    given = [bool(args.archive), bool(args.train and args.test), bool(args.database)]
    if sum(given) != 1 or bool(args.train) != bool(args.test):
        raise InputError(
            "tff needs --archive FILE, or --train FILE and --test FILE, or --database FILE alone"
        )
    if args.unpacked and not args.archive:
        raise InputError(f"--unpacked {args.unpacked}: only --archive FILE is unpacked")
    if args.archive:
        found = _unpack(args.archive, args.unpacked)
    else:
        found = [args.database] if args.database else [args.train, args.test]
    if len(found) == 1:
        return tff_sqlite.read_sqlite(found[0], args.split)
    if args.split is not None:
        raise InputError(f"--split {args.split}: two HDF5 files hold one split; leave it out")
    _check_pair(*found)
    return tff_hdf5.read_hdf5(*found, args.workers)


def _check_pair(train: Path, test: Path) -> None:
    """Raise InputError when both are missing or one file, or copies of one."""
    for path in (train, test):
        first_bytes(path, 1)
    if train.samefile(test) or (
        train.stat().st_size == test.stat().st_size and sha256_file(train) == sha256_file(test)
    ):
        raise InputError(f"{train} and {test} are the same; give the training and the test file")


def _unpack(archive: Path, folder: Path | None) -> list[Path]:
    """The database, or the training and the test file, that come out of an archive."""
    start = first_bytes(archive, 256).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        raise InputError(
            f"{archive}: a web page, not an archive; remove it and fetch it again, or by hand"
        )
    if archive.suffix in SQUEEZED and ".tar" not in archive.suffixes:
        target = (folder or archive.parent) / archive.stem
        extract.decompress(archive, target, MAX_BYTES)
        return [target]
    folder = folder or archive.with_name(archive.name.split(".")[0])
    if folder == archive:
        raise InputError(f"{archive}: expected a name that ends in .tar.bz2 or .lzma; rename it")
    extract.extract(archive, folder, MAX_FILES, MAX_BYTES)
    return _members(archive, folder)


def _members(archive: Path, folder: Path) -> list[Path]:
    """The data files of an unpacked folder, known by their first bytes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    starts = {path: first_bytes(path, 16) for path in paths}
    databases = [path for path in paths if starts[path] == tff_sqlite.MAGIC]
    files = [path for path in paths if starts[path].startswith(tff_hdf5.MAGIC)]
    train, test = ([p for p in files if p.stem.endswith(end)] for end in ("_train", "_test"))
    if len(databases) == 1 and not files:
        return databases
    if not databases and len(train) == len(test) == 1 and len(files) == 2:
        return [train[0], test[0]]
    names = ", ".join(str(path.relative_to(folder)) for path in paths[:5])
    raise InputError(
        f"{archive}: holds {names}; expected two HDF5 files, *_train.h5 and *_test.h5, or one "
        "SQLite database"
    )
