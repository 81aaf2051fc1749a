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
from autoprune.core.files import write_json
from autoprune.data.fetch.answer import Refused, discard, origin_of, span, strong, validator_of

if TYPE_CHECKING:
    import requests
    from tqdm import tqdm

CHUNK = 1 << 20  # bytes written at once
LONGEST_WAIT = 60.0  # seconds; also for a server that asks for more
EVERY = 10.0  # seconds between signs of progress where there is no terminal


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

    deadline: float = Field(
        6 * 3600.0,
        gt=0,
        description="Seconds for one address in all, however slowly its bytes come; what came is "
        "kept, and the next run goes on from there.",
    )
    most_bytes: int = Field(
        60 * 10**9, ge=1, description="Of a file whose size is not known beforehand."
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


def transfer(url: str, part: Path, size: int | None, pinned: bool, patience: Patience) -> None:
    """Bring ``part`` to its full length from ``url``, from where it stands.

    ``size`` is bytes where known; ``pinned`` says that a checksum will tell a wrong file. Raises
    Refused when the address does not give it: the bytes that came stay in ``part`` for a resume.
    Raises InputError when the disk does not take it.
    """
    import requests

    failures, best = 0, _length(part)
    until = time.monotonic() + patience.deadline
    with requests.Session() as session:
        session.headers["User-Agent"] = "autoprune"
        while size is None or _length(part) != size:
            try:
                _attempt(session, url, part, size, pinned, patience, until)
                return
            except Refused as error:
                length = _length(part)
                failures = 1 if length > best else failures + 1
                best = max(best, length)
                if not error.again or failures > patience.retries:
                    raise
                pause = patience.pause(failures, error.wait)
                if time.monotonic() + pause > until:
                    raise Refused(f"{error}; {_late(patience)}") from None
                print(f"{url}: {error}; again in {pause:.1f} s", file=sys.stderr, flush=True)
                time.sleep(pause)


def _attempt(
    session: "requests.Session",
    url: str,
    part: Path,
    size: int | None,
    pinned: bool,
    patience: Patience,
    until: float,
) -> None:
    """One request and its body; returns when ``part`` is whole, else raises as ``transfer``."""
    have = _length(part)
    if size is not None and have > size:
        have = 0
    # Without identity a server may compress on the fly, and the bytes would not be the file's.
    headers = {"Accept-Encoding": "identity"}
    validator = validator_of(part, url)
    if have and (validator or size):
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    with _ask(session, url, headers, patience.timeout) as reply:
        start, total = span(reply, part, have if "Range" in headers else 0)
        if total is not None and size is not None and total != size:
            raise Refused(f"it has {total} bytes there, expected {size}")
        if total == 0:
            raise Refused("it is empty there")
        if total is not None and start == total:
            return
        chunked = "chunked" in reply.headers.get("Transfer-Encoding", "").lower()
        if total is None and not chunked and not pinned:
            raise Refused("the server does not say how long it is, and no checksum is known")
        packed = reply.headers.get("Content-Encoding", "").strip().lower()
        if packed not in ("", "identity") and not pinned:
            raise Refused(f"it came packed ({packed[:20]}), and no checksum is known")
        total = total or size
        if size is None and (total or 0) > patience.most_bytes:
            raise Refused(f"it has {total} bytes there, allowed are {patience.most_bytes}")
        _check_room(part, (total or 0) - (start or _length(part)))
        if not start:
            validator = strong(reply)
            if validator:
                write_json(origin_of(part), {"url": url, "validator": validator})
            else:
                origin_of(part).unlink(missing_ok=True)
        _receive(reply, part, start, total, patience, until)


def _ask(
    session: "requests.Session", url: str, headers: dict[str, str], timeout: float
) -> "requests.Response":
    """The server's answer, its body unread; raises Refused for a failed connection."""
    import requests
    from urllib3.exceptions import HTTPError, NameResolutionError

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
    # a redirect to what is no address ends in any of these
    except (requests.exceptions.RequestException, HTTPError, ValueError) as error:
        raise Refused(_brief(error)) from None


def _receive(
    reply: "requests.Response",
    part: Path,
    start: int,
    total: int | None,
    patience: Patience,
    until: float,
) -> None:
    """Write the body into ``part`` from byte ``start`` on; what came is kept when it breaks."""
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    done, most = start, patience.most_bytes if total is None else total
    try:
        with open(part, "ab" if start else "wb") as stream, meter(part.stem, total, start) as bar:
            # read1 gives what has come, so that a break loses nothing of a chunk.
            while block := reply.raw.read1(CHUNK, decode_content=False):
                done += len(block)
                if done > most:
                    discard(part)
                    which = "allowed" if total is None else "expected"
                    raise Refused(f"more than the {which} {most} bytes came")
                stream.write(block)
                stream.flush()  # a killed process leaves the bytes for its successor
                bar.update(len(block))
                if time.monotonic() > until and done != total:
                    raise Refused(f"{done} bytes came, and {_late(patience)}")
    except ReadTimeoutError:
        raise Refused(
            f"stalled for {patience.timeout:g} s after {done} bytes", again=True
        ) from None
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


def _late(patience: Patience) -> str:
    """That the time is over, for a message."""
    return f"it was not whole within {patience.deadline:g} s"


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
