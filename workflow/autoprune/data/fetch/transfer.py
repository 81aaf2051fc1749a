"""One file over HTTP: resumed where it broke off, retried, and told apart from a web page."""

import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import Field

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.files import read_json, write_json

if TYPE_CHECKING:
    import requests
    from tqdm import tqdm

CHUNK = 1 << 20  # bytes written at once
LONGEST_WAIT = 60.0  # seconds; also for a server that asks for more
EVERY = 10.0  # seconds between signs of progress where there is no terminal
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be others a moment later
PAGE = "a web page came in its place, such as a quota or login page; fetch it with a browser"


class Refused(Exception):
    """One address did not give the file; ``again`` says whether it may a moment later."""

    def __init__(self, reason: str, again: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.again = again
        self.wait = wait  # seconds that the server asks for


class Patience(Block):
    """How long to try."""

    timeout: float = Field(
        30.0,
        ge=0.01,
        description="Seconds without an answer or a byte after which an address is taken as "
        "stalled.",
    )
    retries: int = Field(
        5, ge=0, description="Tries in a row that bring no new byte before the next address."
    )
    retry_wait: float = Field(
        1.0,
        ge=0,
        description="Seconds before the first retry, doubled each time up to 60; a server may ask "
        "for more, up to as many.",
    )

    def pause(self, failures: int, asked: float) -> float:
        """Seconds before retry number ``failures``; at least ``asked``, but bounded."""
        return min(LONGEST_WAIT, max(self.retry_wait * 2 ** (failures - 1), asked))


def meter(what: str, total: int | None, start: int = 0) -> "tqdm[NoReturn]":
    """A bar of bytes: at once on a terminal, else a line now and then of what takes long."""
    from tqdm import tqdm

    now = sys.stderr.isatty()
    return tqdm(
        desc=what,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        leave=False,
        delay=0 if now else EVERY,
        mininterval=0.1 if now else EVERY,
    )


def is_page(path: Path) -> bool:
    """Whether a file begins like an HTML page."""
    with open(path, "rb") as stream:
        return (
            stream.read(512)
            .lstrip(b"\xef\xbb\xbf \t\r\n")
            .lower()
            .startswith((b"<!doctype html", b"<html"))
        )


def discard(part: Path) -> None:
    """Remove a partial file and what is known of its origin."""
    part.unlink(missing_ok=True)
    _origin(part).unlink(missing_ok=True)


def transfer(url: str, part: Path, size: int | None, pinned: bool, patience: Patience) -> None:
    """Bring ``part`` to its full length from ``url``, from where it stands.

    ``size`` is bytes where known; ``pinned`` says that a checksum will tell a wrong file. Raises
    Refused when the address does not give it: the bytes that came stay in ``part`` for a resume.
    Raises InputError when the disk does not take it.
    """
    import requests

    failures, best = 0, _length(part)
    with requests.Session() as session:
        session.headers["User-Agent"] = "autoprune"
        while size is None or _length(part) != size:
            try:
                _attempt(session, url, part, size, pinned, patience.timeout)
                return
            except Refused as error:
                length = _length(part)
                failures = 1 if length > best else failures + 1
                best = max(best, length)
                if not error.again or failures > patience.retries:
                    raise
                pause = patience.pause(failures, error.wait)
                print(f"{url}: {error}; again in {pause:.1f} s", file=sys.stderr, flush=True)
                time.sleep(pause)


def _attempt(
    session: "requests.Session",
    url: str,
    part: Path,
    size: int | None,
    pinned: bool,
    timeout: float,
) -> None:
    """One request and its body; returns when ``part`` is whole, else raises as ``transfer``."""
    have = _length(part)
    if size is not None and have > size:
        have = 0
    # Without identity a server may compress on the fly, and the bytes would not be the file's.
    headers = {"Accept-Encoding": "identity"}
    validator = _validator(part, url)
    if have and (validator or size):
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    with _ask(session, url, headers, timeout) as reply:
        start, total = _span(reply, part, have if "Range" in headers else 0)
        if total is not None and size is not None and total != size:
            raise Refused(f"it has {total} bytes there, expected {size}")
        if total is not None and start == total:
            return
        chunked = "chunked" in reply.headers.get("Transfer-Encoding", "").lower()
        if total is None and not chunked and not pinned:
            raise Refused("the server does not say how long it is, and no checksum is known")
        total = total or size
        _check_room(part, (total or 0) - (start or _length(part)))
        if not start:
            validator = _strong(reply)
            if validator:
                write_json(_origin(part), {"url": url, "validator": validator})
            else:
                _origin(part).unlink(missing_ok=True)
        _receive(reply, part, start, total, timeout)


def _ask(
    session: "requests.Session", url: str, headers: dict[str, str], timeout: float
) -> "requests.Response":
    """The server's answer, its body unread; raises Refused for a failed connection."""
    import requests
    from urllib3.exceptions import NameResolutionError

    try:
        return session.get(url, headers=headers, stream=True, timeout=timeout)
    except requests.exceptions.SSLError as error:
        raise Refused(f"TLS error ({_brief(error)})") from None
    except requests.exceptions.Timeout:
        raise Refused(f"no answer within {timeout:g} s", again=True) from None
    except requests.exceptions.ConnectionError as error:
        cause = getattr(error.args[0] if error.args else None, "reason", None)
        if isinstance(cause, NameResolutionError):
            raise Refused("no such host; is there a network?") from None
        raise Refused(f"no connection ({_brief(cause or error)})", again=True) from None
    except requests.exceptions.RequestException as error:
        raise Refused(_brief(error)) from None


def _span(reply: "requests.Response", part: Path, have: int) -> tuple[int, int | None]:
    """(first byte that comes, length of the whole file) of an answer; Refused for an error."""
    status = reply.status_code
    given = re.fullmatch(
        r"bytes (\d+|\*)(?:-\d+)?/(\d+|\*)", reply.headers.get("Content-Range", "")
    )
    if status == 416:  # nothing lies after what we have: all of it, or bytes of something else
        if have and given and given[2] == str(have):
            return have, have
        discard(part)
        raise Refused("the server has nothing after the bytes here; starting anew", again=True)
    if status not in (200, 206):
        wait = _retry_after(reply) if status in PASSING else 0.0
        reason = f"HTTP {status} {reply.reason or ''}".rstrip()
        raise Refused(reason, again=status in PASSING, wait=wait)
    if "html" in reply.headers.get("Content-Type", "").lower():
        raise Refused(PAGE)
    if status == 206:
        if not given or given[1] != str(have):
            discard(part)
            raise Refused("other bytes came than were asked for; starting anew", again=True)
        return have, int(given[2]) if given[2] != "*" else None
    length = reply.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _receive(
    reply: "requests.Response", part: Path, start: int, total: int | None, timeout: float
) -> None:
    """Write the body into ``part`` from byte ``start`` on; what came is kept when it breaks."""
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    done = start
    try:
        with open(part, "ab" if start else "wb") as stream, meter(part.stem, total, start) as bar:
            # read1 gives what has come, so that a break loses nothing of a chunk.
            while block := reply.raw.read1(CHUNK, decode_content=False):
                done += len(block)
                if total is not None and done > total:
                    discard(part)
                    raise Refused(f"more than the expected {total} bytes came")
                stream.write(block)
                stream.flush()  # a killed process leaves the bytes for its successor
                bar.update(len(block))
    except ReadTimeoutError:
        raise Refused(f"stalled for {timeout:g} s after {done} bytes", again=True) from None
    except HTTPError:
        raise Refused(f"the connection broke after {done} bytes", again=True) from None
    except OSError as error:
        raise InputError(
            f"{part}: cannot write after {_length(part)} bytes ({error.strerror or error}); "
            "free some space and run again, it goes on from there"
        ) from None
    if total is not None and done < total:
        raise Refused(f"broke off after {done} of {total} bytes", again=True)


def _check_room(part: Path, need: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if need > free:
        raise InputError(
            f"{part.parent}: {need} bytes more are needed for {part.stem}, {free} are free; "
            "free some space"
        )


def _origin(part: Path) -> Path:
    return part.with_name(f".{part.name}.json")


def _validator(part: Path, url: str) -> str | None:
    """What the server called the version of the bytes in ``part``, if they came from ``url``."""
    try:
        origin: Any = read_json(_origin(part))
    except InputError:
        return None
    if not isinstance(origin, dict) or origin.get("url") != url:
        return None
    validator = origin.get("validator")
    return validator if isinstance(validator, str) else None


def _strong(reply: "requests.Response") -> str | None:
    """A validator fit for If-Range (RFC 9110, 13.1.5): a strong ETag, else Last-Modified."""
    etag = reply.headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return reply.headers.get("Last-Modified")


def _retry_after(reply: "requests.Response") -> float:
    from urllib3.exceptions import InvalidHeader
    from urllib3.util import Retry

    try:
        return float(Retry().parse_retry_after(reply.headers.get("Retry-After", "0")))
    except InvalidHeader:
        return 0.0


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _brief(error: Any) -> str:
    """The innermost message of a chain of network errors, without object addresses."""
    while True:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, Exception):
            break
        error = inner
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return re.sub(r"<[^>]*>:? ?", "", text)[:200]
