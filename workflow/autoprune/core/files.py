"""Files that are either whole or absent: written beside their place, then renamed."""

import fcntl
import glob
import hashlib
import json
import os
import platform
import stat
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import InputError


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Yield a scratch path beside ``path``; rename it into place when the block succeeds.

    Parent folders are made, and what a killed process of this machine left of the same file is
    removed. When the block raises, the scratch file is removed and whatever stood at ``path``
    before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # several machines may share the disk: the number of a process says nothing on another
    mine = f".{path.name}.{zlib.crc32(platform.node().encode()):08x}-"
    for left in path.parent.glob(f"{glob.escape(mine)}*.part{glob.escape(path.suffix)}"):
        if not _alive(left.name.removeprefix(mine).partition(".")[0]):
            left.unlink(missing_ok=True)
    scratch = path.with_name(f"{mine}{os.getpid()}.part{path.suffix}")
    try:
        yield scratch
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _alive(process: str) -> bool:
    """Whether a process of this number may still be writing."""
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):  # somebody else's process; no number at all
        return True
    return True


@contextmanager
def claimed(folder: str | Path) -> Iterator[None]:
    """Hold a folder, which is made where it is not there, against other processes that would.

    The system lets go of it when the process dies. Raises InputError where another one holds it.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{folder}: another process is writing here; wait for it, or choose another folder"
            ) from None
        yield
    finally:
        os.close(opened)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8 with Unix line ends, whole or not at all."""
    with whole_file(path) as scratch:
        scratch.write_bytes(text.encode())


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as JSON, the same bytes for the same value; NaN is refused (ValueError)."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


def check_kind(path: str | Path) -> Path:
    """``path``, unless what is there is no file: InputError. Reading a pipe may never end."""
    path = Path(path)
    with suppress(OSError):  # not there, or not to be looked at: whoever reads it says so
        kind = stat.S_IFMT(path.stat().st_mode)
        if kind != stat.S_IFREG:
            raise InputError(f"{path}: a {KINDS.get(kind, 'device')}, expected a file")
    return path


def parse_json(text: str) -> Any:
    """What a JSON text says; ValueError where it is none, InputError for a key given twice."""
    return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping, each key of which is given once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"key {twice!r} is given twice: the first would be lost; leave one")
    return found


def read_json(path: str | Path) -> Any:
    """Read a JSON file; raises InputError naming the file when it is absent or not JSON.

    A key that is given twice in one mapping is refused, as one of the two would be lost.
    """
    check_kind(path)
    try:
        return parse_json(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of numbers without end
        raise InputError(
            f"{path}: not valid JSON ({error}); make or fetch the file again"
        ) from None


def read_array(path: str | Path) -> np.ndarray:
    """Map a .npy file, read-only; raises InputError when it is absent or not a whole one."""
    check_kind(path)
    try:
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; make it again") from None
    # its header is Python's text: a damaged one may raise what Python's parser does
    except Exception as error:
        raise InputError(f"{path}: not a whole .npy file ({error}); make it again") from None
    return found


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_noted(path: str | Path) -> Path:
    """``path``, unless the run.json beside it notes other bytes: InputError.

    A run notes its other files last, so that a part of one, or one of another run, is found out.
    """
    path = check_kind(path)
    about = path.with_name("run.json")
    noted = read_json(about) if about.is_file() and path.is_file() else {}
    noted = noted if isinstance(noted, dict) else {}
    if noted.get("digest", digest := digest_of(noted)) != digest:
        raise InputError(f"{about}: edited: it is not what its digest says; train the run again")
    files = noted.get("files", {})
    if path.name in files and files[path.name] != sha256_file(path):
        raise InputError(
            f"{path}: not the file that {about.name} beside it notes: cut short, edited or of "
            "another run; train the run again"
        )
    return path


def digest_of(record: Mapping[str, Any]) -> str:
    """Hex SHA-256 of a record but for its own ``digest``."""
    others = {name: value for name, value in record.items() if name != "digest"}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def seal(path: str | Path) -> None:
    """Note a finished file's SHA-256 beside it, as ``sha256sum --check`` reads it."""
    write_text(f"{path}.sha256", f"{sha256_file(path)}  {Path(path).name}\n")


def check_seal(path: str | Path) -> None:
    """Raise InputError for a file that is not the one that was sealed; one without a seal passes.

    A table that is cut at the end of a line looks whole.
    """
    note = Path(f"{path}.sha256")
    if note.is_file() and Path(path).is_file():
        words = note.read_text(encoding="utf-8", errors="replace").split()
        if words[:1] != [sha256_file(path)]:
            raise InputError(
                f"{path}: not the file whose checksum is in {note.name}: cut short or edited; "
                "remove both and run again, which makes them anew"
            )


def write_together(texts: Mapping[str | Path, str]) -> None:
    """Write several text files so that an error while writing leaves none of them behind."""
    with ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(whole_file(path)).write_bytes(text.encode())


@contextmanager
def whole_folder(folder: str | Path, names: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Yield a scratch path for each file name; all take their place together, or none does.

    ``names[0]`` is the file that says the folder is complete: an old one goes first and the new
    one comes last. A failed write (full disk, no permission) is an InputError. On failure the
    folders made for it go too.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with ExitStack() as stack:
            # The stack renames in reverse, hence the first name last.
            scratch = {name: stack.enter_context(whole_file(folder / name)) for name in names}
            yield scratch
            (folder / names[0]).unlink(missing_ok=True)
            made = []
    except OSError as error:
        raise InputError(f"{folder}: cannot write there ({error.strerror or error})") from None
    finally:
        with suppress(OSError):  # not there, or somebody else's file is in it
            for path in made:
                path.rmdir()


CHUNK = 4 << 20  # bytes hashed at once


def checksum(paths: Mapping[str, Path]) -> str:
    """Hex SHA-256 of the arrays' names, types, shapes and bytes.

    Reads the files in order and not as memory maps, whose pages would count as this process's
    memory, as many as the images are.
    """
    digest = hashlib.sha256()
    for array, path in paths.items():
        with open(path, "rb") as stream:
            np.lib.format.read_magic(stream)
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            digest.update(f"{array} {dtype.str} {tuple(map(int, shape))}\n".encode())
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
