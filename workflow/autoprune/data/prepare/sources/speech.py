"""Spoken words as log-mel images: wav files, or a NumPy archive of the images."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from autoprune.core import seeds
from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Images, Samples
from autoprune.data.prepare.readers import wav

KIND = "real"
FORM = "SPEAKER-LABEL-TAKE.wav"
ARRAYS = ("x", "y", "speaker")  # of an archive
PART = 200  # files that a process reads at once


class Options(sources.Split):
    """What may be set."""

    local: Path = sources.reads(
        ".npz",
        ".wav",
        default=...,
        description=f"Folder of files {FORM}, in folders or not; or a .npz, or the folder that it "
        "lies in: `x` (clip, band, frame) uint8, `y` its word, `speaker`.",
    )
    test_speakers: int = Field(
        7,
        ge=0,
        description="Speakers, drawn by `seed`, whose clips are all held out, half of them to "
        "validate and half to test; the others only train. With 0 each speaker's clips are split "
        "by `test_fraction`.",
    )

    @model_validator(mode="after")
    def _one_split(self) -> Self:
        usual = sources.Split.model_fields["test_fraction"].default
        if self.test_speakers and self.test_fraction != usual:
            raise ValueError(
                "test_fraction splits each speaker's clips, test_speakers holds out whole "
                "speakers; leave one out, or set test_speakers to 0"
            )
        return self


def prepare(options: Options, processes: int = 1) -> Samples:
    """Images (N, bands, frames, 1), loud on quiet; a client is a speaker, the target ``word``.

    Wav files are read when the store is written. Raises InputError naming the file, array or row.
    """
    place = options.local
    if not place.exists():
        raise InputError(f"{place}: no such file or folder; expected a .npz, or {FORM} in a folder")
    archive = _archive(place)
    images, words, speakers = _arrays(archive) if archive else _files(place)
    client_ids, clients = np.unique(speakers, return_inverse=True)
    if len(client_ids) < 2:
        raise InputError(
            f"{place}: '{client_ids[0]}' is the only speaker; give clips of two speakers at least"
        )
    classes, labels = sources.class_numbers(words, str(place))
    return sources.by_client(
        options,
        images=images,
        labels=labels,
        clients=clients,
        client_ids=client_ids.tolist(),
        targets=[{"name": "word", "classes": classes}],
        polarity="light-on-dark",
        kind=KIND,
        splits=_unseen(options, len(client_ids))[clients] if options.test_speakers else None,
    )


def _unseen(options: Options, speakers: int) -> np.ndarray:
    """The split (speaker,) of each speaker's clips: 2 for those who are held out."""
    number = options.test_speakers
    if number >= speakers:
        raise InputError(
            f"{options.local}: test_speakers: found {number}, expected fewer than the "
            f"{speakers} speakers there, so that some train"
        )
    splits = np.zeros(speakers, np.uint8)
    splits[seeds.generator(options.seed, "test-speakers").permutation(speakers)[:number]] = 2
    return splits


def _archive(place: Path) -> Path | None:
    """The archive that is meant, None where there are wav files."""
    if place.is_file():
        if place.suffix.lower() != ".npz":
            raise InputError(f"{place}: expected a .npz, or a folder of files {FORM}")
        return place
    found = sorted(place.glob("*.npz"))
    if len(found) > 1:
        raise InputError(f"{place}: {len(found)} files .npz in it; give one of them")
    return found[0] if found else None


def _arrays(path: Path) -> tuple[np.ndarray, list[str], list[str]]:
    """The images (N, bands, frames, 1) of an archive, each one's word and speaker."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if missing := [name for name in ARRAYS if name not in archive]:
                raise InputError(
                    f"{path}: no array {missing[0]!r}, only {', '.join(archive) or 'none'}; "
                    f"expected {', '.join(ARRAYS)}"
                )
            x, *texts = (archive[name] for name in ARRAYS)
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy raise all kinds for broken bytes
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as .npz ({reason}); fetch it again") from None
    if x.ndim != 3 or x.dtype != np.uint8 or not x.size:
        raise InputError(
            f"{path}: x: found {x.dtype} {x.shape}, expected uint8 (clip, band, frame)"
        )
    for name, values in zip(ARRAYS[1:], texts, strict=True):
        if values.shape != (len(x),) or values.dtype.kind not in "iuU":
            raise InputError(
                f"{path}: {name}: found {values.dtype} {values.shape}, expected whole numbers or "
                f"text ({len(x)},), one a clip of x"
            )
    words, speakers = ([str(value) for value in values.tolist()] for values in texts)
    return x[..., None], words, speakers


def _files(folder: Path) -> tuple[Images, list[str], list[str]]:
    """The images that the wav files of a folder make, each one's word and speaker."""
    found, others = [], 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        # hidden ones are no sound: macOS puts a ._a.wav beside a.wav
        if path.suffix.lower() == ".wav" and not path.name.startswith("."):
            found.append(path)
        else:
            others += 1
    if not found:
        raise InputError(f"{folder}: neither a .npz nor a file {FORM} in it ({others} other files)")
    if others:
        print(f"{folder}: {others} files left out that are no .wav", file=sys.stderr)
    names = [_name(path) for path in found]
    first: dict[tuple[str, ...], Path] = {}
    for name, path in zip(names, found, strict=True):
        if first.setdefault(name, path) != path:
            raise InputError(f"{path}: this clip is also {first[name]}; remove or rename one")
    parts = [(row, found[row : row + PART]) for row in range(0, len(found), PART)]
    speakers, words, _ = zip(*names, strict=True)
    return Images((len(found), wav.BANDS, wav.FRAMES, 1), parts, read), [*words], [*speakers]


def _name(path: Path) -> tuple[str, ...]:
    """Speaker, label and take of a file."""
    match = re.fullmatch(r"(.+)-([^-]+)-([^-]+)", path.stem)
    if not match or not path.stem.isprintable():
        raise InputError(f"{path}: the name {path.name!r} is not of the form {FORM}; rename it")
    return match.groups()


def read(part: tuple[int, Sequence[Path]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The rows (n,) and images (n, bands, frames, 1) of one part, (first row, files)."""
    first, files = part
    images = np.stack([wav.image(path) for path in files])
    return [(np.arange(first, first + len(files)), images[..., None])]
