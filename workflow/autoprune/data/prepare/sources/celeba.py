"""CelebA from its own files: aligned faces, 40 attributes, identities, official partition."""

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Samples

KIND = "real"
ANSWERS = ["no", "yes"]
SIZE = (218, 178)  # pixels, height and width of every image of img_align_celeba
ATTRIBUTES, IDENTITIES = "list_attr_celeba.txt", "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"
FETCH = "fetch the file again"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this source's flags."""
    parser.add_argument(
        "--folder",
        type=Path,
        required=True,
        help=f"folder of {ATTRIBUTES}, {IDENTITIES}, img_align_celeba/ or img_align_celeba.zip "
        f"(read as it is) and, for the official split, {PARTITION}",
    )
    parser.add_argument(
        "--split",
        choices=("official", "by-client"),
        default="official",
        help=f"official: that of {PARTITION}, in which no identity is in two parts; by-client: a "
        "share of each identity's images is held out (default: %(default)s)",
    )
    parser.add_argument(
        "--attributes",
        nargs="+",
        metavar="NAME",
        help="attributes to keep as targets, e.g. Male Smiling (default: all)",
    )
    add_frame(parser, "square")
    sources.add_test_fraction(parser)
    sources.add_min_samples(parser)
    sources.add_seed(parser)


