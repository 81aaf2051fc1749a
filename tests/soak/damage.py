"""Ways in which files are damaged: bits, cuts, blocks, lines, numbers and words out of place."""

import random
import re

WORDS = [
    b"", b"nan", b"inf", b"-1", b"0", b"1e309", b"99999999999999999999", b"null", b"true", b"{}",
    b"[]", b'"', b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"../x", b"\x1b[31m", b"<b>", b"%s", b";",
    b"\r\n", b"\t", b",", b"-0.0", b"1,5", "ö".encode(), "\u202e".encode(), 5000 * b"9", 200 * b"[",
]  # fmt: skip
NUMBER = re.compile(rb"-?\d+(\.\d+)?")


def damaged(content: bytes, draw: random.Random) -> bytes:
    """The content after one to three of the ways, drawn."""
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        content = draw.choice(WAYS)(content, draw)
    return content


def flip(content: bytes, draw: random.Random) -> bytes:
    """Up to eight bits."""
    found = bytearray(content or b"\0")
    for _ in range(draw.randint(1, 8)):
        found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    return bytes(found)


def cut(content: bytes, draw: random.Random) -> bytes:
    """The end is missing; every second time after a whole line."""
    at = draw.randrange(len(content) + 1)
    return content[: content.rfind(b"\n", 0, at) + 1] if draw.random() < 0.5 else content[:at]


def block(content: bytes, draw: random.Random) -> bytes:
    """A block is missing, doubled, zero or moved."""
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    end = min(end, start + draw.choice([1, 16, 512, 4096]))
    part, rest = content[start:end], content[:start] + content[end:]
    place = draw.randrange(len(rest) + 1)
    doubled = content[:end] + part + content[end:]
    zero = content[:start] + bytes(len(part)) + content[end:]
    return draw.choice([rest, doubled, zero, rest[:place] + part + rest[place:]])


def lines(content: bytes, draw: random.Random) -> bytes:
    """A line is missing, doubled or in another's place."""
    found = content.splitlines(True)
    if len(found) < 2:
        return flip(content, draw)
    one, other = draw.randrange(len(found)), draw.randrange(len(found))
    way = draw.randrange(3)
    if way == 0:
        del found[one]
    elif way == 1:
        found.insert(other, found[one])
    else:
        found[one], found[other] = found[other], found[one]
    return b"".join(found)


def words(content: bytes, draw: random.Random) -> bytes:
    """A number becomes a word, or a word stands anywhere."""
    word, numbers = draw.choice(WORDS), list(NUMBER.finditer(content[:200_000]))
    if numbers and draw.random() < 0.7:
        place = draw.choice(numbers)
        return content[: place.start()] + word + content[place.end() :]
    at = draw.randrange(len(content) + 1)
    return content[:at] + word + content[at:]


WAYS = [flip, cut, block, lines, words]
