"""Stage: the figures of the controls: null, map over k and patience, widths, kept filters."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoprune.core.errors import run_main
from autoprune.core.labels import dataset_label, label
from autoprune.evidence.ablated import ALIKE, comparable
from autoprune.evidence.statistics import final_figures, is_baseline, require
from autoprune.measure.table import PAIR, RUN, read_metrics, read_table
from autoprune.publish.axes import log_axis
from autoprune.publish.heat_maps import grid_of, grids, say_cells, small
from autoprune.publish.plotting import (
    ARM,
    COLOURS,
    Look,
    add_figure_flags,
    current_page,
    finish,
    looks,
    of_arm,
    panels,
    write_figure,
)

MAPPED = ["parameters_with_statistics", "test_accuracy"]
# arms that the rule made smaller, trained or not: what the null's distribution is held against
SEARCHED = ("autoprune", "null-norms")


def empty(note: str) -> Figure:
    """A figure that says why there is nothing to see."""
    figure, (ax,) = panels([""])
    ax.text(0.5, 0.5, note, ha="center", va="center", wrap=True, transform=ax.transAxes)
    ax.axis("off")
    return figure


def k_patience_map(metrics: pd.DataFrame, null: Sequence[str], kept: str) -> Figure:
    """Two heat maps a pair: parameters left and accuracy over k and patience, means over seeds.

    Beside each k stand the least widths that the closed form allows, and the share of parameters
    that a network of these widths has: what the cells cannot be below.
    """
    from autoprune.measure.floors import (  # torch: no other figure needs it
        base_networks,
        floors_note,
    )

    values, _ = final_figures(metrics)
    require(values, MAPPED)
    if not {"k", "patience"} <= set(values.columns):
        return empty("no runs with k and patience")
    runs = values[(values["method"] == "autoprune") & values["k"].notna()]
    runs = runs[same_training(runs, values)]
    cells = runs.groupby([*PAIR, "k", "patience"])[MAPPED].mean().reset_index()
    spread = cells.groupby(PAIR)["k"].transform("nunique")
    cells = cells[(spread > 1) & (cells.groupby(PAIR)["patience"].transform("nunique") > 1)]
    if cells.empty:
        return empty("no map: the study varies k and patience nowhere (config: variants)")
    dense = values[values["method"] == "dense"].groupby(PAIR)[MAPPED].mean()
    bases = base_networks(values, base_widths(metrics))
    shown = [(pair, of_pair, name) for pair, of_pair in cells.groupby(PAIR) for name in MAPPED]
    words = {MAPPED[0]: "parameters left, %", MAPPED[1]: "test accuracy, %"}
    figure, axes = panels(
        [f"{dataset_label(p[0], p[1])}, {label(p[2])}\n{words[name]}" for p, _, name in shown], 2
    )
    page = current_page()
    figure.set_size_inches(page.width or 7, 1.33 * page.panel[1] * len(shown) / 2)
    for ax, (pair, of_pair, name) in zip(axes, shown, strict=True):
        grid = of_pair.pivot_table(index="k", columns="patience", values=name)
        share = name == MAPPED[0] and pair in dense.index
        grid = grid / dense.loc[pair, name] if share else grid
        sns.heatmap(
            100 * grid,
            annot=True,
            fmt=".1f",
            cmap="cividis",
            cbar=False,
            ax=ax,
            annot_kws={"size": page.font},
        )
        beside = ax.get_subplotspec().is_first_col()  # the rows of both maps are the same
        names = [f"{k:g}{floors_note(bases.get(pair), k)}" for k in grid.index] if beside else []
        ax.set_yticks([place + 0.5 for place in range(len(names))], names)
        ax.tick_params(axis="y", labelrotation=0, labelsize=small())
        ylabel = "k; least widths, parameters left" if beside else ""
        ax.set(xlabel="patience, rounds", ylabel=ylabel)
        ax.set_xticklabels([f"{value:g}" for value in grid.columns])
        quantity = words[name].removesuffix(", %")
        texts = (100 * grid).map(f"{quantity} {{:.1f}} %".format).where(grid.notna(), "")
        say_cells(ax, texts, [f"k {k:g}" for k in grid.index], "patience")
    return figure


def same_training(runs: pd.DataFrame, values: pd.DataFrame) -> pd.Series:
    """The fresh-weight runs that train as their pair's dense/fedavg was asked to (ALIKE).

    A cohort from which clients failed is still that of the settings.
    """
    dense = values[is_baseline(values)]
    named = runs["variant"].str.fullmatch(r"reinit|k[0-9.]+-p[0-9]+")
    alike = [
        own.index
        for (*pair, _), own in runs[named].groupby([*PAIR, "variant"])
        if comparable(own, dense[(dense[PAIR] == pair).all(axis="columns")], ALIKE)
    ]
    return pd.Series(runs.index.isin([at for index in alike for at in index]), runs.index)


def base_widths(metrics: pd.DataFrame) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The widths before pruning of each pair, from round 0 of its dense runs."""
    rows = metrics[(metrics["method"] == "dense") & (metrics["round"] == 0)]
    rows = rows[rows["metric"].str.fullmatch(r"width_\d+")]
    rows = rows.assign(layer=rows["metric"].str.removeprefix("width_").astype(int))
    return {
        pair: tuple(int(v) for v in some.groupby("layer")["value"].first())
        for pair, some in rows.groupby(PAIR)
    }


