"""FEMNIST, CelebA or another image data set as the Hugging Face hub has it: parquet files."""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from autoprune.core.errors import InputError
from autoprune.data.prepare import decoding, sources
from autoprune.data.prepare.images import Images, Samples
from autoprune.data.prepare.readers import hub_files
from autoprune.data.prepare.sources import ANSWERS

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


class Options(sources.Split):
    """What may be set."""

    repository: str = Field(description=f"Owner/name; {' and '.join(KNOWN)} need no columns.")
    local: Path | None = sources.reads(
        ".parquet", description="Folder of its parquet files; nothing is fetched."
    )
    download: Path | None = Field(
        None,
        description="Folder to fetch them to, instead of `local`; what is there already stays.",
    )
    revision: str | None = Field(
        None, description="The commit, 40 hexadecimal digits, with `download`."
    )
    client_column: str | None = Field(None, description="Whose sample it is.")
    target_column: Annotated[list[str], Field(min_length=1)] | None = Field(
        None, description="What is predicted."
    )
    split: Literal["own", "by-client"] | None = Field(
        None,
        description="`own`: the repository's files for validation and test; `by-client`: a share "
        "of each client's images; without it own where there are such files.",
    )
    side: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Pixels a side of the square that the largest one in the middle of each image "
        "is scaled to; without it 84 for CelebA, else all images must have one size, which stays.",
    )
    drawn: Literal["dark-on-light", "light-on-dark"] | None = Field(
        None, description="What grey images look like; without it found from the first ones."
    )

    @property
    def known(self) -> Repository | None:
        """What is known of the repository."""
        return KNOWN.get(self.repository)

    @property
    def client(self) -> str | None:
        """The column of the clients."""
        return self.client_column or (self.known.client if self.known else None)

    @property
    def targets(self) -> list[str]:
        """The columns of what is predicted, each once."""
        return [*dict.fromkeys(self.target_column or (self.known.targets if self.known else ()))]

    @property
    def commit(self) -> str | None:
        """The commit to fetch."""
        return self.revision or (self.known.revision if self.known else None)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.local is None) == (self.download is None):
            raise ValueError("hub needs either local or download, a folder")
        if self.local and self.revision:
            raise ValueError("revision goes with download; leave it out with local")
        if self.download and not re.fullmatch("[0-9a-f]{40}", self.commit or ""):
            raise ValueError(
                f"revision {self.commit}: expected a commit of {self.repository}, 40 hexadecimal "
                "digits (the hub shows them under Files and versions); a branch may change under "
                "you"
            )
        if not self.client or not self.targets:
            raise ValueError(
                f"repository {self.repository} needs client_column and target_column; only "
                f"{' and '.join(KNOWN)} are known"
            )
        return self


def prepare(options: Options, processes: int = 1) -> Samples:
    """Read clients and labels; images (N, H, W, C) in the order of the files.

    The row groups of the files are read later, as parts. Raises InputError naming file and row
    (from 0) of a fault.
    """
    client, targets, folder = options.client, options.targets, options.local
    if options.download:
        assert options.commit
        hub_files.fetch(options.repository, options.commit, options.download)
        folder = options.download
    assert client is not None
    assert folder is not None
    splits = hub_files.find_files(folder)
    files = list(splits)
    columns = hub_files.read_columns(files, client, targets)
    parts = hub_files.parts(files)
    path, first = parts[0][0], _first_image(parts[0])
    side = options.side or (options.known.side if options.known else None)
    width, height = (side, side) if side else first.size
    form = decoding.Form(
        height,
        width,
        channels=1 if first.mode in ("1", "L", "LA", "I;16") else 3,
        expected=None if side else (height, width),
        advice=f"that is the size of the first image of {path}; give side to resize all",
        square=side is not None,
    )
    shape = (len(columns), form.height, form.width, form.channels)
    client_ids, clients = _numbered(columns, client)
    found = [_labels(files, columns, target) for target in targets]
    numbers = np.repeat(
        [*splits.values()], [hub_files.opened(path).metadata.num_rows for path in files]
    )
    if options.split == "own" and not numbers.any():
        raise InputError(f"split own: {options.repository} has train files alone; use by-client")
    return sources.by_client(
        options,
        images=Images(shape, parts, functools.partial(read, form=form), itemgetter(0)),
        labels=np.column_stack([labels for _, labels in found]),
        clients=clients,
        client_ids=client_ids,
        targets=[
            {"name": target, "classes": classes}
            for target, (classes, _) in zip(targets, found, strict=True)
        ],
        polarity="colour" if form.channels == 3 else options.drawn or _drawn(parts[0], form),
        kind=KIND,
        splits=numbers if numbers.any() and options.split != "by-client" else None,
    )


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
    names = hub_files.class_names(files[0], column)
    if not (names and pa.types.is_integer(kind)):
        if not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
            raise InputError(
                f"{files[0]}: column {column} is {kind}, expected classes, yes or no, "
                "whole numbers or text; give another target_column"
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
