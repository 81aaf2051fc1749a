"""Writing a client store: one data set's samples, checked, sorted, whole or not at all."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import InputError
from autoprune.core.files import checksum, whole_folder, write_json
from autoprune.data.prepare import pixels, repeated
from autoprune.data.prepare.images import Images, Samples, need_space, write_array, write_images
from autoprune.data.prepare.repeated import Parts
from autoprune.data.store import ARRAYS, KINDS, POLARITIES, SCHEMA_VERSION, SPLITS


def write_store(
    folder: str | Path,
    *,
    name: str,
    source: str,
    kind: str,
    images: np.ndarray | Images,
    labels: np.ndarray,
    clients: np.ndarray,
    splits: np.ndarray,
    client_ids: Sequence[str],
    targets: Sequence[Mapping[str, Any]],
    dropped: Sequence[Mapping[str, Any]],
    polarity: str,
    natural_clients: bool,
    pixel_range: tuple[float, float] | None = (0, 1),
    preprocessing: Mapping[str, Any] | None = None,
    workers: int = 1,
) -> None:
    """Write a store, rows sorted by (split, client), stable; shapes as in ``Samples``.

    ``Images`` are read by ``workers`` processes; the files do not depend on their number, nor on
    whether the images came as an array. ``pixel_range`` is what training scales 0 and 255 to;
    None for the range that gives the training split's pixels mean 0 and standard deviation 1.
    ``preprocessing`` is what was done to the images. Both are only recorded. Raises InputError for
    an empty data set or split, a full disk, what ``Images`` cannot read, pixels that cannot be
    standardised, a part whose held-out images are all trained on, and as ``check_samples`` does;
    ValueError for ``Images`` whose rows do not come once each (a source's mistake, not the user's).
    On failure no file is left behind and a store that stood there before is untouched.
    """
    samples = Samples(
        *(images, labels, clients, splits, client_ids, targets, dropped),
        *(polarity, natural_clients, kind),
    )
    _refuse_empty(name, samples)
    check_samples(samples, f"data set {name!r}")
    told = [
        {"name": target["name"], "classes": list(target["classes"])}
        | ({} if target["classes"] else _moments(name, target["name"], column[splits == 0]))
        for target, column in zip(targets, labels.T, strict=True)
    ]
    order = np.lexsort((clients, splits))
    columns = {
        "labels": labels.astype(label_type(targets)),
        "clients": clients.astype(np.int32),
        "splits": splits.astype(np.uint8),
    }
    more = sum(column.nbytes for column in columns.values())
    need_space(Path(folder), math.prod(images.shape) + more)
    with whole_folder(folder, ["header.json", *(f"{array}.npy" for array in ARRAYS)]) as scratch:
        part_of = None
        if isinstance(images, Images):
            part_of = write_images(scratch["images.npy"], images, order, workers)
        else:
            columns["images"] = images
        for array, values in columns.items():
            write_array(scratch[f"{array}.npy"], values, order)
        moments, digests = _read_back(scratch["images.npy"], int(np.sum(splits == 0)))
        if pixel_range is None:
            pixel_range = pixels.standard_range(moments, name)
        twice = _repeated(name, samples, order, digests, part_of)
        header = {
            "schema_version": SCHEMA_VERSION,
            "name": name,
            "source": source,
            "kind": kind,
            "shape": [int(size) for size in images.shape[1:]],
            "targets": told,
            "clients": list(client_ids),
            "samples": dict(zip(SPLITS, np.bincount(splits, minlength=3).tolist(), strict=True)),
            "dropped": [dict(entry) for entry in dropped],
            "polarity": polarity,
            "natural_clients": bool(natural_clients),
            "repeated": twice,
            "pixels": {"mean": moments.mean, "sd": moments.sd},
            "pixel_range": [float(end) for end in pixel_range],
            "preprocessing": dict(preprocessing or {}),
            "checksum": checksum({array: scratch[f"{array}.npy"] for array in ARRAYS}),
        }
        write_json(scratch["header.json"], header)


def label_type(targets: Sequence[Mapping[str, Any]]) -> type[np.generic]:
    """What labels are stored as: class numbers as small as they go, beside numbers as float32."""
    if not all(target["classes"] for target in targets):
        return np.float32  # to which class numbers, below 2^24, are the same
    widest = max(len(target["classes"]) for target in targets)
    return np.uint8 if widest <= 256 else np.uint16


def _moments(name: str, target: str, values: np.ndarray) -> dict[str, float]:
    """Mean and standard deviation of a target's training labels, by which they are standardised.

    Raises InputError where all are the same.
    """
    values = values.astype(np.float32).astype(np.float64)  # as they are stored
    if values.min() == values.max():
        raise InputError(
            f"data set {name!r}: target {target!r} is {values[0]:g} in all {len(values)} training "
            "images; give images that differ in it"
        )
    return {"mean": float(values.mean()), "sd": float(values.std())}


def _read_back(path: Path, trained: int) -> tuple[pixels.Moments, repeated.Digests]:
    """Of the first ``trained`` images the pixels' moments, of all the digests."""
    moments, digests = pixels.Moments(), repeated.Digests()
    for images in pixels.blocks(path):
        moments.add(images[: max(0, trained)])
        digests.add(images)
        trained -= len(images)
    return moments, digests


