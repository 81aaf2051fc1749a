"""Held-out images that are training images too: counted, refused where a whole part is repeated."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.core.errors import InputError

# Different images that must be repeated before it can be no chance: two people's vertical strokes
# are the same image now and then, ten images of one person are not those of another.
ENOUGH = 10
ADVICE = "what is held out must not be trained on: give each image once"


class Digests:
    """A digest of every image of a store, taken in its order, a block at a time."""

    def __init__(self) -> None:
        self._digests = bytearray()
        self._plain = [np.empty(0, bool)]

    def add(self, images: np.ndarray) -> None:
        """Take the next images (n, pixels) uint8."""
        # 16 bytes: among 1e9 images any two share one with a probability of 1e-21
        found = (hashlib.blake2b(image, digest_size=16).digest() for image in images)
        self._digests += b"".join(found)
        self._plain.append((images == images[:, :1]).all(axis=1))

    def numbers(self) -> np.ndarray:
        """(N,) numbers from 0, the same for images that are equal in every byte."""
        halves = np.frombuffer(self._digests, np.uint64).reshape(-1, 2)
        order = np.lexsort(halves.T)
        new = (halves[order][1:] != halves[order][:-1]).any(axis=1)
        numbers = np.empty(len(order), np.int64)
        numbers[order] = np.concatenate([[0], np.cumsum(new)])
        return numbers

    def plain(self) -> np.ndarray:
        """(N,) bool: images of one level throughout, which are nobody's and no evidence."""
        return np.concatenate(self._plain)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a store's N rows are from, such as files or clients: ``owner`` (N,) into ``names``."""

    names: Sequence[str]
    owner: np.ndarray


def counted(numbers: np.ndarray, labels: np.ndarray, splits: np.ndarray) -> dict[str, Any]:
    """For "validation" and "test": ``images`` that are also training images, by ``numbers`` (N,).

    ``same_labels`` are those of them with all the labels (N, T) of such a training image.
    """
    trained = np.zeros(numbers.max() + 1, bool)
    trained[numbers[splits == 0]] = True
    repeated = (splits > 0) & trained[numbers]
    twins = np.zeros_like(trained)
    twins[numbers[repeated]] = True
    rows = np.flatnonzero(twins[numbers])  # few, in data that are as they should be
    _, kinds = np.unique(
        np.column_stack([numbers[rows], labels[rows]]), axis=0, return_inverse=True
    )
    agreed = np.zeros(kinds.max(initial=-1) + 1, bool)
    agreed[kinds[splits[rows] == 0]] = True
    return {
        split: {
            "images": int(np.sum(repeated & (splits == number))),
            "same_labels": int(np.sum(agreed[kinds[splits[rows] == number]])),
        }
        for number, split in ((1, "validation"), (2, "test"))
    }


def refuse_parts(
    kinds: Sequence[Parts], numbers: np.ndarray, plain: np.ndarray, splits: np.ndarray
) -> None:
    """Raise InputError naming the first part that is repeated as a whole.

    That is one all of whose held-out images are training images, or all of whose images are those
    of another part of its kind: the same shard, client or folder twice, which counts double where
    it is trained on. Images that are ``plain`` do not count, and a part of fewer than ``ENOUGH``
    different ones is not judged.
    """
    rows = np.flatnonzero(~plain)
    numbers, splits = numbers[rows], splits[rows]
    if not len(rows) or len(np.unique(numbers)) == len(numbers):
        return
    trained, held = (np.zeros(numbers.max() + 1, bool) for _ in range(2))
    trained[numbers[splits == 0]] = True
    held[numbers[splits > 0]] = True
    for parts in kinds:
        owner = parts.owner[rows]
        _refuse_held_out(parts.names, owner, numbers, splits, trained)
        _refuse_copies(parts.names, owner, numbers, trained & held)


def _refuse_held_out(
    names: Sequence[str],
    owner: np.ndarray,
    numbers: np.ndarray,
    splits: np.ndarray,
    trained: np.ndarray,
) -> None:
    """Raise InputError for a part whose held-out images are training images, all of them."""
    who, which = _different(owner[splits > 0], numbers[splits > 0])
    sizes = np.bincount(who, minlength=len(names))
    repeated = np.bincount(who[trained[which]], minlength=len(names))
    wrong = np.flatnonzero((sizes >= ENOUGH) & (repeated == sizes))
    if len(wrong):
        part = int(wrong[0])
        twins = (splits == 0) & np.isin(numbers, which[who == part])
        other = int(np.bincount(owner[twins]).argmax())
        whose = "its own" if other == part else names[other]
        raise InputError(
            f"{names[part]}: each of its {sizes[part]} different held-out images is also a "
            f"training image, most often of {whose}{_more(wrong)}; {ADVICE}"
        )


def _refuse_copies(
    names: Sequence[str], owner: np.ndarray, numbers: np.ndarray, leaked: np.ndarray
) -> None:
    """Raise InputError for a part whose images are all another's; ``leaked`` are in both splits."""
    who, which = _different(owner, numbers)
    sizes = np.bincount(who, minlength=len(names))
    shared = np.bincount(which)[which] > 1
    covered = np.bincount(who[shared], minlength=len(names)) == sizes
    spoilt = np.bincount(who[leaked[which]], minlength=len(names)) > 0
    asked = np.flatnonzero(covered & (sizes >= ENOUGH))
    if not len(asked):
        return
    from scipy.sparse import csr_array

    holds = csr_array((np.ones(len(who), np.int64), (who, which)))
    for part in asked.tolist():
        common = (holds[[part]] @ holds.T).toarray()[0]
        common[part] = 0
        if common.max() == sizes[part]:
            other = int(common.argmax())
            what = f"each of its {sizes[part]} different images is also one of {names[other]}"
            if spoilt[part]:
                raise InputError(
                    f"{names[part]}: {what}, and some are both held out and trained on; {ADVICE}"
                )
            raise InputError(f"{names[part]}: {what}; give each image once")


def _different(owner: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each owner with each of its different images, once."""
    many = numbers.max(initial=0) + 1
    return np.divmod(np.unique(owner.astype(np.int64) * many + numbers), many)


def _more(wrong: np.ndarray) -> str:
    """How many other parts are so, in a message about the first."""
    return f" (and so of {len(wrong) - 1} more)" if len(wrong) > 1 else ""
