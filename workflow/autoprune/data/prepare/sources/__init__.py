"""Where samples come from: each module here is one source; what they share stands here.

A source is a module with a docstring, ``KIND`` ("real" or "stand-in"), a model ``Options`` of what
may be set, and ``prepare(options, processes)``, which returns ``Samples``. To add one, add a file
and name it in the config; nothing else lists the sources. Where the size of the data is known
before they are read, ``expected(options)`` says it to ``autoprune.estimate``. The workflow imports
a source to check its options, so what is slow to import is imported where it is used.
"""

import importlib
import pkgutil
import string
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from pydantic import Field

from autoprune.core import seeds
from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.options import WrongValue, marked, read
from autoprune.data.prepare.images import Images, Samples

Item = TypeVar("Item")


PARTS = ("__doc__", "KIND", "Options", "prepare")  # of a source
CHARACTERS = [*string.digits, *string.ascii_uppercase, *string.ascii_lowercase]  # of FEMNIST
ANSWERS = ["no", "yes"]
SAMPLES = "Images a client on average; the numbers are uneven, as in real federated data."
TEST_FRACTION = Field(
    0.2,
    gt=0,
    lt=1,
    description="Share of each client's images held out; half of them validate, half test.",
)


class Seeded(Block):
    """Options of a source that draws anything at random."""

    seed: int = Field(0, ge=0, description="Of the split, and of what a generator draws.")


class Counted(Seeded):
    """Options of a source whose clients may be too small."""

    min_samples: int = Field(
        2,
        ge=1,
        description="Images; a client with fewer in all is dropped, and counted as dropped: one "
        "image cannot both train and test.",
    )


class Split(Counted):
    """Options of a source whose clients may have to be split."""

    test_fraction: float = TEST_FRACTION


class Generated(Split):
    """Options of a source that draws its images."""

    difficulty: float = Field(
        1.0, ge=0, le=4, description="Factor on every distortion; 0 is clean, 1 is hard to learn."
    )


def reads(*endings: str, default: Any = None, description: str) -> Any:
    """A field for a file or folder of the user's, of which files with these endings are read.

    The workflow watches them: other files make another store. ``...`` as default for one that
    must be given.
    """
    return Field(default, description=description, json_schema_extra={"reads": list(endings)})


def names() -> list[str]:
    """Every source, by its file."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.name[0] != "_")


def load(name: str) -> ModuleType:
    """A source's module; raises WrongValue when there is none of that name.

    Raises InputError, naming the file, for one that is no Python or lacks one of PARTS.
    """
    if name not in names():
        raise WrongValue(["source"], f"found {name!r}; known are {', '.join(names())}")
    try:
        source = importlib.import_module(f"{__name__}.{name}")
    except SyntaxError as error:
        raise InputError(f"{error.filename}, line {error.lineno}: {error.msg}") from None
    if lacking := [part for part in PARTS if not getattr(source, part, None)]:
        part = "a docstring" if lacking[0] == "__doc__" else lacking[0]
        raise InputError(f"{source.__file__}: {part} is missing; see {__name__}")
    return source


def check_options(source: str, options: Mapping[str, Any]) -> Block:
    """The options as the source's model; WrongValue for what is wrong, ``options`` before its key.

    Its key is ``source`` where there is no such source.
    """
    model: type[Block] = load(source).Options
    try:
        return read(model, options)
    except WrongValue as error:
        raise WrongValue(["options", *error.key], error.reason) from None


def generates(source: str) -> bool:
    """Whether a source draws or carries its data: it has no option that names files."""
    return not list(marked(load(source).Options, "reads"))


def places(source: str, options: Mapping[str, Any]) -> dict[str, Path]:
    """The files and folders of the user's that a source's options name, by option."""
    named = dict(marked(load(source).Options, "reads"))
    return {key: Path(options[key]) for key in named if options.get(key) is not None}


def files_read(source: str, options: Mapping[str, Any]) -> list[str]:
    """The files, sorted, that a source reads at the places that its options name."""
    endings = dict(marked(load(source).Options, "reads"))
    return sorted(
        str(file)
        for key, place in places(source, options).items()
        for file in ([place] if place.is_file() else place.rglob("*"))
        if any(_ends(file.name.lower(), ending) for ending in endings[key])
    )


def _ends(name: str, ending: str) -> bool:
    """Whether a file's name has an ending; "" is for those that have none."""
    return name.endswith(ending) if ending else not Path(name).suffix


def progress(items: Iterable[Item], what: str) -> Iterable[Item]:
    """``items`` with a progress bar on stderr, when that is a terminal."""
    from tqdm import tqdm

    return tqdm(items, desc=what, disable=None, leave=False)


def uneven_count(rng: np.random.Generator, mean: int) -> int:
    """A client's number of samples: log-normal with this mean, at least 1.

    The spread (sigma 0.4) gives FEMNIST's ratio of standard deviation to mean, about 0.4.
    """
    return max(1, round(mean * rng.lognormal(-0.08, 0.4)))