def add_frame(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--side`` and ``--frame``, what is made of an aligned face."""
    parser.add_argument(
        "--side",
        type=sources.checked(int, 1, 1024, "a whole number from 1 to 1024"),
        default=84,
        help="pixels of the square result; 84 as in LEAF and TensorFlow Federated "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--frame",
        choices=("square", "whole"),
        default=default,
        help="square: the 178x178 in the middle; whole: all 178x218, squeezed into the square, "
        "as LEAF's loader does (default: %(default)s)",
    )


def prepare(args: argparse.Namespace) -> Samples:
    """Read the lists; images (N, side, side, 3), labels (N, attributes), clients are identities.

    An image is cut and resized by torchvision, bilinear with antialiasing. LEAF's loader
    (TalwalkarLab/leaf, models/celeba/cnn.py) squeezes the whole 178x218 to 84x84 by Pillow's
    default instead, and TensorFlow Federated's 84x84 come from LEAF: ``--frame whole`` is nearest
    to them. Raises InputError naming file and line of a fault, or the image.
    """
    folder = args.folder
    names, lines, attributes, answers, declared = _read_attributes(folder / ATTRIBUTES)
    identities = _read_pairs(folder / IDENTITIES, names, lines, declared)
    splits = None
    if args.split == "official":
        parts = _read_pairs(folder / PARTITION, names, lines, declared, ("0", "1", "2"))
        splits = np.array(parts).astype(np.uint8)
    if declared != len(names):
        # The lists name the same images, so that none is lost: only the number is wrong.
        print(
            f"{folder / ATTRIBUTES}: line 1 says {declared} images, {len(names)} follow and the "
            "other lists agree with them: going on with these",
            file=sys.stderr,
        )
    if args.attributes:
        chosen = chosen_attributes(args.attributes, attributes, folder / ATTRIBUTES)
        attributes, answers = [attributes[column] for column in chosen], answers[:, chosen]
    root, files = find_images(
        folder, names, [f"{folder / ATTRIBUTES}, line {line}: " for line in lines]
    )
    client_ids, clients = np.unique(identities, return_inverse=True)
    samples = {
        "images": decoding.images(root, files, face_form(args)),
        "labels": answers,
        "clients": clients,
        "client_ids": client_ids.tolist(),
        "targets": [{"name": name, "classes": ANSWERS} for name in attributes],
        "polarity": "colour",
        "kind": KIND,
        "min_samples": args.min_samples,
        "seed": args.seed,
    }
    if splits is None:
        return sources.by_client(**samples, test_fraction=args.test_fraction)
    return sources.by_own_split(splits, **samples)


def face_form(args: argparse.Namespace) -> decoding.Form:
    """The form by the flags of ``add_frame``."""
    advice = "only the images of img_align_celeba are meant"
    return decoding.Form(args.side, args.side, 3, SIZE, advice, square=args.frame == "square")


def find_images(
    folder: Path, names: Sequence[str], named: Iterable[str]
) -> tuple[Path, list[decoding.File]]:
    """The folder or archive of the images, and (name in it, ``named``) for each of ``names``.

    ``folder`` holds img_align_celeba, as folder (also one in another, as some mirrors pack it)
    or else as .zip. Raises InputError naming the first image that is not there.
    """
    root = folder / "img_align_celeba"
    if (root / root.name).is_dir():
        root = root / root.name
    if root.is_dir():
        paths = {path.name: path.name for path in root.iterdir()}
    elif root.with_suffix(".zip").exists():
        root = root.with_suffix(".zip")
        paths = {PurePosixPath(path).name: path for path in decoding.archive(root).namelist()}
    else:
        raise InputError(
            f"{folder}: neither img_align_celeba/ nor img_align_celeba.zip in it; put one there"
        )
    missing = [(name, where) for name, where in zip(names, named, strict=True) if name not in paths]
    if missing:
        raise InputError(
            f"{missing[0][1]}{missing[0][0]} is not in {root} ({len(missing)} of {len(names)} "
            "images are missing); put the images there"
        )
    return root, [(paths[name], where) for name, where in zip(names, named, strict=True)]


def chosen_attributes(wanted: Sequence[str], known: Sequence[str], path: Path) -> list[int]:
    """The columns of ``wanted``; InputError naming the known attributes near a wrong one."""
    lower = {name.lower(): name for name in known}
    for name in wanted:
        if name not in known:
            near = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, cutoff=0.5)]
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
            raise InputError(f"{path}: no attribute {name!r}; {hint}")
    return [known.index(name) for name in dict.fromkeys(wanted)]


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, words) of every line that is not blank; any line ends."""
    try:
        with open(path, encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                words = line.split()
                if words:
                    yield number, words
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; put CelebA's own there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); {FETCH}") from None


def _read_attributes(path: Path) -> tuple[list[str], list[int], list[str], np.ndarray, int]:
    """Image names, their lines, attribute names, answers (N, attributes) 0/1, the count line."""
    rows = _lines(path)
    _, head = next(rows, (1, ["nothing"]))
    if len(head) != 1 or not head[0].isdecimal() or len(head[0]) > 9:
        raise InputError(
            f"{path}, line 1: {_short(head)}, expected the number of images; this must be "
            "CelebA's own text file, not a table made from it"
        )
    _, attributes = next(rows, (2, []))
    if not attributes or len(set(attributes)) != len(attributes) or {"1", "-1"} & {*attributes}:
        raise InputError(
            f"{path}, line 2: {_short(attributes)}, expected the names of the attributes, each "
            f"once; {FETCH}"
        )
    lines: dict[str, int] = {}
    answers = bytearray()
    code = {"1": 1, "-1": 0}
    for number, (name, *values) in rows:
        _first_time(path, number, name, lines)
        if len(values) != len(attributes):
            raise InputError(
                f"{path}, line {number}: {len(values)} values for {name}, expected "
                f"{len(attributes)}, one an attribute; {FETCH}"
            )
        try:
            answers += bytes([code[value] for value in values])
        except KeyError as error:
            column = attributes[values.index(error.args[0])]
            raise InputError(
                f"{path}, line {number}: {column} of {name} is {error.args[0]!r}, "
                f"expected 1 or -1; {FETCH}"
            ) from None
    if not lines:
        raise InputError(f"{path}: no image in it; {FETCH}")
    table = np.frombuffer(answers, np.uint8).reshape(-1, len(attributes))
    return list(lines), list(lines.values()), attributes, table, int(head[0])


def _read_pairs(
    path: Path,
    names: Sequence[str],
    lines: Sequence[int],
    declared: int,
    allowed: Sequence[str] = (),
) -> list[str]:
    """The value of each of ``names``, which are all images of the file, in any order.

    ``lines`` are their lines in the attribute file, ``declared`` what its first line says.
    """
    found: dict[str, str] = {}
    for number, words in _lines(path):
        _first_time(path, number, words[0], found)
        if len(words) != 2 or (allowed and words[1] not in allowed):
            wanted = f"one of {', '.join(allowed)}" if allowed else "its identity"
            raise InputError(
                f"{path}, line {number}: {_short(words)}, expected an image and {wanted}; {FETCH}"
            )
        found[words[0]] = words[1]
    counts = f"line 1 there says {declared} images, {len(names)} follow; {len(found)} are here"
    for name, line in zip(names, lines, strict=True):
        if name not in found:
            raise InputError(
                f"{path}: no line for {name}, which is on line {line} of {ATTRIBUTES} ({counts}); "
                f"{FETCH}"
            )
    if len(found) > len(names):
        extra = min(found.keys() - set(names))
        raise InputError(f"{path}: {extra} is not in {ATTRIBUTES} ({counts}); {FETCH}")
    return [found[name] for name in names]


def _first_time(path: Path, number: int, name: str, seen: dict) -> None:
    if name in seen:
        raise InputError(f"{path}, line {number}: {name} occurs twice; {FETCH}")
    seen[name] = number


def _short(words: Sequence[str]) -> str:
    text = repr(" ".join(words))
    return text if len(text) <= 40 else text[:37] + "..."
