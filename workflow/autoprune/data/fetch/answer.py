"""What a server's answer says of a file, and what is known of the part that is here."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.core.errors import InputError
from autoprune.core.files import read_json

if TYPE_CHECKING:
    import requests

PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be others a moment later
PAGE = "a web page came in its place, such as a quota or login page; fetch it with a browser"


class Refused(Exception):
    """One address did not give the file; ``again`` says whether it may a moment later."""

    def __init__(self, reason: str, again: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.again = again
        self.wait = wait  # seconds that the server asks for


def span(reply: "requests.Response", part: Path, have: int) -> tuple[int, int | None]:
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
        return have, _whole(given[2])
    return 0, _whole(reply.headers.get("Content-Length", "").strip())


def _whole(text: str) -> int | None:
    """A number of bytes in a header; None for what is none that a disk could have."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def discard(part: Path) -> None:
    """Remove a partial file and what is known of its origin."""
    part.unlink(missing_ok=True)
    origin_of(part).unlink(missing_ok=True)


def origin_of(part: Path) -> Path:
    """Where it is noted from which address, and which version, a partial file is."""
    return part.with_name(f".{part.name}.json")


def validator_of(part: Path, url: str) -> str | None:
    """What the server called the version of the bytes in ``part``, if they came from ``url``."""
    try:
        origin: Any = read_json(origin_of(part))
    except InputError:
        return None
    if not isinstance(origin, dict) or origin.get("url") != url:
        return None
    validator = origin.get("validator")
    return validator if isinstance(validator, str) else None


def strong(reply: "requests.Response") -> str | None:
    """A validator fit for If-Range (RFC 9110, 13.1.5): a strong ETag, else Last-Modified."""
    etag = reply.headers.get("ETag", "")
    dated = not etag or etag.startswith("W/")
    found = (reply.headers.get("Last-Modified") if dated else etag) or ""
    return found if re.fullmatch(r"[!-~]([ -~]{0,200}[!-~])?", found) else None


def _retry_after(reply: "requests.Response") -> float:
    from urllib3.exceptions import HTTPError
    from urllib3.util import Retry

    try:
        return float(Retry().parse_retry_after(reply.headers.get("Retry-After", "0")))
    except (HTTPError, ValueError, OverflowError):  # no number, no date
        return 0.0
