"""Inference time of pruned and dense networks, and speed-up against the reduction of MACs.

A row of two panels each for phones and for the machine that ran this study: the two are never
compared. Bars are the range over repeats (phone) or the 95 % bootstrap interval (host proxy). The
host says how a network's time changes with its MACs on one processor, not how fast a phone is.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from autoprune.core.labels import dataset_label, label
from autoprune.evidence.latency import COLUMNS, KINDS, NUMBERS
from autoprune.measure.table import read_table
from autoprune.phone.delegates import ACCELERATORS, LABELS
from autoprune.publish.axes import log_axis
from autoprune.publish.plotting import ARM, Look, empty, finish, looks, panels, told_apart
from autoprune.publish.spots import say

CATEGORY = "Latency"
INPUTS = {"latency": "<results>/tables/latency.csv"}
GROUP = ["kind", "precision", "threads", "accelerator"]
DENSE = ("dense", "fedavg")


def draw(latency: str) -> Figure:
    """A row of two panels for each kind, precision and accelerator, phones first.

    Rows of other networks have no MACs and are not drawn, nor are runs on more threads than the
    fewest of their kind.
    """
    table = read_table(latency, COLUMNS)
    words = [name for name in COLUMNS if name not in (*NUMBERS, "threads")]
    table[words] = table[words].astype(object).fillna("")
    known = {name: LABELS[name] for name in ACCELERATORS}
    table["accelerator"] = table["delegate"].map(known).fillna("")
    drawn = table[table["macs"].notna() & table["median_ms"].notna()]
    drawn = drawn[drawn["threads"] == drawn.groupby("kind")["threads"].transform("min")]
    drawn, others = told_apart(drawn)
    if drawn.empty:
        return empty("nothing measured")
    groups = sorted(
        drawn[GROUP].drop_duplicates().itertuples(index=False, name=None),
        key=lambda group: (list(KINDS).index(group[0]), group[1:]),
    )
    titles = [title(*group) for group in groups for _ in range(2)]
    figure, axes = panels(titles, columns=2)
    arms = looks(pd.concat([drawn[ARM], pd.DataFrame([DENSE], columns=ARM)]))
    for place, group in enumerate(groups):
        mine = drawn[(drawn[GROUP] == list(group)).all(axis=1)]
        draw_latency(axes[2 * place], mine, arms)
        draw_speed_up(axes[2 * place + 1], mine, arms)
    entries = [
        look.entry(marker=look.marker, linestyle="none", markersize=4) for look in arms.values()
    ]
    note = "grey: as much faster as MACs are fewer; dotted: no faster; one dot a network and engine"
    note += "; bars: range over repeats (phone), 95 % interval (host proxy)"
    pairs = drawn[["dataset", "data_kind"]].drop_duplicates().itertuples(index=False, name=None)
    note += f"; trained on {', '.join(dataset_label(*pair) for pair in pairs)}{others}"
    finish(figure, "", "", entries, note)
    for times, speed_up in zip(axes[::2], axes[1::2], strict=True):
        times.set(xlabel="MACs", ylabel="latency, ms")
        speed_up.set(xlabel="MACs, dense / own", ylabel="speed-up")
    return figure


def named(row: Any, look: Look) -> str:
    """The network of a row, its MACs and the engine that ran it."""
    data = dataset_label(row.dataset, row.data_kind)
    return f"{look.label}, {data}, {label(row.model)}\n{row.macs:,.0f} MACs, {row.engine}"


def title(kind: str, precision: str, threads: int, accelerator: str) -> str:
    """What a panel shows."""
    text = f"{KINDS[kind]}, {precision}, {threads} thread{'s' if threads > 1 else ''}"
    return f"{text}, {accelerator}" if accelerator else text


def draw_latency(ax: Axes, table: pd.DataFrame, arms: dict[tuple[str, str], Look]) -> None:
    """Times against MACs, both logarithmic; a host's dense twins stand in their pruned rows."""
    twins = table[(table["kind"] == "host_proxy") & table["dense_ms"].notna()]
    twins = twins.assign(macs=twins["macs_dense"], median_ms=twins["dense_ms"])
    twins = twins.assign(method=DENSE[0], variant=DENSE[1])
    for row in pd.concat([table, twins]).itertuples():
        look = arms[row.method, row.variant]
        bars = None
        if pd.notna(row.least_ms) and row.method:
            bars = [[row.median_ms - row.least_ms], [row.most_ms - row.median_ms]]
        style: dict[str, Any] = {"color": look.colour, "markersize": 4, "elinewidth": 0.7}
        ax.errorbar(row.macs, row.median_ms, bars, fmt=look.marker, **style)
        say(ax, row.macs, row.median_ms, f"{named(row, look)}\n{row.median_ms:.4g} ms", look.label)
    macs = pd.concat([table["macs"], twins["macs"]])
    log_axis(ax, macs.min(), macs.max())
    ax.set_yscale("log")
    ends = [table[name].dropna() for name in ("median_ms", "dense_ms", "least_ms", "most_ms")]
    times = pd.concat(ends)
    span = times.max() / times.min()
    ax.set_ylim(times.min() / 1.25, times.max() * 1.25)
    subs = (1, 2, 3, 4, 5, 7) if span < 4 else (1, 2, 5) if span < 40 else (1,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())


def draw_speed_up(ax: Axes, table: pd.DataFrame, arms: dict[tuple[str, str], Look]) -> None:
    """Speed-up against the reduction of MACs, of what has a dense twin."""
    rows = table[table["speed_up"].notna()]
    most = max([1.0, *rows["macs_factor"], *rows["high"]]) * 1.08
    ax.plot([0, most], [0, most], color="#999999", linewidth=0.7)
    ax.axhline(1, color="#777777", linewidth=0.8, linestyle=":")
    for row in rows.itertuples():
        look = arms[row.method, row.variant]
        bars = [[row.speed_up - row.low], [row.high - row.speed_up]]
        style: dict[str, Any] = {"color": look.colour, "markersize": 4, "elinewidth": 0.7}
        ax.errorbar(row.macs_factor, row.speed_up, bars, fmt=look.marker, **style)
        text = f"{row.speed_up:.3g}× as fast [{row.low:.3g}, {row.high:.3g}]"
        text += f" with {row.macs_factor:.3g}× fewer MACs"
        say(ax, row.macs_factor, row.speed_up, f"{named(row, look)}\n{text}", look.label)
    ax.set(xlim=(0.9, most), ylim=(0, most))
