"""TensorFlow Federated's databases of FEMNIST and CelebA: the paper's split."""

import lzma
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from autoprune.core.errors import InputError
from autoprune.core.files import whole_file
from autoprune.data.fetch.answer import PAGE
from autoprune.data.fetch.download import alone
from autoprune.data.fetch.transfer import is_page, meter
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Expected, Samples

KIND = "real"
MAX_BYTES = 60 * 10**9  # more than the largest is: a CelebA database has every image twice
CHUNK = 1 << 20  # bytes unpacked at once


class Options(sources.Counted):
    """What may be set."""

    archive: Path | None = sources.reads(
        ".lzma",
        ".xz",
        description="The file as downloaded, emnist_all.sqlite.lzma or celeba.sqlite.lzma; "
        "unpacked once, unless you did.",
    )
    unpacked: Path | None = Field(
        None, description="Folder to unpack the archive into; without it beside the archive."
    )
    database: Path | None = sources.reads(
        ".sqlite", description="An unpacked SQLite file, instead of `archive`."
    )
    split: str | None = Field(
        None,
        description="Which split of a database, NAME_train and NAME_test: `all` or `digits_only` "
        "of FEMNIST, `split_by_clients` or `split_by_examples` of CelebA; without it the paper's, "
        "`all` or `split_by_clients`.",
    )

    @model_validator(mode="after")
    def _one_file(self) -> Self:
        if bool(self.archive) == bool(self.database):
            raise ValueError("tff needs archive, or database alone")
        if self.unpacked and not self.archive:
            raise ValueError("unpacked goes with archive; leave it out")
        return self


# TensorFlow Federated's documentation of load_data has these numbers
EXPECTED = {
    "emnist_all": Expected(3400, 671_585, 77_483, (28, 28, 1), 62),
    "celeba": Expected(8408, 180_429, 19_859, (84, 84, 3), 2),
}


def expected(options: Options) -> Expected | None:
    """How large the published files are; None for another file, or a split that was chosen."""
    name = (options.archive or options.database or Path()).name.partition(".")[0]
    return None if options.split else EXPECTED.get(name)


def prepare(options: Options, processes: int = 1) -> Samples:
    """Read the labels; images, (N, 28, 28, 1) or (N, 84, 84, 3), follow when they are stored.

    Training examples stay so, the pooled test examples are halved into validation and test.
    FEMNIST has the target "character" of 62 classes, or 10 where all labels are digits; CelebA
    its 40 attributes, named as in its own files. InputError names file, client and row.
    """
    from autoprune.data.prepare.readers.tff_example import FEMNIST
    from autoprune.data.prepare.readers.tff_sqlite import read_sqlite

    database = options.database or _unpacked(options)
    examples = read_sqlite(database, options.split)
    layout = examples.layout
    classes = layout.classes
    if layout == FEMNIST and examples.labels.max() < 10:
        classes = classes[:10]
    return sources.by_client(
        options,
        images=examples.images,
        labels=examples.labels,
        clients=examples.clients,
        client_ids=examples.client_ids,
        targets=[{"name": name, "classes": classes} for name in layout.labels],
        polarity=layout.polarity,
        kind=KIND,
        splits=2 * examples.test,
    )


def _unpacked(options: Options) -> Path:
    """The database in the archive: unpacked now, unpacked before by hand, or given as one."""
    from autoprune.data.prepare.readers.tff_sqlite import MAGIC

    archive = options.archive
    assert archive
    database = (options.unpacked or archive.parent) / archive.stem
    if database.is_file() and not archive.exists():
        return database  # unlzma puts it there and takes the archive away
    if archive.is_file():
        with open(archive, "rb") as stream:
            if stream.read(len(MAGIC)) == MAGIC:
                return archive
    unpack(archive, database)
    return database


def unpack(archive: Path, target: Path, max_bytes: int = MAX_BYTES) -> None:
    """Decompress a .lzma or .xz file as ``target``, unless that is there and not older.

    Raises InputError, and then leaves nothing new, for a file that is damaged, cut off or no
    archive, for more than ``max_bytes`` and for a full disk.
    """
    try:
        with open(archive, "rb"):
            target.parent.mkdir(parents=True, exist_ok=True)
        with alone(target):
            if target.exists() and target.stat().st_mtime >= archive.stat().st_mtime:
                return
            if is_page(archive):
                raise InputError(f"{archive}: {PAGE}")
            with whole_file(target) as scratch:
                _decompress(archive, scratch, max_bytes)
    except (lzma.LZMAError, EOFError) as error:
        raise InputError(
            f"{archive}: damaged or cut off ({error}); remove it and fetch it again"
        ) from None
    except OSError as error:
        raise InputError(
            f"{error.filename or target}: cannot be used ({error.strerror or error}) while "
            f"unpacking {archive.name}"
        ) from None


def _decompress(archive: Path, scratch: Path, max_bytes: int) -> None:
    """Write what is in ``archive``; raises InputError beyond the limit, and what lzma raises."""
    total = 0
    with (
        lzma.open(archive) as packed,
        open(scratch, "wb") as stream,
        meter(f"unpacking {archive.name}", None) as bar,
    ):
        while block := packed.read(CHUNK):
            total += len(block)
            if total > max_bytes:
                raise InputError(
                    f"{archive}: more than the allowed {max_bytes} bytes come out of it; do not "
                    "trust it"
                )
            stream.write(block)
            bar.update(len(block))
    if not total:
        raise EOFError("nothing in it")
