"""CelebA from its own files: aligned faces, 40 attributes, identities, official partition."""

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Samples
from autoprune.data.prepare.sources import ANSWERS

if TYPE_CHECKING:
    import pandas as pd

KIND = "real"
SIZE = (218, 178)  # pixels, height and width of every image of img_align_celeba
ATTRIBUTES, IDENTITIES = "list_attr_celeba.txt", "identity_CelebA.txt"
PARTITION = "list_eval_partition.txt"
FETCH = "fetch the file again"


class Options(sources.Split):
    """What may be set."""

    folder: Path = sources.reads(
        ".txt",
        ".zip",
        default=...,
        description=f"Folder of {ATTRIBUTES}, {IDENTITIES}, img_align_celeba/ or "
        f"img_align_celeba.zip (read as it is) and, for the official split, {PARTITION}.",
    )
    split: Literal["official", "by-client"] = Field(
        "official",
        description="`official`: no identity is in two parts; `by-client`: a share of each "
        "identity's images is held out.",
    )
    attributes: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="Attributes to keep as targets; without it all 40."
    )
    side: int = Field(
        84,
        ge=1,
        le=1024,
        description="Pixels a side of the square that images are brought to; 84 as in LEAF and "
        "TensorFlow Federated.",
    )
    frame: Literal["square", "whole"] = Field(
        "square",
        description="`square`: the 178x178 in the middle; `whole`: all 178x218, squeezed into "
        "the square, as LEAF's loader does.",
    )


def prepare(options: Options, processes: int = 1) -> Samples:
    """Read the lists; images (N, side, side, 3), labels (N, attributes), clients are identities.

    An image is cut and resized by torchvision, bilinear with antialiasing. LEAF's loader
    (TalwalkarLab/leaf, models/celeba/cnn.py) squeezes the whole 178x218 to 84x84 by Pillow's
    default instead, and TensorFlow Federated's 84x84 come from LEAF: ``whole`` is nearest to them.
    Raises InputError naming the list and the image of a fault.
    """
    path = options.folder / ATTRIBUTES
    declared, answers = _read_attributes(path)
    names = list(answers.index)
    counts = f"line 1 says {declared} images, {len(names)} follow"
    clients = _read_list(options.folder / IDENTITIES, names, counts)
    splits = None
    if options.split == "official":
        splits = _read_list(options.folder / PARTITION, names, counts, ["0", "1", "2"])
    if declared != len(names):
        # The lists name the same images, so that none is lost: only the number is wrong.
        print(
            f"{path}: {counts} and the other lists agree with them: going on with these",
            file=sys.stderr,
        )
    if options.attributes:
        answers = answers[chosen_attributes(options.attributes, list(answers.columns), path)]
    client_ids, numbers = np.unique(clients, return_inverse=True)
    root, files = find_images(options.folder, names)
    return sources.by_client(
        options,
        images=decoding.images(root, files, _form(options)),
        labels=answers.to_numpy(np.uint8),
        clients=numbers,
        client_ids=client_ids.tolist(),
        targets=[{"name": name, "classes": ANSWERS} for name in answers.columns],
        polarity="colour",
        kind=KIND,
        splits=None if splits is None else splits.astype(np.uint8),
    )


def _form(options: Options) -> decoding.Form:
    """What every image is brought to."""
    advice = "only the images of img_align_celeba are meant"
    square = options.frame == "square"
    return decoding.Form(options.side, options.side, 3, SIZE, advice, square=square)