NULL_COLOURS = {"fresh": "#c8c8c8", "kept": "#8c8c8c"}


def null_distribution(metrics: pd.DataFrame, null: Sequence[str], kept: str) -> Figure:
    """Final parameters of the rule on random networks, and those of the trained runs above it."""
    values, _ = final_figures(metrics)
    require(values, MAPPED)
    everyone = values
    values = values[values["method"].isin(SEARCHED)]
    tables = {
        Path(path).stem: read_table(path, ["null", "parameters_with_statistics"]) for path in null
    }
    shown = [
        (pair, rows, tables[f"{pair[0]}-{pair[2]}"])
        for pair, rows in values.groupby(PAIR)
        if f"{pair[0]}-{pair[2]}" in tables
    ]
    if not shown:
        return empty("no run of autoprune to hold against the null")
    arms = main_arms(values, everyone)
    figure, axes = panels([f"{dataset_label(p[0], p[1])}\n{label(p[2])}" for p, *_ in shown])
    for ax, (_, rows, draws) in zip(axes, shown, strict=True):
        found = draws["parameters_with_statistics"]
        bins = np.histogram_bin_edges(found, 24)
        for null, colour in NULL_COLOURS.items():
            own = found[draws["null"] == null]
            ax.hist(own, bins, color=colour, edgecolor="white", linewidth=0.3, alpha=0.75)
        top = ax.get_ylim()[1]
        for lane, arm in enumerate(a for a in arms if not of_arm(rows, a).empty):
            mine = of_arm(rows, arm)["parameters_with_statistics"]
            height = [top * (1.06 + 0.09 * lane)] * len(mine)
            style = {"color": arms[arm].colour, "markersize": 5, "alpha": 0.8}
            ax.plot(mine, height, arms[arm].marker, markeredgewidth=0, **style)
        ax.set_ylim(0, top * (1.12 + 0.09 * len(arms)))
        ax.set_yticks([])
        everything = pd.concat([found, rows["parameters_with_statistics"]])
        log_axis(ax, everything.min(), everything.max())
    entries = [
        Line2D([], [], color=colour, linewidth=6, label=f"random networks, {null}")
        for null, colour in NULL_COLOURS.items()
    ]
    style = {"linestyle": "none", "markersize": 5, "markeredgewidth": 0}
    entries += [look.entry(marker=look.marker, **style) for look in arms.values()]
    note = "grey: searches in which nothing was learnt, on a random network that is drawn fresh\n"
    note += "every time or kept until filters go; markers: runs, one a seed"
    return finish(figure, "final parameters (Keras total)", "", entries, note)


