"""Generated stand-in for CelebA: drawn faces of identities, with two attributes to predict."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from autoprune.core import seeds
from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Expected, Samples

KIND = "stand-in"
SIDE = 84  # pixels, as TFF's CelebA
FINE = 2  # drawn this much larger, then averaged, so that edges are smooth
ANSWERS = ["no", "yes"]
SKINS = np.array([[255, 224, 196], [241, 194, 150], [224, 172, 120], [172, 118, 78], [104, 66, 42]])
HAIRS = np.array([[28, 22, 20], [72, 46, 28], [128, 84, 44], [206, 166, 96], [150, 60, 30]])
GREY_HAIR = np.array([176, 172, 168])


@dataclass(frozen=True)
class Identity:
    """Who a face belongs to; lengths are in units of half the face's height."""

    male: bool
    skin: np.ndarray  # (3,) RGB
    hair: np.ndarray  # (3,) RGB
    iris: np.ndarray  # (3,) RGB
    width: float  # of the face
    jaw: float  # 0 pointed, 1 square
    hair_length: float  # how far below the crown it hangs
    fringe: float  # how far it covers the forehead
    brow: float  # thickness
    beard: float  # share of hair colour over the lower face, 0 shaven
    lips: float  # redness of the lips
    eye: float  # size
    glasses: float  # probability


class Options(sources.Generated):
    """What may be set."""

    clients: int = Field(80, ge=1, description="Identities that are drawn, each with their looks.")
    samples: int = Field(25, ge=1, description=sources.SAMPLES)
    numbers: bool = Field(False, description="Adds the target `HairLength`, a number.")


def expected(options: Options) -> Expected:
    """How large the data will be, by the mean size of a client."""
    images = options.clients * options.samples
    test = round(images * options.test_fraction)
    return Expected(options.clients, images - test, test, (SIDE, SIDE, 3), 2)


def prepare(options: Options, processes: int = 1) -> Samples:
    """Draw (N, 84, 84, 3); identity i depends on (seed, i) and the settings only."""
    images, labels, clients = [], [], []
    for number in sources.progress(range(options.clients), "drawing faces"):
        rng = seeds.generator(options.seed, "faces-identity", number)
        identity = _draw_identity(rng)
        likes_to_smile = rng.beta(3, 3)
        for _ in range(sources.uneven_count(rng, options.samples)):
            smiling = bool(rng.random() < likes_to_smile)
            today = _today(rng, identity, options.difficulty)
            images.append(_photograph(rng, today, smiling, options.difficulty))
            labels.append((identity.male, smiling, today.hair_length))
            clients.append(number)
    targets = [{"name": "Male", "classes": ANSWERS}, {"name": "Smiling", "classes": ANSWERS}]
    targets += [{"name": "HairLength", "classes": []}] if options.numbers else []
    return sources.by_client(
        options,
        images=np.stack(images),
        labels=np.array(labels, float)[:, : len(targets)],
        clients=np.array(clients),
        client_ids=[f"face-{number:04d}" for number in range(options.clients)],
        targets=targets,
        polarity="colour",
        kind=KIND,
    )


