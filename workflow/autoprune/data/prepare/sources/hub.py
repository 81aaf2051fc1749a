"""FEMNIST, CelebA or another image data set as the Hugging Face hub has it: parquet files."""

import argparse
import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Images, Samples
from autoprune.data.prepare.readers import hub_files
from autoprune.data.prepare.sources.celeba import ANSWERS

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL.Image import Image

KIND = "real"
AGAIN = "fetch the file again"


@dataclass(frozen=True)
class Repository:
    """Defaults for a repository: the pinned commit, and what its columns mean."""

    revision: str
    client: str
    targets: tuple[str, ...]
    side: int | None = None


# The writers and faces of TensorFlow Federated's and LEAF's versions, but other samples: FEMNIST
# here has 814,277 in one pool (TensorFlow Federated 749,068 in two), CelebA all 202,599 in its
# official split.
KNOWN = {
    "flwrlabs/femnist": Repository(
        "df739a2b09df2b5cc1ec93107659b9a9a8566487", "writer_id", ("character",)
    ),
    "flwrlabs/celeba": Repository(
        "2d738f56e0e7f925ea36ae7c808ea925264aacec", "celeb_id", ("Male", "Smiling"), side=84
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this source's flags."""
    known = " and ".join(KNOWN)
    parser.add_argument("--repository", required=True, help=f"owner/name; {known} need no more")
    parser.add_argument("--local", type=Path, help="folder of its parquet files; nothing is asked")
    parser.add_argument(
        "--download",
        type=Path,
        help="folder to fetch them to, instead of --local; what is there already stays",
    )
    parser.add_argument(
        "--revision",
        help=f"with --download: the commit, 40 hexadecimal digits (default: known for {known})",
    )
    parser.add_argument("--client-column", help=f"whose sample it is (default: known for {known})")
    parser.add_argument(
        "--target-column",
        nargs="+",
        metavar="COLUMN",
        help="what is to be predicted (default: character of FEMNIST, Male and Smiling of CelebA)",
    )
    parser.add_argument(
        "--split",
        choices=("own", "by-client"),
        help="own: the hub's files for validation and test are held out; by-client: a share of "
        "each client's samples (default: own where the hub has such files)",
    )
    parser.add_argument(
        "--side",
        type=sources.checked(int, 1, 4096, "a whole number from 1 to 4096"),
        help="pixels; the largest square in the middle of each image is scaled to SIDE x SIDE "
        "(default: 84 for CelebA, else all images must have one size, which stays)",
    )
    parser.add_argument(
        "--drawn",
        choices=("dark-on-light", "light-on-dark"),
        help="what grey images look like (default: by the median of the first ones)",
    )
    sources.add_test_fraction(parser)
    sources.add_min_samples(parser)
    sources.add_seed(parser)


def prepare(args: argparse.Namespace) -> Samples:
    """Read clients and labels; images (N, H, W, C) in the order of the files.

    The row groups of the files are read later, as parts. Raises InputError naming file and row
    (from 0) of a fault.
    """
    known = KNOWN.get(args.repository)
    client = args.client_column or (known and known.client)
    targets = [*dict.fromkeys(args.target_column or (known.targets if known else ()))]
    if not client or not targets:
        raise InputError(
            f"--repository {args.repository} needs --client-column and --target-column; only "
            f"{' and '.join(KNOWN)} are known"
        )
    files = hub_files.find_files(_folder(args, known))
    columns = hub_files.read_columns(files, client, targets)
    parts = hub_files.parts(files)
    path, first = parts[0][0], _first_image(parts[0])
    side = args.side or (known and known.side)
    width, height = (side, side) if side else first.size
    form = decoding.Form(
        height,
        width,
        channels=1 if first.mode in ("1", "L", "LA", "I;16") else 3,
        expected=None if side else (height, width),
        advice=f"that is the size of the first image of {path}; give --side to resize all",
        square=side is not None,
    )
    shape = (len(columns), form.height, form.width, form.channels)
    client_ids, clients = _numbered(columns, client)
    found = [_labels(files, columns, target) for target in targets]
    samples = {
        "images": Images(shape, parts, functools.partial(read, form=form), itemgetter(0)),
        "labels": np.column_stack([labels for _, labels in found]),
        "clients": clients,
        "client_ids": client_ids,
        "targets": [
            {"name": target, "classes": classes}
            for target, (classes, _) in zip(targets, found, strict=True)
        ],
        "polarity": "colour" if form.channels == 3 else args.drawn or _drawn(parts[0], form),
        "kind": KIND,
        "min_samples": args.min_samples,
        "seed": args.seed,
    }
    numbers = np.repeat(
        [*files.values()], [hub_files.opened(path).metadata.num_rows for path in files]
    )
    if args.split == "by-client" or (args.split is None and not numbers.any()):
        return sources.by_client(**samples, test_fraction=args.test_fraction)
    if not numbers.any():
        raise InputError(f"--split own: {args.repository} has train files alone; use by-client")
    if set(numbers) == {0, 1, 2}:
        return sources.by_own_split(numbers, **samples)
    return sources.by_client(**samples, test=numbers > 0)


def read(part: hub_files.Part, form: decoding.Form) -> Iterator[tuple[Any, np.ndarray]]:
    """Yield the rows (n,) and images (n, H, W, C) of one part, (file, row groups, first row)."""
    path, groups, first = part
    file = hub_files.opened(path)
    row = sum(file.metadata.row_group(group).num_rows for group in range(groups.start))
    step = max(1, decoding.BLOCK // (form.height * form.width * form.channels))
    start = row
    for batch in hub_files.batches(path, groups, step):
        pixels = np.empty((len(batch), form.height, form.width, form.channels), np.uint8)
        for place, content in enumerate(batch):
            where = f"{path}, row {row + place}"
            pixels[place] = decoding.fitted(_decoded(content.as_py(), where), where, form)
        yield first + np.arange(row, row + len(batch)) - start, pixels
        row += len(batch)


def _numbered(table: "pa.Table", column: str) -> tuple[list[str], np.ndarray]:
    """The sorted values as text, and the number (N,) of each row's."""
    values, numbers = np.unique(table[column].to_numpy(), return_inverse=True)
    return [str(value) for value in values], numbers


def _labels(files: Sequence[Path], table: "pa.Table", column: str) -> tuple[list[str], np.ndarray]:
    """The classes of a target, and each row's (N,)."""
    import pyarrow as pa

    kind = table.schema.field(column).type
    if pa.types.is_boolean(kind):
        return ANSWERS, table[column].to_numpy().astype(np.int64)
    names = hub_files.class_names(next(iter(files)), column)
    if not (names and pa.types.is_integer(kind)):
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
            raise InputError(
                f"{next(iter(files))}: column {column} is {kind}, expected classes, yes or no, "
                "whole numbers or text; give another --target-column"
            )
        return _numbered(table, column)
    labels = table[column].to_numpy().astype(np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
    if len(wrong):
        row = wrong[0]
        for path in files:  # the file in which this row is
            if row < hub_files.opened(path).metadata.num_rows:
                break
            row -= hub_files.opened(path).metadata.num_rows
        raise InputError(
            f"{path}, row {row}: {column} is {labels[wrong[0]]}, expected 0..{len(names) - 1}; "
            f"{AGAIN}"
        )
    return names, labels


def _first_image(part: hub_files.Part) -> "Image":
    path, groups, _ = part
    contents = next(hub_files.batches(path, groups, 1))
    return _decoded(contents[0].as_py(), f"{path}, row 0")


def _drawn(part: hub_files.Part, form: decoding.Form) -> str:
    """The polarity of grey images, by the median of the first ones: paper outweighs ink."""
    _, pixels = next(read(part, form))
    return "dark-on-light" if np.median(pixels) >= 128 else "light-on-dark"


def _decoded(content: bytes | None, where: str) -> "Image":
    """The image of a file's content; ``where`` is for messages."""
    from PIL import UnidentifiedImageError

    if not content:
        raise InputError(f"{where}: no image in it, perhaps only a path; {AGAIN}")
    try:
        return decoding.loaded(content)
    # Pillow's readers raise whatever broken bytes lead them to.
    except Exception as error:
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
        raise InputError(f"{where}: the image cannot be decoded ({reason}); {AGAIN}") from None


def _folder(args: argparse.Namespace, known: Repository | None) -> Path:
    """The folder of the parquet files, after the download if one is asked for."""
    if (args.local is None) == (args.download is None):
        raise InputError("hub needs either --local FOLDER or --download FOLDER")
    if args.local is not None:
        if args.revision:
            raise InputError("--revision goes with --download; leave it out with --local")
        return args.local
    revision = args.revision or (known and known.revision)
    if not re.fullmatch("[0-9a-f]{40}", revision or ""):
        raise InputError(
            f"--revision {revision}: expected a commit of {args.repository}, 40 hexadecimal digits "
            "(the hub shows them under Files and versions); a branch may change under you"
        )
    hub_files.fetch(args.repository, revision, args.download)
    return args.download
