"""The 1,797 real handwritten digits that scikit-learn carries: one pool, no writers."""

import numpy as np

from autoprune.data.prepare import sources
from autoprune.data.prepare.images import Expected, Samples

KIND = "real"
SIDE = 28  # pixels; the size of FEMNIST, so that the same networks take both
LEVELS = 16  # load_digits counts the inked dots of a 4x4 block: 0..16


class Options(sources.Seeded):
    """What may be set."""

    test_fraction: float = sources.TEST_FRACTION


def expected(options: Options) -> Expected:
    """How large the data will be; they are one pool, of no client's."""
    test = round(1797 * options.test_fraction)
    return Expected(1, 1797 - test, test, (SIDE, SIDE, 1), 10)


def prepare(options: Options, processes: int = 1) -> Samples:
    """Resize the 8x8 digits to (1797, 28, 28, 1), light on dark; split them class by class."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.rint(digits.images * (255 / LEVELS)).astype(np.uint8)
    resized = [
        np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
        for image in grey
    ]
    test = sources.held_out(digits.target, range(10), options.test_fraction, options.seed)
    return Samples(
        images=np.stack(resized)[..., None],
        labels=digits.target[:, None],
        clients=np.zeros(len(grey), np.int64),
        splits=sources.halved(test, options.seed),
        client_ids=["pool"],
        targets=[{"name": "digit", "classes": [str(digit) for digit in range(10)]}],
        dropped=[],
        polarity="light-on-dark",
        natural_clients=False,
        kind=KIND,
    )