def _draw_identity(rng: np.random.Generator) -> Identity:
    """The two sexes' distributions overlap in every trait, so that no single one decides."""
    male = bool(rng.random() < 0.45)
    sign = 1.0 if male else -1.0
    tone = rng.uniform(0, len(SKINS) - 1)
    skin = np.array([np.interp(tone, range(len(SKINS)), channel) for channel in SKINS.T])
    hair = HAIRS[0] if tone > 3 else HAIRS[rng.integers(len(HAIRS))]
    hair = hair + (GREY_HAIR - hair) * (rng.random() < 0.15) * rng.uniform(0.3, 1)
    bearded = rng.random() < (0.4 if male else 0.03)
    return Identity(
        male=male,
        skin=np.clip(skin + rng.normal(0, 6, 3), 0, 255),
        hair=np.clip(hair + rng.normal(0, 8, 3), 0, 255),
        iris=np.array([[60, 40, 24], [70, 110, 150], [80, 110, 60]][rng.integers(3)]),
        width=0.74 + 0.01 * sign + rng.normal(0, 0.03),
        jaw=float(np.clip(0.45 + 0.18 * sign + rng.normal(0, 0.2), 0, 1)),
        hair_length=float(np.clip(0.8 - 0.32 * sign + rng.normal(0, 0.45), 0.1, 1.9)),
        fringe=rng.uniform(0.0, 0.28),
        brow=float(np.clip(0.06 + 0.01 * sign + rng.normal(0, 0.014), 0.025, 0.11)),
        beard=rng.uniform(0.15, 0.65) if bearded else 0.0,
        lips=float(np.clip(0.4 - 0.12 * sign + rng.normal(0, 0.2), 0, 1)),
        eye=0.115 + rng.normal(0, 0.008) - 0.005 * sign,
        glasses=0.85 if rng.random() < 0.12 else 0.03,
    )


class Easel:
    """A drawing in face coordinates: origin between eyes and nose, 1 is half the face's height.

    ``turn`` shifts what lies ``depth`` in front of the face's plane, which reads as a head
    turned aside.
    """

    def __init__(self, rng: np.random.Generator, background: np.ndarray, difficulty: float) -> None:
        from PIL import Image, ImageDraw

        self.image = Image.fromarray(background)
        self.draw = ImageDraw.Draw(self.image, "RGBA")
        self.scale = SIDE * FINE * 0.33 * np.exp(difficulty * rng.normal(0, 0.07))
        angle = difficulty * rng.normal(0, 0.1)
        self.rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        self.centre = SIDE * FINE * (np.array([0.5, 0.52]) + difficulty * rng.normal(0, 0.025, 2))
        self.turn = difficulty * rng.normal(0, 0.08)

    def _place(self, points: ArrayLike, depth: float) -> list[tuple[float, float]]:
        turned = np.asarray(points, float) + np.array([self.turn * depth, 0])
        return [tuple(point) for point in turned @ self.rotation * self.scale + self.centre]

    def fill(
        self, points: ArrayLike, colour: np.ndarray, depth: float = 0.0, alpha: float = 1.0
    ) -> None:
        """Fill the polygon ``points`` (n, 2)."""
        self.draw.polygon(self._place(points, depth), fill=_rgba(colour, alpha))

    def line(
        self,
        points: ArrayLike,
        colour: np.ndarray,
        width: float,
        depth: float = 0.0,
        alpha: float = 1.0,
    ) -> None:
        """Stroke the open line ``points`` (n, 2), ``width`` in face units."""
        pixels = max(1, round(width * self.scale))
        self.draw.line(self._place(points, depth), _rgba(colour, alpha), pixels, joint="curve")


def _rgba(colour: np.ndarray, alpha: float) -> tuple[int, int, int, int]:
    red, green, blue = (int(np.clip(channel, 0, 255)) for channel in colour)
    return red, green, blue, round(255 * alpha)


