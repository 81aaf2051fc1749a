"""Stage: fetch one registered file and check it, or check the one that was put there by hand."""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json, write_json
from autoprune.core.options import add_flags, from_flags
from autoprune.data.fetch.answer import PAGE, Refused, discard
from autoprune.data.fetch.registry import REGISTRY, Entry, load_entry
from autoprune.data.fetch.transfer import Patience, is_page, meter, transfer

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Pin:
    """What a file must be; ``origin`` "published" or "lock" says where ``sha256`` is from."""

    bytes: int | None
    sha256: str | None
    md5: str | None
    origin: str


class Wrong(Exception):
    """A file is not the registered one; the message says in what."""


def fetch(
    entry: Entry,
    folder: Path,
    lock: Path,
    urls: Sequence[str] = (),
    patience: Patience | None = None,
) -> dict[str, Any]:
    """Make ``folder / entry.file`` the registered file and return its receipt.

    A file that stands there is checked and no network is asked. Otherwise ``urls``, or else the
    entry's, are tried in order. ``lock`` is a JSON file of ``{name: {sha256, bytes, url}}``: it
    records what came where no sha256 is published, and is enforced from then on. Raises
    InputError; then nothing stands under the final name that did not before, and a partial file
    is kept as FILE.part where the next run can go on from it.
    """
    target = folder / entry.file
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(target):
            pin = _pin(entry, lock)
            if target.exists():
                url = None
                try:
                    size, sha256 = check(target, pin)
                except Wrong as error:
                    raise InputError(
                        f"{target}: {error}; put the right file there, or remove it to have it "
                        "fetched"
                    ) from None
            else:
                url, size, sha256 = _download(entry, target, pin, urls, patience or Patience())
            if pin.sha256 is None:
                record(lock, entry.name, {"sha256": sha256, "bytes": size, "url": url})
    except OSError as error:
        place = error.filename or folder
        raise InputError(f"{place}: cannot be used ({error.strerror or error})") from None
    return {
        "schema_version": SCHEMA_VERSION,
        "name": entry.name,
        "file": entry.file,
        "bytes": size,
        "sha256": sha256,
        "checksum": pin.origin,
    }


def _download(
    entry: Entry, target: Path, pin: Pin, urls: Sequence[str], patience: Patience
) -> tuple[str, int, str]:
    """Fetch to ``target`` from the first address that gives it; (address, bytes, sha256)."""
    part = target.with_name(target.name + ".part")
    failures = []
    for url in urls or entry.urls:
        try:
            size, sha256 = _from_address(url, part, pin, patience)
        except Refused as error:
            failures.append(f"{url}: {error}")
            continue
        with open(part, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(part, target)
        discard(part)
        return url, size, sha256
    reasons = "; ".join(failures) or "it has no address"
    terms = f" ({' '.join(entry.terms.split())})" if entry.terms else ""
    raise InputError(
        f"{entry.name} could not be fetched: {reasons}; run again, or put the file by hand at "
        f"{target}{terms}"
    )


def _from_address(url: str, part: Path, pin: Pin, patience: Patience) -> tuple[int, str]:
    """(bytes, sha256) of ``part``, whole and checked; raises Refused and leaves no wrong part."""
    resumed = part.exists()
    transfer(url, part, pin.bytes, bool(pin.sha256 or pin.md5), patience)
    try:
        return check(part, pin)
    except Wrong as error:
        discard(part)
        if not resumed:
            raise Refused(str(error)) from None
    # The bytes of an earlier run, perhaps from another address, may be the wrong ones.
    print(f"{url}: what was resumed is not the file; starting anew", file=sys.stderr)
    return _from_address(url, part, pin, patience)


def check(path: Path, pin: Pin) -> tuple[int, str]:
    """(bytes, sha256) of a file; raises Wrong, naming found and expected, unless it fits."""
    size = path.stat().st_size
    if is_page(path):
        raise Wrong(PAGE)
    if pin.bytes is not None and size != pin.bytes:
        raise Wrong(f"{size} bytes, expected {pin.bytes}")
    digests = {"sha256": hashlib.sha256()}
    if pin.md5:
        digests["md5"] = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream, meter(f"checking {path.name}", size) as bar:
        while block := stream.read(1 << 20):
            for digest in digests.values():
                digest.update(block)
            bar.update(len(block))
    for name, digest in digests.items():
        expected = getattr(pin, name)
        if expected is not None and digest.hexdigest() != expected:
            raise Wrong(f"{name} {digest.hexdigest()}, expected {expected}")
    return size, digests["sha256"].hexdigest()


def _pin(entry: Entry, lock: Path) -> Pin:
    if entry.sha256:
        return Pin(entry.bytes, entry.sha256, entry.md5, "published")
    locked = read_lock(lock).get(entry.name)
    if locked is None:
        return Pin(entry.bytes, None, entry.md5, "lock")
    return Pin(locked["bytes"], locked["sha256"], entry.md5, "lock")


def read_lock(lock: Path) -> dict[str, dict[str, Any]]:
    """The recorded checksums by name, none where there is no file; InputError if it is not one."""
    if not lock.exists():
        return {}
    names = read_json(lock)
    if not isinstance(names, dict) or not all(
        isinstance(value, dict)
        and isinstance(value.get("bytes"), int)
        and isinstance(value.get("sha256"), str)
        for value in names.values()
    ):
        raise InputError(
            f"{lock}: not a lock file, expected sha256 and bytes by name; restore it, or remove "
            "it to trust what is fetched next"
        )
    return names


def record(lock: Path, name: str, value: dict[str, Any]) -> None:
    """Add one checksum to the lock file and say so on stderr."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with alone(lock):
        write_json(lock, dict(sorted({**read_lock(lock), name: value}.items())))
    print(
        f"{name}: no checksum is published; recorded sha256 {value['sha256']} in {lock}, enforced "
        "from now on",
        file=sys.stderr,
    )


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold ``path`` against other processes; the system lets go of it when a process dies."""
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{path}: another process is at it; waiting", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m autoprune.data.fetch.download", description=__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("name", metavar="NAME", help="entry of the registry, such as emnist_sqlite")
    add("--folder", type=Path, required=True, help="where the file goes, or is")
    add("--receipt", type=Path, required=True, help="JSON written when everything is right")
    add("--registry", type=Path, default=REGISTRY, help="YAML of entries (default: the package's)")
    add(
        "--lock",
        type=Path,
        help="JSON of checksums that are recorded on the first fetch and then enforced, for files "
        "with no published one (default: downloads.lock.json in --folder)",
    )
    add("--url", action="append", default=[], help="instead of the registry's; repeatable")
    add_flags(parser, Patience)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Fetch or check one file and write its receipt; raises InputError for whatever goes wrong."""
    args = parse(argv)
    entry = load_entry(args.name, args.registry)
    lock = args.lock or args.folder / "downloads.lock.json"
    receipt = fetch(entry, args.folder, lock, args.url, from_flags(Patience, args))
    try:
        write_json(args.receipt, receipt)
    except OSError as error:
        raise InputError(f"{args.receipt}: cannot be written ({error.strerror})") from None
    print(f"{args.name}: {args.folder / entry.file}, {receipt['bytes']} bytes, checksum right")


if __name__ == "__main__":
    run_main(main)