def find_images(folder: Path, names: Sequence[str]) -> tuple[Path, list[decoding.File]]:
    """The folder or archive of the images, and where each of ``names`` is in it.

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
    missing = [name for name in names if name not in paths]
    if missing:
        raise InputError(
            f"{folder / ATTRIBUTES}: {missing[0]} is not in {root} ({len(missing)} of "
            f"{len(names)} images are missing); put the images there"
        )
    return root, [(paths[name], "") for name in names]


def chosen_attributes(wanted: Sequence[str], known: Sequence[str], path: Path) -> list[str]:
    """``wanted``, each once; InputError naming the known attributes near a wrong one."""
    lower = {name.lower(): name for name in known}
    for name in wanted:
        if name not in known:
            near = [lower[n] for n in difflib.get_close_matches(name.lower(), lower, cutoff=0.5)]
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}"
            raise InputError(f"{path}: no attribute {name!r}; {hint}")
    return list(dict.fromkeys(wanted))


def _read_attributes(path: Path) -> "tuple[int, pd.DataFrame]":
    """What line 1 says, and answers (N, attributes) bool by image and attribute."""
    count, attributes = _first_lines(path, 2)
    if len(count) != 1 or not count[0].isdecimal():
        raise InputError(
            f"{path}, line 1: {_short(count)}, expected the number of images; this must be "
            "CelebA's own text file, not a table made from it"
        )
    if not attributes or len(set(attributes)) != len(attributes) or {"1", "-1"} & {*attributes}:
        raise InputError(
            f"{path}, line 2: {_short(attributes)}, expected the names of the attributes, each "
            f"once; {FETCH}"
        )
    table = _by_image(path, attributes, skip=2)
    wrong = ~table.isin(["1", "-1"])
    if wrong.to_numpy().any():
        name = wrong.index[wrong.any(axis=1)][0]
        column = wrong.columns[wrong.loc[name]][0]
        raise InputError(
            f"{path}: {column} of {name} is {table.loc[name, column]!r}, expected 1 or -1; {FETCH}"
        )
    return int(count[0]), table == "1"


def _read_list(
    path: Path, names: Sequence[str], counts: str, allowed: Sequence[str] = ()
) -> np.ndarray:
    """The value (N,) text of each of ``names``, which are all images of the file, in any order."""
    values = _by_image(path, ["value"])["value"]
    missing = [name for name in names if name not in values.index]
    if missing or len(values) > len(names):
        name, lacking = (missing[0], path) if missing else (min({*values.index} - {*names}), "")
        raise InputError(
            f"{path}: {name} is not in {lacking or ATTRIBUTES} ({counts} in {ATTRIBUTES}, "
            f"{len(values)} are here); {FETCH}"
        )
    if allowed and not values.isin(allowed).all():
        name = values.index[~values.isin(allowed)][0]
        raise InputError(
            f"{path}: {name} has {values[name]!r}, expected one of {', '.join(allowed)}; {FETCH}"
        )
    return values[names].to_numpy(str)


def _first_lines(path: Path, number: int) -> list[list[str]]:
    """The words of the first lines."""
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return [next(stream, "").split() for _ in range(number)]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; put CelebA's own there") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); {FETCH}") from None


def _by_image(path: Path, columns: Sequence[str], skip: int = 0) -> "pd.DataFrame":
    """The words of each line below ``skip`` by image; InputError for a line with other columns."""
    import pandas as pd

    _first_lines(path, 1)  # whether there is such a file
    form = {"sep": r"\s+", "header": None, "dtype": str}
    try:
        table = pd.read_csv(path, skiprows=skip, encoding="utf-8-sig", **form)
    except ValueError as error:  # pandas' own, or of bytes that are no text
        raise InputError(
            f"{path}: not a list of CelebA's ({str(error).strip()}); {FETCH}"
        ) from None
    table = table.set_axis(["image", *range(table.shape[1] - 1)], axis=1).set_index("image")
    short = table.isna().any(axis=1)
    if table.shape[1] != len(columns) or short.any():
        odd = (table[short] if short.any() else table).iloc[0]
        raise InputError(
            f"{path}: {odd.notna().sum()} values for {odd.name}, expected {len(columns)} on its "
            f"line; {FETCH}"
        )
    if not table.index.is_unique:
        raise InputError(f"{path}: {table.index[table.index.duplicated()][0]} is twice; {FETCH}")
    return table.set_axis(list(columns), axis=1)


def _short(words: Sequence[str]) -> str:
    text = repr(" ".join(words))
    return text if len(text) <= 40 else text[:37] + "..."