def main_arms(values: pd.DataFrame, everyone: pd.DataFrame) -> dict[tuple[str, str], Look]:
    """Looks of the searched arms, those of the map over k and patience left out.

    They are the looks that these arms have in the other figures, of ``everyone``, unless there
    are more arms than looks.
    """
    own, common = looks(without_map(values)), looks(without_map(everyone))
    return own if len(common) > len(COLOURS) else {arm: common[arm] for arm in own}


def without_map(values: pd.DataFrame) -> pd.DataFrame:
    """The rows of other runs than those of the map over k and patience."""
    return values[~values["variant"].str.fullmatch(r"k[0-9.]+-p[0-9]+")]


def widths_by_layer(metrics: pd.DataFrame, null: Sequence[str], kept: str) -> Figure:
    """Filters left in each layer, a row for each method, means over seeds, shaded by share."""
    last = metrics[metrics["round"].notna() & metrics["metric"].str.fullmatch(r"width_\d+")]
    last = last[last["round"] == last.groupby(RUN)["round"].transform("max")]
    if current_page().width:
        last = without_map(last)  # too many rows for a page
    last = last.assign(layer=last["metric"].str.removeprefix("width_").astype(int))
    bases = base_widths(metrics)
    shown = []
    for pair, rows in last.groupby(PAIR):
        widths = grid_of(rows, "value")
        base = pd.Series(dict(enumerate(bases.get(pair, widths.max()), start=1)))
        of = (widths.notna() * base).map("{:g} filters".format)
        spoken = widths.map("{:.4g} of ".format) + of
        spoken = spoken.where(widths.notna(), "")
        shown.append((pair, widths / base, widths.map("{:.3g}".format), spoken))
    return grids(shown, "filters left, mean over seeds; shade: share of the base network's")


def kept_similarity(metrics: pd.DataFrame, null: Sequence[str], kept: str) -> Figure:
    """Whether two seeds keep the same first filters: Jaccard index by layer, chance beside it."""
    table = read_table(kept, ["dataset", "model", *ARM, "layer", "jaccard", "chance"])
    if table.empty:
        return empty("fewer than two seeds of a method whose filters can be traced")
    table["data_kind"] = table["dataset"].map(metrics.groupby("dataset")["data_kind"].first())
    shown = []
    for pair, rows in table.groupby(PAIR):
        found, chance = grid_of(rows, "jaccard"), grid_of(rows, "chance")
        texts = found.map("{:.2f}".format) + chance.map(" ({:.2f})".format)
        spoken = found.map("Jaccard index {:.3f}".format) + chance.map(", by chance {:.3f}".format)
        shown.append((pair, found, *(t.where(found.notna(), "") for t in (texts, spoken))))
    return grids(shown, "Jaccard index of the filters that two seeds keep (in brackets: by chance)")


FIGURES: dict[str, Callable[[pd.DataFrame, Sequence[str], str], Figure]] = {
    "k_patience_map": k_patience_map,
    "null_distribution": null_distribution,
    "widths_by_layer": widths_by_layer,
    "kept_similarity": kept_similarity,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(FIGURES), help="which figure")
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    parser.add_argument(
        "--null", nargs="*", default=[], help="CSVs of autoprune.measure.nulls, by pair"
    )
    parser.add_argument("--kept", required=True, help="CSV of autoprune.evidence.filter_survival")
    add_figure_flags(parser)
    arguments = parser.parse_args(argv)
    metrics = read_metrics(arguments.metrics)
    figure = FIGURES[arguments.name]
    write_figure(arguments, lambda: figure(metrics, arguments.null, arguments.kept))


if __name__ == "__main__":
    run_main(main)
