"""Stage: unpack a fetched archive or compressed file, and nothing outside its place."""

import argparse
import bz2
import gzip
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json, sha256_file, write_json
from autoprune.data.fetch.download import alone
from autoprune.data.fetch.registry import add_arguments, load_entry, write_receipt
from autoprune.data.fetch.transfer import CHUNK, meter

SCHEMA_VERSION = 1
OPENERS = {".lzma": lzma.open, ".xz": lzma.open, ".bz2": bz2.open, ".gz": gzip.open}
HEADERS = 2048  # bytes of a tar stream a member may take besides its content: headers, padding
DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, tarfile.TarError)
Member = tuple[PurePosixPath, BinaryIO | None]  # None: a folder


class Damaged(InputError):
    """An archive that cannot be read to its end."""

    def __init__(self, archive: Path, error: object) -> None:
        super().__init__(f"{archive}: damaged or cut off ({error}); remove it and fetch it again")


class Source:
    """A stream of an archive: counts what is read, refuses too much, names what is damaged."""

    def __init__(self, archive: Path, stream: BinaryIO, limit: int) -> None:
        self.archive, self.stream, self.limit = archive, stream, limit
        self.count = 0

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; raises InputError beyond the limit or for damage."""
        try:
            block = self.stream.read(size)
        except DAMAGED as error:
            raise Damaged(self.archive, error) from None
        self.count += len(block)
        if self.count > self.limit:
            raise InputError(
                f"{self.archive}: more than the allowed {self.limit} bytes come out of it; raise "
                "its limit if it is to be trusted"
            )
        return block


def extract(archive: Path, folder: Path, max_files: int, max_bytes: int) -> dict[str, Any]:
    """Unpack a tar (also .bz2, .gz, .xz) or zip archive as ``folder``; returns what came out.

    Everything lands in a scratch folder that is renamed when whole; a ``folder`` that already
    holds this archive's content is left as it is. Modes and owners are not taken over: members
    are written as ordinary files. Raises InputError, and then leaves no folder, for a damaged
    archive, a password, more than ``max_files`` members or ``max_bytes`` bytes (counted as they
    come, not as declared), and for a name that is absolute, has ``..`` or a backslash or occurs
    twice, or a member that is neither file nor folder. This is stricter than tarfile's
    ``data_filter`` (PEP 706), which early 3.11 lacks and zip files do without.
    """
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members

    def unpack(scratch: Path) -> tuple[int, int]:
        scratch.mkdir()
        seen, files, total = set(), 0, 0
        with meter(f"unpacking {archive.name}", None) as tell:
            for name, stream in members(archive, max_files, max_bytes):
                if name in seen:
                    raise InputError(f"{archive}: member {str(name)!r} occurs twice in it")
                seen.add(name)
                if len(seen) > max_files:
                    raise InputError(f"{archive}: more than the allowed {max_files} members")
                target = scratch / name
                if stream is None:
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                source = Source(archive, stream, max_bytes - total)
                total += _copy(source, target, tell)
                files += 1
        if not files:
            raise Damaged(archive, "no file in it")
        return files, total

    return _once(archive, folder, unpack)


def decompress(archive: Path, target: Path, max_bytes: int) -> dict[str, Any]:
    """Decompress a .lzma, .xz, .bz2 or .gz file as ``target``; otherwise as ``extract``."""
    opener = OPENERS.get(archive.suffix)
    if opener is None:
        raise InputError(f"{archive}: cannot be decompressed, expected {', '.join(OPENERS)}")

    def unpack(scratch: Path) -> tuple[int, int]:
        label = f"decompressing {archive.name}"
        with opener(archive, "rb") as stream, meter(label, None) as tell:
            count = _copy(Source(archive, stream, max_bytes), scratch, tell)
        if not count:
            raise Damaged(archive, "nothing in it")
        return 1, count

    return _once(archive, target, unpack)


def _once(archive: Path, place: Path, unpack: Callable[[Path], tuple[int, int]]) -> dict[str, Any]:
    """Let ``unpack(scratch)`` make ``place``, unless it already holds what is in ``archive``.

    A marker beside ``place`` says which archive it is from; it comes before the rename, so that
    what stands at ``place`` without one is never ours.
    """
    marker = place.with_name(f".{place.name}.unpacked.json")
    scratch = place.with_name(f".{place.name}.part")
    try:
        digest = sha256_file(archive)
        place.parent.mkdir(parents=True, exist_ok=True)
        with alone(place):
            if place.exists():
                return _reuse(archive, place, marker, digest)
            _remove(scratch)  # of a run that was killed
            try:
                files, count = unpack(scratch)
                summary = {
                    "schema_version": SCHEMA_VERSION,
                    "archive": archive.name,
                    "sha256": digest,
                    "files": files,
                    "bytes": count,
                }
                write_json(marker, summary)
                os.replace(scratch, place)
                return summary
            finally:
                _remove(scratch)
    except OSError as error:
        where = error.filename or place
        raise InputError(
            f"{where}: cannot be used ({error.strerror or error}) while unpacking {archive.name}"
        ) from None


def _reuse(archive: Path, place: Path, marker: Path, digest: str) -> dict[str, Any]:
    """The marker's summary when ``place`` still holds what it says; else InputError."""
    summary = read_json(marker) if marker.is_file() else None
    paths = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    found = (digest, len(paths), sum(path.stat().st_size for path in paths))
    if not isinstance(summary, dict) or found != tuple(
        summary.get(key) for key in ("sha256", "files", "bytes")
    ):
        raise InputError(
            f"{place}: is there, but is not what comes out of {archive}; move it away, or remove it"
        )
    return summary


