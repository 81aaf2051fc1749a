"""TensorFlow Federated's archives of FEMNIST and CelebA: the paper's split."""

import argparse
from pathlib import Path

from autoprune.data.store import Samples
from autoprune.errors import InputError

KIND = "real"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this source's flags."""
    parser.add_argument("--archive", type=Path, required=True, help="the archive, as downloaded")
    parser.add_argument("--seed", type=int, default=0, help="of the validation and test halves")


def prepare(args: argparse.Namespace) -> Samples:
    """Raises InputError: this version has the split's settings, but not yet its reader."""
    raise InputError(
        f"{args.archive}: this version cannot read TensorFlow Federated's archives yet; "
        "for real FEMNIST use source leaf, as in config/femnist-leaf.yaml"
    )