def _repeated(
    name: str,
    samples: Samples,
    order: np.ndarray,
    digests: repeated.Digests,
    part_of: np.ndarray | None,
) -> dict[str, dict[str, int]]:
    """The header's count of held-out images that are trained on; a line on stderr if there are any.

    ``part_of`` (N,) is the part of the source's images that each row is of. Raises InputError
    where a file, a client or all of the data set is repeated.
    """
    images, splits = samples.images, samples.splits[order]
    classed = [n for n, target in enumerate(samples.targets) if target["classes"]]
    kinds = [
        Parts([f"client {client}" for client in samples.client_ids], samples.clients[order]),
        Parts(["the data set"], np.zeros(len(order), np.int64)),
    ]
    for column in classed[:1]:
        label = samples.labels[order, column].astype(np.int64)
        classes = samples.targets[column]["classes"]
        kinds.insert(
            1,
            Parts(
                [f"{one} of client {client}" for client in samples.client_ids for one in classes],
                samples.clients[order] * len(classes) + label,
            ),
        )
    if part_of is not None and isinstance(images, Images) and (file := images.file):
        paths = np.array([str(file(part)) for part in images.parts])
        files, number = np.unique(paths, return_inverse=True)
        kinds.insert(0, Parts(files.tolist(), number[part_of]))
    numbers = digests.numbers()
    repeated.refuse_parts(kinds, numbers, digests.plain(), splits)
    twice = repeated.counted(numbers, samples.labels[order], splits)
    found, same = (sum(one[key] for one in twice.values()) for key in ("images", "same_labels"))
    if found:
        print(
            f"{name}: {found} held-out images are also training images, {found - same} of them "
            "with other labels there",
            file=sys.stderr,
        )
    return twice


def _refuse_empty(name: str, samples: Samples) -> None:
    """Raise InputError for no samples at all, or none in a split."""
    if len(samples.images) == 0 or not samples.client_ids:
        raise InputError(
            f"data set {name!r} is empty: no client is left ({len(samples.dropped)} dropped); "
            "lower min_samples or give more data"
        )
    names = {"client": samples.client_ids, "target": [t["name"] for t in samples.targets]}
    names |= {f"class of {t['name']}": t["classes"] for t in samples.targets}
    for what, found in names.items():
        for one in found:
            if not one or not one.isprintable():  # tables, terminals and pages show it
                raise InputError(
                    f"data set {name!r}: {what} {one[:40]!r} cannot be shown; rename it"
                )
    sizes = np.bincount(samples.splits, minlength=3)
    for split, size in zip(SPLITS, sizes, strict=True):
        if size == 0:
            raise InputError(
                f"data set {name!r} has no {split} samples (train {sizes[0]}, validation "
                f"{sizes[1]}, test {sizes[2]}): give more data or change the test fraction"
            )


def check_samples(samples: Samples, where: str) -> None:
    """Raise InputError, naming ``where`` they are from, for what is not as ``Samples`` says."""
    for what, found, expected in _misfits(samples):
        raise InputError(f"{where}: {what}: found {found}, expected {expected}")


def _misfits(samples: Samples) -> Iterator[tuple[str, str, str]]:
    """What is not as ``Samples`` says, what was found there and what is right; shapes first."""
    images, count = samples.images, len(samples.images)
    if len(images.shape) != 4:
        yield "images", f"shape {images.shape}", "(N, height, width, channels)"
    if isinstance(images, np.ndarray) and images.dtype != np.uint8:
        yield "images", str(images.dtype), "uint8"
    for name, shape, more in (
        ("labels", (count, len(samples.targets)), ": a column a target"),
        ("clients", (count,), ""),
        ("splits", (count,), ""),
    ):
        if (found := getattr(samples, name).shape) != shape:
            yield name, f"shape {found}", f"{shape}{more}"
    for name, known in (("kind", KINDS), ("polarity", POLARITIES)):
        if (word := getattr(samples, name)) not in known:
            yield name, repr(word), " or ".join(known)
    numbered = [("clients", samples.clients, len(samples.client_ids))]
    for column, target in zip(samples.labels.T, samples.targets, strict=True):
        what = f"labels of {target['name']!r}"
        if target["classes"]:
            numbered.append((what, column, len(target["classes"])))
        elif not (finite := np.isfinite(column.astype(np.float32))).all():
            yield what, f"{column[~finite][0]:g} in row {int(finite.argmin())}", "finite numbers"
    for name, numbers, end in numbered if count else []:
        if not 0 <= numbers.min() <= numbers.max() < end:
            yield name, f"numbers {numbers.min()} to {numbers.max()}", f"0 to {end - 1}"
