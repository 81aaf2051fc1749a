"""Generated stand-in for FEMNIST: characters drawn by writers who each have a hand of their own."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from autoprune.core import seeds
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Expected, Samples
from autoprune.data.prepare.sources import CHARACTERS as CLASSES

KIND = "stand-in"
SIDE = 28  # pixels, as FEMNIST
FONTS = (
    *("DejaVuSans", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Italic", "DejaVuSans-Bold", "DejaVuSerif-Bold"),
    *("STIXGeneral", "STIXGeneralItalic", "STIXGeneralBol", "STIXGeneralBolIta"),
    *("cmr10", "cmss10", "cmtt10", "cmb10"),
)
MASTER = 96  # pixels; side of the master drawing of a character
MASTER_SIZE = 52  # pixels; its font size, so that warping never reaches the border
# About half of the characters that FEMNIST is taken from are digits.
FREQUENCY = np.repeat([0.5 / 10, 0.5 / 52], [10, 52])
SPREAD = 100  # concentration of a writer's own frequencies around these; low is more uneven
FINE = 2  # a sample is warped on a grid this much finer than the image, then averaged


@dataclass(frozen=True)
class Hand:
    """How one writer writes; lengths are in pixels of the final image, angles in radians."""

    font: str
    height: float  # of a capital
    aspect: float  # width over height, 1 is the font's own
    slant: float  # shear, 0 upright, more leans to the right
    rotation: float
    ink: float  # threshold on the blurred drawing: low is a broad pen, high a fine one
    wobble: float  # standard deviation of the elastic field
    jitter: float  # standard deviation of the position
    noise: float  # standard deviation of the grey levels in the ink's neighbourhood, of 255
    shapes: np.ndarray  # (62, 2, 2), how this hand's form of each character departs from the font
    taste: np.ndarray  # (62,), probability of each character


class Options(sources.Generated):
    """What may be set."""

    clients: int = Field(60, ge=1, description="Writers that are drawn, each with a hand.")
    samples: int = Field(100, ge=1, description=sources.SAMPLES)


def expected(options: Options) -> Expected:
    """How large the data will be, by the mean size of a client."""
    images = options.clients * options.samples
    test = round(images * options.test_fraction)
    return Expected(options.clients, images - test, test, (SIDE, SIDE, 1), len(CLASSES))


def prepare(options: Options, processes: int = 1) -> Samples:
    """Draw (N, 28, 28, 1) dark on light; writer i depends on (seed, i) and the settings only."""
    images, labels, clients = [], [], []
    for writer in sources.progress(range(options.clients), "drawing writers"):
        rng = seeds.generator(options.seed, "glyphs-writer", writer)
        hand = _draw_hand(rng, options.difficulty)
        number = sources.uneven_count(rng, options.samples)
        classes = rng.choice(len(CLASSES), size=number, p=hand.taste)
        images.append(_write(rng, hand, classes, options.difficulty))
        labels.append(classes)
        clients.append(np.full(number, writer))
    return sources.by_client(
        options,
        images=np.concatenate(images)[..., None],
        labels=np.concatenate(labels)[:, None],
        clients=np.concatenate(clients),
        client_ids=[f"writer-{writer:04d}" for writer in range(options.clients)],
        targets=[{"name": "character", "classes": CLASSES}],
        polarity="dark-on-light",
        kind=KIND,
    )


def _draw_hand(rng: np.random.Generator, difficulty: float) -> Hand:
    return Hand(
        font=FONTS[rng.integers(len(FONTS))],
        height=13 * np.exp(difficulty * rng.normal(0, 0.06)),
        aspect=np.exp(difficulty * rng.normal(0, 0.08)),
        slant=difficulty * rng.normal(0.06, 0.1),
        rotation=difficulty * rng.normal(0, 0.03),
        ink=rng.uniform(0.25, 0.5),
        wobble=difficulty * rng.uniform(0.2, 0.4),
        jitter=difficulty * rng.uniform(0.1, 0.4),
        noise=difficulty * rng.uniform(1, 8),
        shapes=np.eye(2) + difficulty * rng.normal(0, 0.04, (len(CLASSES), 2, 2)),
        taste=rng.dirichlet(SPREAD * FREQUENCY),
    )


def _write(
    rng: np.random.Generator, hand: Hand, classes: np.ndarray, difficulty: float
) -> np.ndarray:
    """Draw (n, 28, 28) uint8, one sample of each class number in ``classes`` (n,)."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    number, side = len(classes), SIDE * FINE
    step = (np.arange(side) + 0.5) / FINE - SIDE / 2
    grid = np.stack(np.meshgrid(step, step, indexing="ij"))  # (2, side, side), from the centre

    turn = hand.rotation + difficulty * rng.normal(0, 0.025, number)
    slant = hand.slant + difficulty * rng.normal(0, 0.025, number)
    size = np.exp(difficulty * rng.normal(0, 0.03, (number, 2)))
    cos, sin, one, none = np.cos(turn), np.sin(turn), np.ones(number), np.zeros(number)
    rotate = np.array([[cos, sin], [-sin, cos]]).transpose(2, 0, 1)
    shear = np.array([[one, none], [-slant, one]]).transpose(2, 0, 1)
    own = np.array([1.0, hand.aspect]) * size
    forward = rotate @ shear @ (hand.shapes[classes] * own[:, None, :])
    backward = np.linalg.inv(forward) * (_capital_height(hand.font) / hand.height)

    # A field that is smooth over 4 pixels bends strokes without tearing them.
    field = gaussian_filter(rng.normal(size=(number, 2, SIDE, SIDE)), (0, 0, 4, 4), mode="wrap")
    field *= hand.wobble / field.std(axis=(2, 3), keepdims=True)
    shift = rng.normal(0, hand.jitter, (number, 2, 1, 1))
    places = grid + field.repeat(FINE, axis=2).repeat(FINE, axis=3) - shift
    places = np.einsum("nij,njyx->niyx", backward, places) + (MASTER - 1) / 2

    masters = _masters(hand.font)
    ink = np.stack(
        [
            map_coordinates(masters[character], place, order=1)
            for character, place in zip(classes, places, strict=True)
        ]
    )
    ink = np.clip((ink - hand.ink) * 6 + 0.5, 0, 1)  # the edge of a stroke is about a pixel wide
    ink = ink.reshape(number, SIDE, FINE, SIDE, FINE).mean(axis=(2, 4))
    # Pen pressure varies along a stroke; grey noise clings to the ink, paper stays white.
    ink *= 1 - hand.noise / 100 * np.abs(rng.normal(size=ink.shape))
    near = gaussian_filter(ink, (0, 1, 1)) > 0.02
    grey = 255 * (1 - ink) - near * np.abs(rng.normal(0, hand.noise, ink.shape))
    return np.rint(np.clip(grey, 0, 255)).astype(np.uint8)


@cache
def _masters(font: str) -> np.ndarray:
    """(62, 96, 96) float32 in 0..1: each character centred by its ink, its edges blurred."""
    from PIL import Image, ImageDraw
    from scipy.ndimage import gaussian_filter

    face = _face(font)
    drawn = np.zeros((len(CLASSES), MASTER, MASTER), np.float32)
    for number, character in enumerate(CLASSES):
        left, top, right, bottom = face.getbbox(character)
        image = Image.new("L", (MASTER, MASTER))
        corner = ((MASTER - left - right) / 2, (MASTER - top - bottom) / 2)
        ImageDraw.Draw(image).text(corner, character, fill=255, font=face)
        drawn[number] = np.asarray(image) / 255
    # The blur lets a threshold on it make the stroke broader or finer.
    return gaussian_filter(drawn, (0, 1.6, 1.6))


@cache
def _capital_height(font: str) -> float:
    """Height of an H in pixels of the master drawing."""
    _, top, _, bottom = _face(font).getbbox("H")
    return bottom - top


@cache
def _face(font: str) -> Any:
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    return ImageFont.truetype(path, MASTER_SIZE)