def held_out(groups: np.ndarray, keys: Sequence[int], share: float, seed: int) -> np.ndarray:
    """Mark (N,) bool the ``share`` of each group's rows that are for test, at least 1 stays.

    Group g is drawn from its own stream (seed, keys[g]), so that it does not depend on the
    other groups.
    """
    test = np.zeros(len(groups), bool)
    order = np.argsort(groups, kind="stable")
    ends = np.searchsorted(groups[order], np.arange(len(keys)), side="right")
    for key, rows in zip(keys, np.split(order, ends[:-1]), strict=True):
        number = min(round(share * len(rows)), len(rows) - 1)
        if number > 0:
            test[seeds.generator(seed, "test-split", key).permutation(rows)[:number]] = True
    return test


def halved(test: np.ndarray, seed: int) -> np.ndarray:
    """Splits (N,) from the test mark: the pooled test rows are halved at random.

    Validation gets the smaller half of an odd number, as the paper's 38,741 of 77,483.
    """
    splits = np.where(test, 2, 0).astype(np.uint8)
    rows = seeds.generator(seed, "validation-split").permutation(np.flatnonzero(test))
    splits[rows[: len(rows) // 2]] = 1
    return splits


def report_dropped(
    client_ids: Sequence[str], sizes: Sequence[int], small: Sequence[int], reason: str
) -> list[dict[str, Any]]:
    """The header's entries for the clients numbered ``small``; a line on stderr if there are any.

    ``sizes`` are the samples of every client in ``client_ids``.
    """
    dropped = [
        {"client": client_ids[number], "samples": int(sizes[number]), "reason": reason}
        for number in small
    ]
    if dropped:
        lost = sum(int(sizes[number]) for number in small)
        print(
            f"dropped {len(dropped)} of {len(client_ids)} clients ({lost} samples): {reason}",
            file=sys.stderr,
        )
    return dropped


def by_client(
    options: Counted,
    *,
    images: np.ndarray | Images,
    labels: np.ndarray,
    clients: np.ndarray,
    client_ids: Sequence[str],
    targets: Sequence[Mapping[str, Any]],
    polarity: str,
    kind: str,
    splits: np.ndarray | None = None,
) -> Samples:
    """Drop small clients and split the rest; arrays as in ``Samples``. Reads no ``Images``.

    ``splits`` (N,) are 0 train, 1 validation, 2 test, as the source brings them; where it lacks
    one of the held-out two, the other is halved. Without them each client's samples are split by
    seed, and ``options`` are a ``Split``. A client that brings no training samples is kept,
    however few it has: it never trains. Raises InputError when no client is left, and for other
    options.
    """
    min_samples = options.min_samples
    sizes = np.bincount(clients, minlength=len(client_ids))
    small = sizes < min_samples
    if splits is not None:
        trains = np.bincount(clients[splits == 0], minlength=len(client_ids)) > 0
        small &= trains | (sizes == 0)
    reason = f"fewer than {min_samples} samples"
    dropped = report_dropped(client_ids, sizes.tolist(), np.flatnonzero(small).tolist(), reason)
    kept = np.flatnonzero(~small)
    if len(kept) == 0:
        raise InputError(
            f"no client is left: all {len(client_ids)} have fewer than {min_samples} samples; "
            "lower min_samples or give more data"
        )
    rows = np.flatnonzero(~small[clients])
    ids = [client_ids[client] for client in kept.tolist()]
    clients = np.searchsorted(kept, clients[rows])
    if splits is None:
        if not isinstance(options, Split):
            raise InputError(
                "by_client: options: found no test_fraction, expected sources.Split, which brings "
                "it, or splits"
            )
        keys = [zlib.crc32(client.encode()) for client in ids]
        mark = held_out(clients, keys, options.test_fraction, options.seed)
        parts = halved(mark, options.seed)
    elif {1, 2} <= {*np.unique(splits)}:
        parts = splits[rows].astype(np.uint8)
    else:
        parts = halved(splits[rows] > 0, options.seed)
    if len(rows) < len(images):  # no copy of all images where none is dropped
        images = images.take(rows) if isinstance(images, Images) else images[rows]
    return Samples(
        images=images,
        labels=labels[rows],
        clients=clients,
        splits=parts,
        client_ids=ids,
        targets=targets,
        dropped=dropped,
        polarity=polarity,
        natural_clients=True,
        kind=kind,
    )


def class_numbers(labels: list[str], where: str) -> tuple[list[str], np.ndarray]:
    """The classes in order, by value if all are whole numbers, and the labels (N, 1) as numbers.

    Raises InputError unless there are two classes at least.
    """
    known = set(labels)
    numbers = all(label.isdecimal() for label in known)
    classes = sorted(known, key=lambda label: (int(label), label) if numbers else (0, label))
    if len(classes) < 2:
        raise InputError(
            f"{where}: {classes[0]!r} is the only label; give images of two labels at least"
        )
    place = {label: number for number, label in enumerate(classes)}
    return classes, np.array([place[label] for label in labels], np.uint16)[:, None]
