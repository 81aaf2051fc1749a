"""What TensorFlow Federated's data sets hold: features, shapes and classes, in any container."""

import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoprune.core.errors import InputError
from autoprune.data.prepare.images import Images

CHARACTERS = [*string.digits, *string.ascii_uppercase, *string.ascii_lowercase]
ANSWERS = ["no", "yes"]
# The spelling of CelebA's own list_attr_celeba.txt, so that a target has one name in all sources.
ATTRIBUTES = [
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs"),
    *("Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows"),
    *("Chubby", "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup"),
    *("High_Cheekbones", "Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard"),
    *("Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks", "Sideburns"),
    *("Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings", "Wearing_Hat"),
    *("Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
]
BLOCK = 4 << 20  # bytes of images read at once: large beside a call's cost, small beside memory


@dataclass(frozen=True)
class Layout:
    """One data set's examples: ``image`` names its pixels, ``labels`` its targets' features.

    ``stored`` is the shape of an image in the file, ``shape`` (H, W, C) in the store; pixels go
    from 0 to ``white``, as floats where that is 1. ``labels`` gives each target's feature.
    """

    name: str
    image: str
    stored: tuple[int, ...]
    shape: tuple[int, int, int]
    white: int
    labels: Mapping[str, str]
    classes: tuple[str, ...]
    polarity: str

    @property
    def rows(self) -> int:
        """Images read at once."""
        return max(1, BLOCK // int(np.prod(self.shape)))


# simulation/datasets/emnist.py of google-parfait/tensorflow-federated: `pixels` float32 (28, 28)
# with 1.0 for the background, `label` 0-9 digits, 10-35 capitals, 36-61 small letters.
FEMNIST = Layout(
    name="FEMNIST",
    image="pixels",
    stored=(28, 28),
    shape=(28, 28, 1),
    white=1,
    labels={"character": "label"},
    classes=tuple(CHARACTERS),
    polarity="dark-on-light",
)
# simulation/datasets/celeba.py there: `image` int64 (84, 84, 3) from 0 to 255, and 40 features
# of 0 or 1 that are named as CelebA's attributes, but in small letters.
CELEBA = Layout(
    name="CelebA",
    image="image",
    stored=(84, 84, 3),
    shape=(84, 84, 3),
    white=255,
    labels={name: name.lower().replace("5_o_clock", "five_o_clock") for name in ATTRIBUTES},
    classes=tuple(ANSWERS),
    polarity="colour",
)


@dataclass(frozen=True, eq=False)
class Examples:
    """N examples: training before test, by client, then as in the file; pixels not yet read.

    labels (N, T) uint8, a column for each of ``layout.labels``; clients (N,) numbers into the
    sorted ``client_ids``; test (N,) bool.
    """

    layout: Layout
    labels: np.ndarray
    clients: np.ndarray
    client_ids: list[str]
    test: np.ndarray
    images: Images


def layout_of(where: str, features: Mapping[str, object]) -> Layout:
    """The data set whose image feature is among ``features``; InputError for another one."""
    for layout in (FEMNIST, CELEBA):
        if layout.image in features:
            return layout
    raise InputError(
        f"{where} has neither `pixels` (FEMNIST) nor `image` (CelebA), but "
        f"{', '.join(sorted(map(str, features))[:5]) or 'nothing'}; give one of these two data sets"
    )


def as_pixels(values: np.ndarray, layout: Layout, where: Callable[[int], str]) -> np.ndarray:
    """Images (n, ...) as the file has them become (n, H, W, C) uint8; ``where(i)`` names one."""
    if values.size and not (values.min() >= 0 and values.max() <= layout.white):  # also for NaN
        wrong = ~((values >= 0) & (values <= layout.white)).reshape(len(values), -1)
        row = int(np.argmax(wrong.any(axis=1)))
        raise InputError(
            f"{where(row)}: pixel {values[row].reshape(-1)[np.argmax(wrong[row])]}, expected a "
            f"number in 0..{layout.white}; fetch the file again"
        )
    if layout.white == 1:
        values = values * np.float32(255)
        np.rint(values, out=values)
    return values.astype(np.uint8).reshape(-1, *layout.shape)


def first_bytes(path: Path, number: int) -> bytes:
    """The first bytes of a file, or InputError when it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read(number)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; fetch it, or correct the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
