"""Every random stream of the study, each a pure function of (seed, purpose, numbers)."""

import zlib

import numpy as np


def sequence(seed: int, purpose: str, *numbers: int) -> np.random.SeedSequence:
    """The seed sequence of one purpose ("cohort", "client", ...) and, say, one round and client.

    Streams of different purposes or numbers are independent; ``purpose`` enters as its CRC-32,
    which is the same on every platform (Python's own ``hash`` is not).
    """
    return np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), *numbers])


def generator(seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """A NumPy generator on ``sequence(seed, purpose, *numbers)``."""
    return np.random.Generator(np.random.PCG64(sequence(seed, purpose, *numbers)))


def torch_seed(seed: int, purpose: str, *numbers: int) -> int:
    """A 63-bit integer for ``torch.Generator.manual_seed`` from the same sequence."""
    return int(sequence(seed, purpose, *numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
