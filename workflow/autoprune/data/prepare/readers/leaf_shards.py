"""Where LEAF's JSON shards lie: the flags and folders that its data sets share."""

import argparse
from pathlib import Path

from autoprune.core.errors import InputError
from autoprune.data.prepare import sources


def add_arguments(parser: argparse.ArgumentParser, owner: str) -> None:
    """Add the flags of the shards, of which each ``owner`` (a writer, ...) has some samples."""
    parser.add_argument("--train", type=Path, help="folder of LEAF's training shards (*.json)")
    parser.add_argument(
        "--test", type=Path, help="folder of LEAF's test shards (*.json); keeps LEAF's own split"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="folder of shards (*.json) with no split, instead of --train and --test; each "
        f"{owner}'s samples are then split by seed",
    )
    sources.add_test_fraction(parser)
    sources.add_min_samples(parser)
    sources.add_seed(parser)


def folders(args: argparse.Namespace) -> list[Path]:
    """The folder without a split, or those for training and test; InputError for other flags."""
    if args.folder and not (args.train or args.test):
        return [args.folder]
    if not (args.train and args.test) or args.folder:
        raise InputError(
            f"{args.source} needs --train FOLDER and --test FOLDER, or --folder FOLDER alone"
        )
    if args.train.resolve() == args.test.resolve():
        raise InputError(f"{args.train}: --train and --test are one folder; use --folder")
    return [args.train, args.test]


def paths(folder: Path) -> list[Path]:
    """The shards of a folder, sorted; InputError when there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of LEAF's *.json shards")
    found = sorted(folder.glob("*.json"))
    if not found:
        raise InputError(f"{folder}: no *.json file in it; give the folder of LEAF's shards")
    return found
