"""A wav file as the image of a spoken word: log-mel, loud on quiet.

In this order: one channel, ``RATE`` samples a second, the middle ``FRAMES`` frames (silence is put
around a shorter clip), the power spectrum of each under a Hann window, ``BANDS`` bands of equal
width on the mel scale, decibels below the clip's loudest band, and these as 0 to 255.
"""

import warnings
from functools import cache
from math import gcd
from pathlib import Path

import numpy as np

from autoprune.core.errors import InputError

RATE = 16_000  # Hz, of the samples that frames are cut from
HOP = 480  # samples from frame to frame: 30 ms
WINDOW = 960  # samples of a frame: 60 ms, so that even the lowest band holds a frequency
FRAMES = 64  # with the last one's window 1.95 s, the length of a short word with its silence
LENGTH = (FRAMES - 1) * HOP + WINDOW  # samples
BANDS = 40  # from 0 Hz to RATE / 2
RANGE = 80.0  # dB below the clip's loudest band that become 0; the loudest band is 255
RATES = range(4_000, 400_000)  # Hz, of files; others are mistakes of a header


def image(path: Path) -> np.ndarray:
    """The log-mel image (BANDS, FRAMES) uint8 of a wav file, the lowest band first.

    A clip without any sound is all 0. Raises InputError naming the file that is none.
    """
    rate, samples = _read(path)
    if rate != RATE:
        from scipy.signal import resample_poly

        common = gcd(rate, RATE)
        samples = resample_poly(samples, RATE // common, rate // common)
    return log_mel(_fitted(samples))


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The image (BANDS, FRAMES) uint8 of samples (LENGTH,) at RATE."""
    from scipy.signal.windows import hann

    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * hann(WINDOW, sym=False))) ** 2  # (frame, frequency)
    # no BLAS: its threads get in one another's way here, and their number would decide the sums
    bands = np.einsum("bf,tf->bt", filters(), power)  # (band, frame)
    loudest = bands.max()
    if not loudest > 0:
        return np.zeros((BANDS, FRAMES), np.uint8)
    decibels = 10 * np.log10(np.maximum(bands / loudest, 10 ** (-RANGE / 10)))
    return np.rint(255 * (1 + decibels / RANGE)).astype(np.uint8)


@cache
def filters() -> np.ndarray:
    """Triangles (band, frequency) over the power spectrum, centres evenly spaced in mel.

    Mel is 2595 log10(1 + Hz / 700) (O'Shaughnessy 1987); each is 1 at its centre and 0 at those of
    its neighbours.
    """
    frequency = np.fft.rfftfreq(WINDOW, 1 / RATE)
    top = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, BANDS + 2) / 2595) - 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequency - low) / (centre - low), (high - frequency) / (high - centre)
    return np.maximum(0, np.minimum(rising, falling))


def _fitted(samples: np.ndarray) -> np.ndarray:
    """The middle LENGTH samples, with as many zeros before as behind where there are fewer."""
    less = LENGTH - len(samples)
    if less > 0:
        return np.pad(samples, (less // 2, less - less // 2))
    return samples[-less // 2 :][:LENGTH]


def _read(path: Path) -> tuple[int, np.ndarray]:
    """Samples a second, and the samples (sample,) float64, the mean over channels."""
    from scipy.io import wavfile

    size = path.stat().st_size
    if not size:
        raise InputError(f"{path}: the file is empty; fetch it again or remove it")
    try:
        with warnings.catch_warnings():
            # about further parts of the file; one that ends before its sound does is no clip
            warnings.simplefilter("ignore", wavfile.WavFileWarning)
            warnings.filterwarnings("error", "Reached EOF", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
    except Exception as error:  # scipy raises all kinds for broken bytes
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: not a whole wav file of plain samples ({reason}; {size} bytes); fetch or "
            "convert it again"
        ) from None
    if rate not in RATES or not len(samples):
        raise InputError(
            f"{path}: {len(samples)} samples at {rate} Hz, expected some at {RATES.start} to "
            f"{RATES.stop} Hz; fetch it again or remove it"
        )
    numbers = samples.astype(np.float64)
    if samples.dtype == np.uint8:
        numbers -= 128  # 8 bits are unsigned, silence in their middle; the scale does not matter
    if not np.isfinite(numbers).all():
        raise InputError(f"{path}: samples that are no finite numbers; convert it again")
    numbers /= np.abs(numbers).max() or 1  # so that no number is too large to square
    return int(rate), numbers.reshape(len(numbers), -1).mean(1)