def _ellipse(x: float, y: float, width: float, height: float, power: float = 2.0) -> np.ndarray:
    """A superellipse (48, 2) with these half axes; power 2 is an ellipse, more is squarer."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.stack(
        [
            x + width * np.sign(cos) * np.abs(cos) ** (2 / power),
            y + height * np.sign(sin) * np.abs(sin) ** (2 / power),
        ],
        axis=1,
    )


def _arc(x: float, y: float, width: float, bend: float) -> np.ndarray:
    """A parabola (13, 2) of half width ``width``; ``bend`` > 0 has its ends above its middle."""
    across = np.linspace(-1, 1, 13)
    return np.stack([x + width * across, y - bend * (across**2 - 0.5)], axis=1)


def _face_outline(who: Identity) -> np.ndarray:
    """The face (48, 2): an ellipse whose lower half is as square as the jaw."""
    outline = _ellipse(0, 0.05, who.width, 1.0)
    jaw = _ellipse(0, 0.05, who.width * (0.92 + 0.1 * who.jaw), 1.0, 1.75 + 0.95 * who.jaw)
    lower = outline[:, 1] > 0.05
    outline[lower] = jaw[lower]
    return outline


def _today(rng: np.random.Generator, who: Identity, difficulty: float) -> Identity:
    """An identity whose hair, beard and lips are as in one image."""
    return replace(
        who,
        hair_length=float(np.clip(who.hair_length + difficulty * rng.normal(0, 0.25), 0.1, 1.9)),
        beard=who.beard * max(0.0, 1 - difficulty * rng.uniform(0, 0.6)),
        lips=float(np.clip(who.lips + rng.normal(0, 0.15), 0, 1)),
    )


def _photograph(
    rng: np.random.Generator, who: Identity, smiling: bool, difficulty: float
) -> np.ndarray:
    """One image (84, 84, 3) uint8 of an identity as it is today."""
    across, down = np.meshgrid(np.linspace(-1, 1, SIDE * FINE), np.linspace(-1, 1, SIDE * FINE))
    tilt = rng.normal(size=2)
    colour = 130 + difficulty * (rng.uniform(-90, 90) + rng.normal(0, 22, 3))
    wall = colour + (across * tilt[0] + down * tilt[1])[..., None] * 25 * difficulty
    easel = Easel(rng, np.clip(wall, 0, 255).astype(np.uint8), difficulty)

    skin = who.skin * (1 + difficulty * rng.uniform(-0.15, 0.08))
    shade = skin * 0.78
    _draw_behind(easel, who, shade, rng.uniform(20, 230, 3))
    easel.fill(_face_outline(who), skin)
    _draw_beard(easel, who, skin)
    _draw_mouth(rng, easel, who, skin, smiling, difficulty)
    easel.line([(0.02, -0.05), (0.09, 0.27), (-0.04, 0.3)], shade, 0.05, depth=0.8)
    _draw_eyes(rng, easel, who, skin, smiling)
    _draw_hair(easel, who)
    if rng.random() < who.glasses:
        for side in (-1, 1):
            rim = _ellipse(0.3 * side, -0.12, 0.22, 0.17, 2.6)
            easel.line([*rim, rim[0]], np.full(3, 30), 0.045, depth=0.6)
        easel.line([(-0.08, -0.14), (0.08, -0.14)], np.full(3, 30), 0.045, depth=0.6)

    small = np.asarray(easel.image.reduce(FINE), float)
    across, down = across[::FINE, ::FINE], down[::FINE, ::FINE]
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 + difficulty * rng.uniform(0, 0.25) * (across * np.cos(angle) + down * np.sin(angle))
    warmth = 1 + difficulty * rng.normal(0, 0.04, 3)
    grain = difficulty * rng.normal(0, rng.uniform(2, 9), small.shape)
    return np.rint(np.clip(small * light[..., None] * warmth + grain, 0, 255)).astype(np.uint8)


def _draw_behind(easel: Easel, who: Identity, shade: np.ndarray, cloth: np.ndarray) -> None:
    """Hair that hangs behind, neck, shoulders, ears."""
    if who.hair_length > 0.4:
        bottom = -1.05 + who.hair_length * 1.15 + 0.4
        middle, half = (bottom - 1.15) / 2, (bottom + 1.15) / 2
        easel.fill(_ellipse(0, middle, who.width + 0.2, half, 3.0), who.hair * 0.8, depth=-0.6)
    broad = 1.05 + 0.3 * who.jaw
    easel.fill(_ellipse(0, 2.1, broad, 0.85, 2.5), cloth, depth=-0.4)
    neck = 0.3 + 0.14 * who.jaw
    easel.fill([(-neck, 0.6), (neck, 0.6), (neck + 0.06, 1.45), (-neck - 0.06, 1.45)], shade)
    for side in (-1, 1):
        easel.fill(_ellipse(side * (who.width + 0.02), 0.08, 0.1, 0.2), shade, depth=-0.5)


def _draw_beard(easel: Easel, who: Identity, skin: np.ndarray) -> None:
    if who.beard:
        outline = _face_outline(who)
        low = outline[outline[:, 1] > 0.3]
        top = _arc(0, 0.42, low[:, 0].max(), 0.12)
        beard = np.concatenate([low[np.argsort(-low[:, 0])], top])
        easel.fill(beard, skin + (who.hair * 0.7 - skin) * who.beard, alpha=0.9)


def _draw_mouth(
    rng: np.random.Generator,
    easel: Easel,
    who: Identity,
    skin: np.ndarray,
    smiling: bool,
    difficulty: float,
) -> None:
    """A smile bends the mouth up, widens it and may show teeth; without one it varies too."""
    lips = skin * 0.72 + (np.array([190, 40, 60]) - skin * 0.72) * who.lips
    bend = (
        0.13 + difficulty * rng.normal(0, 0.045) if smiling else difficulty * rng.normal(0, 0.035)
    )
    width = (0.36 if smiling else 0.29) + difficulty * rng.normal(0, 0.03)
    middle = 0.57 + rng.normal(0, 0.015)
    upper = _arc(0, middle, width, bend)
    if rng.random() < (1 - 0.45 * difficulty if smiling else 0.15 * difficulty):
        gap = rng.uniform(0.06, 0.13)
        lower = _arc(0, middle + gap, width * 0.97, bend + gap)
        easel.fill([*upper, *lower[::-1]], np.array([246, 242, 236]), depth=0.6)
        easel.line(lower, lips, 0.06, depth=0.6)
    easel.line(upper, lips, 0.05 + 0.04 * who.lips, depth=0.6)


def _draw_eyes(
    rng: np.random.Generator, easel: Easel, who: Identity, skin: np.ndarray, smiling: bool
) -> None:
    look = rng.normal(0, 0.02)
    open_to = 0.06 * rng.uniform(0.8, 1.15) * (0.85 if smiling else 1.0)
    raised = rng.normal(0, 0.02)
    for side in (-1, 1):
        x, y = 0.3 * side, -0.12
        easel.fill(_ellipse(x, y, who.eye, open_to), np.full(3, 245), depth=0.5)
        easel.fill(_ellipse(x + look, y, 0.055, min(0.055, open_to)), who.iris, depth=0.5)
        easel.fill(_ellipse(x + look, y, 0.025, 0.025), np.full(3, 10), depth=0.5)
        easel.line(_arc(x, y - open_to, who.eye, -0.04), skin * 0.4, 0.03, depth=0.5)
        brow = _arc(x, y - 0.19 + raised, 0.16, -0.05)
        easel.line(brow, who.hair * 0.6 + skin * 0.1, who.brow, depth=0.5)


def _draw_hair(easel: Easel, who: Identity) -> None:
    """The cap over the crown, its edge on the forehead, strands beside long-haired faces."""
    cap = _ellipse(0, -0.1, who.width + 0.07, 1.08)
    cap = cap[cap[:, 1] < -0.25]
    edge = _arc(0, -0.62 + who.fringe, 0.9 * who.width, 0.22 - who.fringe)
    easel.fill([*cap[np.argsort(cap[:, 0])], *edge[::-1]], who.hair)
    if who.hair_length > 0.6:
        for side in (-1, 1):
            x, bottom = side * (who.width + 0.03), -1.05 + who.hair_length * 1.1
            easel.fill(_ellipse(x, (bottom - 0.6) / 2, 0.12, (bottom + 0.6) / 2, 2.6), who.hair)
