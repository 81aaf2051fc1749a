"""The least that the rule can leave of a network, whatever was learnt: widths and parameters."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from autoprune.measure.table import INPUT, PAIR
from autoprune.models import Architecture
from autoprune.pruning.budget import cost


def floors(base: Sequence[int], k: float) -> tuple[int, ...]:
    """The widths below which the rule cannot take a layer, whatever was learnt.

    A layer can lose a filter only if it has more than k² + 1 (method.md: population statistics
    give |z| <= sqrt(N - 1)), and at most 1/k² of its filters in a round, so it stops there.
    """
    least = math.floor(k * k + 1)
    return tuple(min(width, max(1, math.ceil((least + 1) * (1 - 1 / (k * k))))) for width in base)


def floor_share(base: Architecture, k: float) -> float:
    """The parameters (Keras total) of a network at its ``floors``, as a share of the base's."""
    return cost(base.with_widths(floors(base.widths, k))) / cost(base)


def floors_note(base: Architecture | None, k: float) -> str:
    """The least widths and what they leave, as lines below k; nothing for an unknown base."""
    if base is None:
        return ""
    widths = floors(base.widths, k)
    shown = (
        f"{widths[0]} each"
        if len(widths) > 4 and len(set(widths)) == 1
        else " ".join(map(str, widths))
    )
    return f"\n≥ {shown}\n≥ {100 * floor_share(base, k):.1f} %"


def base_networks(
    values: pd.DataFrame, widths: Mapping[tuple[str, ...], tuple[int, ...]]
) -> dict[tuple[str, ...], Architecture]:
    """The network before pruning of each pair (PAIR's values) whose ``widths`` are known.

    ``values`` as of ``final_figures``; of its runs the images and classes are those of the pair.
    """
    about = values.groupby(PAIR)[[*INPUT, "classes"]].first().astype(int)
    found = {}
    for pair, own in widths.items():
        *shape, classes = about.loc[pair].tolist()
        found[pair] = Architecture(pair[2], own, tuple(shape), classes)
    return found
