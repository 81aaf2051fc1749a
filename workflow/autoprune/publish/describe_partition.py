"""Stage: a table and a figure of how partitions divide their data among clients."""

import argparse
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_text
from autoprune.core.labels import STAND_IN
from autoprune.data.partition import Partition
from autoprune.publish.latex import Paper, latex_table
from autoprune.publish.plotting import (
    SCREEN,
    Page,
    add_figure_flags,
    current_page,
    use_page,
    write_figure,
)
from autoprune.publish.spots import say

matplotlib.use("Agg")  # before pyplot: a stage has no display
import matplotlib.pyplot as plt
import seaborn as sns

MOST_CLIENTS = 40  # columns of a panel that are still told apart in print
MOST_LABELS = 10  # of a client that are read out
BARS = 0.7  # inches; height of the bars over a heat map
INK = "#333333"
TITLE = "Clients and samples"
PAPER = Paper(
    below=["dropped, why"],
    left_out=["target", "of these, other labels", "dropped clients", "dropped samples"],
)


def title(header: dict) -> str:
    """The data set's name, marked when it stands in for another."""
    store = header["store"]
    return store["name"] + (STAND_IN if store["kind"] == "stand-in" else "")


def scheme(header: dict) -> str:
    """The scheme with the setting that sets its skew; the number of clients stands beside it."""
    settings = header["settings"]
    words = {
        "alpha": "α = {:g}",
        "classes_per_client": "{} classes a client",
        "shards_per_client": "{} a client",
        "shard_size": "of {} samples",
    }
    chosen = [
        text.format(settings[name])
        for name, text in words.items()
        if settings.get(name) is not None
    ]
    return ", ".join([header["scheme"], *chosen])


def reasons(dropped: Sequence[dict]) -> str:
    """Why clients and samples were dropped, with counts: the store's reasons, then the scheme's.

    An entry whose client is None is samples that went to no client.
    """
    found: dict[tuple[str, str], list[dict]] = {}
    for entry in dropped:
        found.setdefault((entry["stage"], entry["reason"]), []).append(entry)
    parts = []
    for (stage, reason), entries in found.items():
        clients = sum(entry["client"] is not None for entry in entries)
        samples = sum(entry["samples"] for entry in entries)
        who = f"{clients} client{'s' * (clients != 1)}, " if clients else ""
        parts.append(f"{who}{samples} sample{'s' * (samples != 1)}: {reason} ({stage})")
    return "; ".join(parts) or "nothing"


def table(headers: Sequence[dict]) -> pd.DataFrame:
    """One row a partition: its data, clients, samples, labels, what was dropped and why.

    ``source`` says whose split the numbers are from: the same writers count differently in
    TensorFlow Federated's, LEAF's and the hub's.
    """
    rows = []
    for header in headers:
        sizes, samples, dropped = (
            header[key] for key in ("samples_per_client", "samples", "dropped")
        )
        repeated = {
            key: sum(split[key] for split in header["repeated"].values())
            for key in ("images", "same_labels")
        }
        rows.append(
            {
                "dataset": title(header),
                "source": header["store"]["source"],
                "scheme": scheme(header),
                "target": header["target"],
                "clients": header["clients"],
                "samples per client, min": sizes["min"],
                "samples per client, median": f"{sizes['median']:g}",
                "samples per client, max": sizes["max"],
                "classes": header["classes"],
                "label entropy per client, bits": f"{header['mean_label_entropy_bits']:.2f}",
                "train": samples["train"],
                "validation": samples["validation"],
                "test": samples["test"],
                "held out, also trained on": repeated["images"],
                "of these, other labels": repeated["images"] - repeated["same_labels"],
                "dropped clients": sum(entry["client"] is not None for entry in dropped),
                "dropped samples": sum(entry["samples"] for entry in dropped),
                "dropped, why": reasons(dropped),
            }
        )
    return pd.DataFrame(rows)


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


def draw(partitions: Sequence[Partition]) -> plt.Figure:
    """A panel a partition: bars of samples over a heat map of each client's label shares."""
    width = current_page().width or 8
    figure = plt.figure(figsize=(width, sum(_height(p.header) for p in partitions)), dpi=150)
    grid = figure.add_gridspec(
        len(partitions), 1, height_ratios=[_height(p.header) for p in partitions]
    )
    figure.set_layout_engine("constrained", h_pad=0.06, hspace=0.01)
    for place, partition in enumerate(partitions):
        _draw_panel(figure, grid[place], partition)
    return figure


def _height(header: dict) -> float:
    """Inches of one panel: what the class names need."""
    return BARS + 0.9 + _heat_height(header)


def _heat_height(header: dict) -> float:
    if current_page().width:
        return float(np.clip(0.1 * header["classes"], 0.5, 1.8))
    return float(np.clip(0.2 * header["classes"], 1.0, 4.4))


def _draw_panel(figure: plt.Figure, place: matplotlib.gridspec.SubplotSpec, part: Partition):
    header = part.header
    counts = label_counts(part)
    sizes = np.diff(part.offsets)
    clients = shown_clients(sizes)
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
    if current_page().width:  # letters that can be read in print, of as many classes as have room
        size = 6
        every = math.ceil(len(share) * 0.1 / _heat_height(header))
        places = np.arange(0, len(share), every)
        heat.set_yticks(places + 0.5, share.index[places])
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


def theme(page: Page) -> None:
    """Set how this figure looks on a page."""
    use_page(page)
    style = {
        "svg.hashsalt": "autoprune",  # with no date, the same data gives the same bytes
        "svg.fonttype": "none" if page is SCREEN else "path",
        "pdf.fonttype": 42,
        "savefig.dpi": "figure",  # whatever another theme of the same process has set
        "font.size": 9 if page is SCREEN else page.font,
        "text.color": INK,
        "axes.labelcolor": INK,
    }
    plt.rcParams.update(style)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m autoprune.publish.describe_partition",
        description=__doc__,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--partition", required=True, nargs="+", type=Path, help="folders of partitions"
    )
    for flag, what in {
        "csv": "table as CSV",
        "html": "table as HTML",
        "markdown": "table as Markdown",
        "latex": "table as LaTeX",
    }.items():
        parser.add_argument(f"--{flag}", required=True, type=Path, help=f"{what}, to write")
    add_figure_flags(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Write table and figure; raises InputError for a folder that is no partition."""
    args = parse(argv)
    partitions = [Partition.open(folder) for folder in args.partition]
    rows = table([partition.header for partition in partitions])
    sides = ["left"] * 4 + ["right"] * (len(rows.columns) - 5) + ["left"]
    with plt.rc_context():
        write_figure(args, lambda: draw(partitions), theme)
    write_text(args.csv, rows.to_csv(index=False, lineterminator="\n"))
    write_text(args.html, rows.to_html(index=False, border=0) + "\n")
    write_text(
        args.markdown, rows.to_markdown(index=False, disable_numparse=True, colalign=sides) + "\n"
    )
    write_text(args.latex, latex_table(rows.astype(str), TITLE, [], PAPER))


if __name__ == "__main__":
    run_main(main)
