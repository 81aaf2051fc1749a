"""Samples and classes of the clients, most samples first.

How many samples each client holds, over the shares of its classes. The more the clients differ, the
harder the federated task. Drawn from the partitions that the runs of this report were trained on.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.gridspec import SubplotSpec

from autoprune.core.errors import InputError
from autoprune.core.tasks import TOGETHER
from autoprune.data.partition import Partition
from autoprune.evidence.partition import scheme, title
from autoprune.publish.spots import say

CATEGORY = "Data"
LABEL = "labels by client"
INPUTS = {"partitions": "<results>/data/{dataset}/partition/partition.json"}
MOST_CLIENTS = 40  # columns of a panel that are still told apart
MOST_LABELS = 10  # of a client that are read out
BARS = 0.7  # inches; height of the bars over a heat map


def shown_clients(sizes: np.ndarray) -> np.ndarray:
    """Clients (n,) from most samples to fewest; evenly spaced ones when there are many."""
    order = np.argsort(-sizes, kind="stable")
    if len(order) <= MOST_CLIENTS:
        return order
    return order[np.linspace(0, len(order) - 1, MOST_CLIENTS).round().astype(int)]


def label_counts(partition: Partition) -> pd.DataFrame:
    """Counts (classes, clients); only classes that some client has, in the store's order."""
    path = partition.folder / "label_counts.csv"
    try:
        # A class may be called "NA"; one that is called "1" is no number.
        long = pd.read_csv(path, dtype={"class": str}, keep_default_na=False)
        wide = long.pivot_table(index="class", columns="client", values="count", fill_value=0)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not a table of label counts ({error})") from None
    # Digits, capitals, small letters: the stores' own order is the characters' order.
    return wide.sort_index()


def draw(partitions: Sequence[str]) -> plt.Figure:
    """A panel a partition: bars of samples over a heat map of each client's label shares."""
    parts = [Partition.open(Path(path).parent) for path in partitions]
    heights = [_height(part.header) for part in parts]
    figure = plt.figure(figsize=(8, sum(heights)), dpi=150)
    grid = figure.add_gridspec(len(parts), 1, height_ratios=heights)
    figure.set_layout_engine("constrained", h_pad=0.06, hspace=0.01)
    for place, part in enumerate(parts):
        _draw_panel(figure, grid[place], part)
    return figure


def _height(header: dict) -> float:
    """Inches of one panel: what the class names need."""
    return BARS + 0.9 + _heat_height(header)


def _heat_height(header: dict) -> float:
    return float(np.clip(0.2 * header["classes"], 1.0, 4.4))


def _draw_panel(figure: plt.Figure, place: SubplotSpec, part: Partition) -> None:
    header = part.header
    counts = label_counts(part)
    sizes = np.diff(part.offsets)
    clients = shown_clients(sizes)
    if header.get("task") == "multi-label":  # an image may have several answers, or none
        names = header["target"].split(TOGETHER)
        share = counts.reindex(index=names, columns=clients, fill_value=0) / sizes[clients]
    else:
        share = counts[clients] / counts[clients].sum(axis=0)

    inner = place.subgridspec(
        2, 2, height_ratios=[BARS, _heat_height(header)], width_ratios=[40, 1]
    )
    bars = figure.add_subplot(inner[0, 0])
    heat = figure.add_subplot(inner[1, 0])
    bars.bar(np.arange(len(clients)) + 0.5, sizes[clients], color="#8c8c8c", width=0.8)
    bars.set(xlim=(0, len(clients)), xticks=[], ylabel="samples")
    bars.yaxis.set_major_formatter("{x:,.0f}")
    bars.spines[["top", "right"]].set_visible(False)
    above = f"{title(header)}: {header['target']}, {scheme(header)}"
    bars.set_title(_wrapped(figure, above), loc="left")

    sns.heatmap(
        share,
        ax=heat,
        cmap="Blues",  # from white to dark in one hue: reads the same in grey
        vmin=0,
        yticklabels=True,
        xticklabels=False,
        cbar_ax=figure.add_subplot(inner[1, 1]),
        cbar_kws={"label": "share of samples"},
    )
    _say_clients(bars, heat, sizes[clients], share)
    size = max(4.5, min(9, 300 / len(share)))
    heat.tick_params(axis="y", labelsize=size, rotation=0, length=0)
    some = len(clients) < header["clients"]
    spaced = f"{len(clients)} of {header['clients']} clients, evenly spaced by size"
    below = (spaced if some else f"all {len(clients)} clients") + ", most samples first"
    heat.set_xlabel(_wrapped(figure, below))
    heat.set_ylabel(header["target"])


def _say_clients(bars: plt.Axes, heat: plt.Axes, sizes: np.ndarray, share: pd.DataFrame) -> None:
    """What a client's bar says, and its column of the heat map: the largest labels first."""
    top = bars.get_ylim()[1]
    for place, (client, count) in enumerate(zip(share.columns, sizes, strict=True)):
        mine = share[client].sort_values(ascending=False, kind="stable")
        labels = [f"{name}: {100 * part:.3g} %" for name, part in mine[mine > 0].items()]
        more = [f"and {len(labels) - MOST_LABELS} more"] if len(labels) > MOST_LABELS else []
        whole = f"client {client}: {count:,} sample{'' if count == 1 else 's'}"
        text = "\n".join([whole, *labels[:MOST_LABELS], *more])
        say(bars, place + 0.5, top / 2, whole, "samples", (1, top))
        say(heat, place + 0.5, len(share) / 2, text, "labels", (1, len(share)))


def _wrapped(figure: plt.Figure, text: str) -> str:
    """A line of text broken for a narrow figure; about 14 letters an inch."""
    return "\n".join(textwrap.wrap(text, int(14 * (figure.get_figwidth() - 0.6))))
