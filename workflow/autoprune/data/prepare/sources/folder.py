"""A user's own images in folders: CLIENT/LABEL/image."""

import sys
from pathlib import Path

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Samples

KIND = "real"
TREE = "CLIENT/LABEL/image"
SUFFIXES = {suffix for suffixes in decoding.SUFFIXES.values() for suffix in suffixes}


class Options(decoding.Own):
    """What may be set."""

    folder: Path = sources.reads(
        *sorted(SUFFIXES),
        default=...,
        description="Folder of one folder a client, in it one a label, in it the images; other "
        "files are counted and left out.",
    )


def prepare(options: Options, processes: int = 1) -> Samples:
    """List the tree; images (N, H, W, C), one target whose classes are the label folders' names.

    Raises InputError naming the folder that is empty or out of place, or the image.
    """
    clients_in, ignored = _folders(options.folder, "client")
    found = []
    for client in clients_in:
        labels_in, others = _folders(client, "label")
        ignored += others
        for label in labels_in:
            names, others = _images(label)
            found += [(client.name, label.name, name) for name in names]
            ignored += others
    if ignored:
        print(f"{options.folder}: {ignored} files left out that are no images", file=sys.stderr)
    files = [("/".join(parts), "") for parts in found]
    clients, labels, _ = zip(*found, strict=True)
    return options.samples(
        options.folder, files, clients, labels, of=options.folder, target="label"
    )


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


def _images(folder: Path) -> tuple[list[str], int]:
    """The images' names and how many files are left out; a folder there is refused."""
    folders, images, others = _entries(folder)
    if folders:
        raise InputError(f"{folders[0]}: a folder where only images may be; expected {TREE}")
    if not images:
        raise InputError(
            f"{folder}: no image in it ({others} other files); put some there or remove the folder"
        )
    return [path.name for path in images], others


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
