"""The test's own error: held-out clients and seeds drawn anew, both arms on the same clients."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.files import check_seal
from autoprune.core.seeds import generator
from autoprune.evidence.readings import Arm, Pair
from autoprune.measure.table import PAIR, RUN

COLUMNS = [*RUN, "unit", "examples", "right"]
NUMBERS = ("seed", "examples", "right")
DRAWS = 2000


class Units(NamedTuple):
    """One arm on the held-out units: ``right`` (seed, unit) and ``examples`` (unit,)."""

    right: np.ndarray
    examples: np.ndarray


def read_units(path: str | None) -> dict[Pair, dict[Arm, Units]]:
    """The units of every pair and arm; nothing without a path.

    Raises InputError for an absent file, a missing column or runs that name other units.
    """
    if path is None:
        return {}
    check_seal(path)
    try:
        table = pd.read_csv(path, dtype={"stands_for": str}, keep_default_na=False)
    except (OSError, ValueError, OverflowError) as error:  # pandas' own are ValueErrors too
        raise InputError(
            f"{path}: not a CSV file ({error}); run autoprune.measure.metrics again"
        ) from None
    if not isinstance(table.index, pd.RangeIndex):  # pandas takes what is left over for an index
        raise InputError(
            f"{path}: rows have more cells than the header; run autoprune.measure.metrics again"
        )
    if of_numbers := "score" in table:  # what R² is the mean of takes the place of right answers
        table = table.rename(columns={"score": "right"})
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        raise InputError(
            f"{path}: column {missing[0]} is missing; run autoprune.measure.metrics again"
        )
    for name in NUMBERS:
        numbers = pd.to_numeric(table[name], errors="coerce")
        below = (numbers < 0) & (name != "right" or not of_numbers)
        wrong = table.index[~np.isfinite(numbers.astype(float)) | below]
        if len(wrong):
            raise InputError(
                f"{path}, row {wrong[0] + 1}: {name}: found {table[name][wrong[0]]!r}, expected a "
                "number of at least 0; run autoprune.measure.metrics again"
            )
        table[name] = numbers
    found: dict[Pair, dict[Arm, Units]] = {}
    for pair, rows in table.groupby(PAIR):
        examples = rows.groupby("unit")["examples"].agg(["first", "nunique"])
        for arm, own in rows.groupby(["method", "variant"]):
            right = own.pivot_table(index="seed", columns="unit", values="right", sort=True)
            whole = right.reindex(columns=examples.index)
            if whole.isna().to_numpy().any() or (examples["nunique"] > 1).any():
                name = "/".join([*map(str, pair), *arm])
                raise InputError(
                    f"{path}: {name}: other held-out units than the other runs of {pair[0]} have; "
                    "train them on one partition"
                )
            units = Units(whole.to_numpy(float), examples["first"].to_numpy(float))
            found.setdefault(pair, {})[arm] = units
    return found


def errors(
    arms: Mapping[Arm, Units], contrasts: Sequence[tuple[Arm, Arm]], key: Hashable = ""
) -> list[float | None]:
    """Standard errors of differences of mean accuracy, in points, None where an arm lacks units.

    Every draw takes as many units as there are, with replacement and the same for all arms, and of
    each arm as many seeds; the seeds' part is scaled by n / (n - 1), which such draws fall short
    of. ``key`` names the stream.
    """
    able = [all(arm in arms for arm in contrast) for contrast in contrasts]
    if not any(able):
        return [None] * len(contrasts)
    number = len(next(iter(arms.values())).examples)
    stream = generator(0, f"units {key}")
    taken = stream.multinomial(number, np.full(number, 1 / number), DRAWS)
    means = {arm: _means(units, taken, stream) for arm, units in sorted(arms.items())}
    return [
        100 * float(np.std(means[one] - means[other], ddof=1)) if usable else None
        for (one, other), usable in zip(contrasts, able, strict=True)
    ]


def _means(units: Units, taken: np.ndarray, stream: np.random.Generator) -> np.ndarray:
    """The mean accuracy of one arm in each draw of units, over seeds drawn anew: (draw,)."""
    by_seed = (taken @ units.right.T) / (taken @ units.examples)[:, None]
    seeds = by_seed.shape[1]
    centre = by_seed.mean(axis=1)
    if seeds < 2:
        return centre
    places = stream.integers(seeds, size=by_seed.shape)
    drawn = np.take_along_axis(by_seed, places, axis=1).mean(axis=1)
    return centre + (drawn - centre) * math.sqrt(seeds / (seeds - 1))