def _copy(source: Source, target: Path, tell: Callable[[int], None]) -> int:
    """Write a stream as a new file; returns its bytes."""
    with open(target, "xb") as stream:
        while block := source.read(CHUNK):
            stream.write(block)
            tell(len(block))
    return source.count


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tar_members(archive: Path, max_files: int, max_bytes: int) -> Iterator[Member]:
    """Members in the order of the stream, which is read once and to its end."""
    # Our own decompressor: tarfile's takes a cut stream for its end.
    with OPENERS.get(archive.suffix, open)(archive, "rb") as raw:
        limit = max_bytes + HEADERS * max_files + tarfile.RECORDSIZE
        source = Source(archive, raw, limit)
        with _damage(archive), tarfile.open(fileobj=source, mode="r|") as tar:
            for member in tar:
                if not (member.isreg() or member.isdir()) or member.issparse():
                    kind = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}
                    _refuse_kind(archive, member.name, kind.get(member.type))
                name = _inside(archive, member.name, member.isdir())
                if name.parts:
                    yield name, None if member.isdir() else tar.extractfile(member)
            end = tar.offset + tarfile.BLOCKSIZE
            while source.read(CHUNK):  # to the checksum at the end
                pass
            if source.count < end:
                raise Damaged(archive, "no end-of-archive mark")


def _zip_members(archive: Path, max_files: int, max_bytes: int) -> Iterator[Member]:
    with _damage(archive), zipfile.ZipFile(archive) as bundle:
        for member in bundle.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                link = "a symbolic link" if kind == stat.S_IFLNK else None
                _refuse_kind(archive, member.filename, link)
            name = _inside(archive, member.orig_filename, member.is_dir())
            if member.flag_bits & 1:
                raise InputError(f"{archive}: member {member.filename!r} needs a password")
            if member.is_dir():
                yield name, None
            else:
                with bundle.open(member) as stream:
                    yield name, stream


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    """Name the archive for what the libraries raise about its form."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise Damaged(archive, error) from None


def _refuse_kind(archive: Path, name: str, kind: str | None) -> None:
    what = kind or "neither a file nor a folder"
    raise InputError(f"{archive}: member {name!r} is {what}, which is not unpacked")


def _inside(archive: Path, name: str, is_folder: bool) -> PurePosixPath:
    """A member's path under the folder; InputError for one that may lead out of it."""
    path = PurePosixPath(name)
    drive = len(name) > 1 and name[1] == ":"
    if path.is_absolute() or ".." in path.parts or drive or {"\\", "\0"} & set(name):
        raise InputError(f"{archive}: member {name!r} leads out of the folder; do not trust it")
    if not path.parts and not is_folder:
        raise InputError(f"{archive}: a member has no name; do not trust it")
    return path


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m autoprune.data.fetch.extract", description=__doc__, allow_abbrev=False
    )
    add_arguments(parser, "where the fetched file is")
    parser.add_argument(
        "--output", type=Path, required=True, help="new folder, or new file of a compressed one"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Unpack one file within its registered limits and write a receipt."""
    args = parse(argv)
    entry = load_entry(args.name, args.registry)
    if entry.format == "plain" or entry.limits is None:
        raise InputError(f"{args.name}: is not packed (format {entry.format}); use it as it is")
    archive = args.folder / entry.file
    if entry.format.startswith(("tar", "zip")):
        limits = (entry.limits["files"], entry.limits["bytes"])
        receipt = extract(archive, args.output, *limits)
    else:
        receipt = decompress(archive, args.output, entry.limits["bytes"])
    write_receipt(args.receipt, receipt)
    print(f"{args.name}: {receipt['files']} files, {receipt['bytes']} bytes in {args.output}")


if __name__ == "__main__":
    run_main(main)
