"""A user's own images in folders: CLIENT/LABEL/image, or SPLIT/LABEL/image of no client."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Samples

KIND = "real"
TREE = "CLIENT/LABEL/image"
SPLITS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("val", "valid", "validation"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}
SUFFIXES = {suffix for suffixes in decoding.SUFFIXES.values() for suffix in suffixes}


class Options(decoding.Own):
    """What may be set."""

    folder: Path = sources.reads(
        *sorted(SUFFIXES),
        default=...,
        description="Folder of one folder a client, in it one a label, in it the images; other "
        "files are counted and left out. Where the outer folders are `train`, `val` and `test`, "
        "they are the split and all images one pool.",
    )


def prepare(options: Options, processes: int = 1) -> Samples:
    """List the tree; images (N, H, W, C), one target whose classes are the label folders' names.

    Raises InputError naming the folder that is empty or out of place, or the image.
    """
    clients_in, ignored = _folders(options.folder, "client")
    split_of = _splits(options.folder, [folder.name for folder in clients_in])
    found = []
    for client in clients_in:
        labels_in, others = _folders(client, "label")
        ignored += others
        for label in labels_in:
            names, others = _images(label, options.folder)
            found += [(client.name, label.name, name) for name in names]
            ignored += others
    if ignored:
        print(f"{options.folder}: {ignored} files left out that are no images", file=sys.stderr)
    files = [("/".join(parts), "") for parts in found]
    clients, labels, _ = zip(*found, strict=True)
    name = options.name_of_target or "label"
    targets = {name: sources.class_numbers([*labels], str(options.folder))}
    if not split_of:
        return options.samples(options.folder, files, clients, targets)
    splits = np.array([split_of[client] for client in clients])
    pool = options.samples(
        options.folder,
        files,
        ["pool"] * len(files),
        targets,
        splits=splits if splits.any() else None,
    )
    return replace(pool, natural_clients=False)


def _splits(folder: Path, names: Sequence[str]) -> dict[str, int]:
    """The split of each folder of a tree SPLIT/LABEL/image, as torchvision's ImageFolder has it.

    Nothing where the folders are clients; InputError where some are.
    """
    splits = {name: SPLITS[name.lower()] for name in names if name.lower() in SPLITS}
    if {0, 2} <= {*splits.values()} and len(splits) < len(names):
        other = next(name for name in names if name not in splits)
        raise InputError(
            f"{folder}: {', '.join(splits)} are splits, {other} is none; expected {TREE}, or only "
            "train, val and test with folders of labels in them"
        )
    if len(splits) < len(names):
        return {}
    if 0 not in splits.values():
        raise InputError(f"{folder}: no folder train beside {', '.join(splits)}; put it there")
    print(
        f"{folder}: {', '.join(splits)}: splits, not clients; one pool of images, which the scheme "
        "of the partition divides",
        file=sys.stderr,
    )
    return splits


def _folders(parent: Path, what: str) -> tuple[list[Path], int]:
    """The folders in ``parent`` and how many files are left out; an image there is refused."""
    if not parent.is_dir():
        raise InputError(f"{parent}: no such folder; expected {TREE}")
    folders, images, others = _entries(parent)
    if images:
        raise InputError(f"{images[0]}: an image where only {what} folders may be; expected {TREE}")
    if not folders:
        raise InputError(f"{parent}: no {what} folder in it; expected {TREE}")
    return folders, others


def _images(folder: Path, root: Path) -> tuple[list[str], int]:
    """The images' names and how many files are left out; a folder there is refused."""
    folders, images, others = _entries(folder)
    if folders:
        raise InputError(
            f"{folders[0]}: a folder where only images may be; expected {TREE}{_deeper(root)}"
        )
    if not images:
        raise InputError(
            f"{folder}: no image in it ({others} other files); put some there or remove the folder"
        )
    return [path.name for path in images], others


def _deeper(folder: Path) -> str:
    """Names the folder below one, and alone there, that is a tree as expected, if there is one."""
    folders = _entries(folder)[0]
    while len(folders) == 1:
        root = folders[0]
        folders = _entries(root)[0]
        labels = _entries(folders[0])[0] if folders else []
        if labels and _entries(labels[0])[1]:
            return f", which {root} is: give that folder"
    return ""


def _entries(folder: Path) -> tuple[list[Path], list[Path], int]:
    """Sorted folders, sorted images, number of other files.

    Hidden ones are never images: macOS puts a ._a.png beside a.png.
    """
    folders, images, others = [], [], 0
    for path in sorted(folder.iterdir()):
        if not path.name.isprintable():
            raise InputError(
                f"{folder}: the name {path.name!r} has characters that cannot be shown; rename it"
            )
        if path.name.startswith("."):
            others += path.is_file()
        elif path.is_dir():
            folders.append(path)
        elif path.suffix.lower() in SUFFIXES:
            images.append(path)
        else:
            others += 1
    return folders, images, others
