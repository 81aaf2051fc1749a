"""Image files in a folder as arrays of one shape."""

import functools
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from autoprune.core.errors import InputError
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Images, Samples

if TYPE_CHECKING:
    from PIL.Image import Image

# Formats of pixels alone: Pillow would read more, but starts Ghostscript for some of them.
SUFFIXES = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "PPM": (".pgm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}
BLOCK = 2**22  # bytes of pixels that are read at once

File = tuple[str, str]  # name below the root, and where it was named (before it in messages)


@dataclass(frozen=True)
class Form:
    """What the image of every file is brought to: (``height``, ``width``, ``channels``) uint8.

    ``channels`` is 1 (grey) or 3 (RGB). ``expected`` is the (height, width) that every file must
    have, None for any; ``advice`` then says what to do about one that has not. ``square`` cuts
    the largest centre square out first. ``background`` is the level behind transparent pixels.
    """

    height: int
    width: int
    channels: int
    expected: tuple[int, int] | None = None
    advice: str = ""
    square: bool = False
    background: int = 255


def images(root: Path, files: Sequence[File], form: Form) -> Images:
    """``Images`` (len(files), height, width, channels), row i from ``files[i]``.

    Nothing is opened before the store is written.
    """
    shape = (form.height, form.width, form.channels)
    step = max(1, BLOCK // int(np.prod(shape)))
    parts = [(first, files[first : first + step]) for first in range(0, len(files), step)]
    return Images((len(files), *shape), parts, functools.partial(read, root=root, form=form))


def read(
    part: tuple[int, Sequence[File]], root: Path, form: Form
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows (n,) and images (n, H, W, C) of one part, (first row, files).

    Raises InputError naming the file that is missing, not decodable or of another size.
    """
    first, files = part
    pixels = np.empty((len(files), form.height, form.width, form.channels), np.uint8)
    for row, (name, named) in enumerate(files):
        pixels[row] = fitted(opened(root, name, named), where(root, name, named), form)
    yield np.arange(first, first + len(files)), pixels


def where(root: Path, name: str, named: str = "") -> str:
    """A file's name for messages."""
    return f"{named}{root / name}"


def opened(root: Path, name: str, named: str = "") -> "Image":
    """The decoded image of one file, upright by its EXIF orientation; its first frame only."""
    from PIL import ImageOps, UnidentifiedImageError

    place = where(root, name, named)
    try:
        content = (root / name).read_bytes()
    except OSError as error:
        raise InputError(
            f"{place}: cannot be read ({error.strerror}); fetch the file again"
        ) from None
    try:
        return ImageOps.exif_transpose(loaded(content))
    except UnidentifiedImageError:
        raise InputError(
            f"{place}: not an image ({len(content)} bytes), expected one of "
            f"{', '.join(SUFFIXES)}; fetch or convert the file again"
        ) from None
    # Pillow's readers raise whatever broken bytes lead them to.
    except Exception as error:
        raise InputError(
            f"{place}: the image cannot be decoded ({error}); fetch the file again"
        ) from None


def loaded(content: bytes) -> "Image":
    """The first image of a file's content, of a format in SUFFIXES; raises what Pillow raises."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd metadata; of an image we take the pixels
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(content), formats=tuple(SUFFIXES))
        image.load()
        return image


def fitted(image: "Image", place: str, form: Form) -> np.ndarray:
    """Bring a decoded image to ``form``, (height, width, channels) uint8.

    It is cut and resized (bilinear, antialiased) by torchvision as a Pillow image: the result
    then depends neither on the processor nor on the number of threads.
    """
    width, height = image.size
    if form.expected not in (None, (height, width)):
        raise InputError(
            f"{place}: {width}x{height} pixels, expected {form.expected[1]}x{form.expected[0]}; "
            f"{form.advice}"
        )
    image = _in_mode(image, place, form)
    side = min(height, width)
    square = form.square and height != width
    if square or image.size != (form.width, form.height):
        from autoprune.core.vision import torchvision

        by = torchvision.transforms.v2.functional
        if square:
            image = by.center_crop(image, [side, side])
        bilinear = torchvision.transforms.InterpolationMode.BILINEAR
        image = by.resize(image, [form.height, form.width], bilinear, antialias=True)
    return np.asarray(image).reshape(form.height, form.width, form.channels)


def _in_mode(image: "Image", place: str, form: Form) -> "Image":
    """8 bits, grey or RGB, without transparency; 16-bit grey is divided by 257."""
    from PIL import Image

    if image.mode.startswith("I;16"):
        levels = np.rint(np.asarray(image).astype(np.float64) / 257)
        image = Image.fromarray(levels.astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise InputError(
            f"{place}: 32-bit pixels (mode {image.mode}), whose white is unknown; "
            "save the image with 8 or 16 bits"
        )
    if image.has_transparency_data:
        behind = Image.new("RGBA", image.size, (form.background,) * 3 + (255,))
        behind.alpha_composite(image.convert("RGBA"))
        image = behind
    return image.convert("L" if form.channels == 1 else "RGB")


class Own(sources.Split):
    """Options of a source of a user's own images: what they are brought to."""

    side: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Pixels a side of the square that images are brought to, whatever their "
        "proportions; without a size all images must have one, which stays.",
    )
    height: int | None = Field(
        None, ge=1, le=4096, description="Pixels, with `width`, instead of `side`."
    )
    width: int | None = Field(
        None, ge=1, le=4096, description="Pixels, with `height`, instead of `side`."
    )
    channels: Literal[1, 3] = Field(3, description="1 grey or 3 colour; images are converted.")
    drawn: Literal["dark-on-light", "light-on-dark", "colour"] | None = Field(
        None,
        description="What the images look like, so that `polarity` can be changed; nothing is "
        "inverted here. Behind transparent pixels light-on-dark has black, the others white. "
        "Without it colour, or dark-on-light for one channel.",
    )
    name_of_target: str | None = Field(
        None,
        description="What tables call the label; without it `label`, or the name of its column.",
    )

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if (self.height is None) != (self.width is None) or (self.side and self.height):
            raise ValueError("give side, or height and width together, or none of them")
        return self

    @property
    def polarity(self) -> str:
        """The store's polarity."""
        return self.drawn or ("colour" if self.channels == 3 else "dark-on-light")

    def samples(
        self,
        root: Path,
        files: Sequence[File],
        clients: Sequence[str],
        targets: Mapping[str, tuple[list[str], np.ndarray]],
        *,
        splits: np.ndarray | None = None,
    ) -> Samples:
        """What the files below ``root`` make: client and labels of each, in any order.

        ``targets`` are the classes and labels (file, 1) of each target, as of
        ``sources.class_numbers``, no classes for numbers; ``splits`` as of ``sources.by_client``,
        which see.
        """
        form = self.form(root, files[0])
        client_ids, numbers = np.unique(clients, return_inverse=True)
        return sources.by_client(
            self,
            images=images(root, files, form),
            labels=np.concatenate([labels for _, labels in targets.values()], axis=1),
            clients=numbers,
            client_ids=client_ids.tolist(),
            targets=[{"name": name, "classes": known} for name, (known, _) in targets.items()],
            polarity=self.polarity,
            kind="real",
            splits=splits,
        )

    def form(self, root: Path, first: File) -> Form:
        """The form that all images get; without a size that of the image ``first``."""
        height, width = self.height or self.side, self.width or self.side
        expected, advice = None, ""
        if height is None or width is None:
            width, height = opened(root, *first).size
            expected = (height, width)
            advice = (
                f"that is the size of {where(root, first[0])}; "
                "give side, or height and width, to resize all"
            )
        background = 0 if self.polarity == "light-on-dark" else 255
        return Form(height, width, self.channels, expected, advice, background=background)
