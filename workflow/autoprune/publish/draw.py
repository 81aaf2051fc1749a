"""Stage: the figures, each drawn from the tidy metrics alone."""

import argparse
from collections.abc import Callable, Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from autoprune.core.errors import InputError, run_main
from autoprune.core.labels import arm_label, dataset_label, label
from autoprune.evidence.statistics import BASELINE, final_figures, require
from autoprune.measure.table import PAIR, read_metrics
from autoprune.publish.axes import chance_entry, chance_line, log_axis, percent_axis, whole_axis
from autoprune.publish.plotting import (
    ARM,
    COLOURS,
    COLUMNS,
    Look,
    add_figure_flags,
    arms_of,
    current_page,
    finish,
    looks,
    of_arm,
    panels,
    told_apart,
    write_figure,
)
from autoprune.publish.spots import say

LIVE = {"dashes": (2.5, 1.2), "linewidth": 1.1}  # the line of live filters
MOST_INCHES = 8.6  # of panels under each other, so that they fit on a page


def by_round(metrics: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Per run and round, a column for each metric in ``names`` (NaN where there is none).

    Raises InputError when no run has the first of them.
    """
    rows = metrics[metrics["round"].notna() & metrics["metric"].isin(list(names))]
    keys = [*PAIR, *ARM, "seed", "round", "metric"]
    wide = rows.set_index(keys)["value"].unstack("metric")  # noqa: PD010
    wide = wide.reindex(columns=list(names)).rename_axis(columns=None).reset_index()
    if wide[names[0]].isna().all():
        raise InputError(f"metrics: no run has {names[0]} by round; nothing to draw")
    return wide.astype({"round": float})


def by_pair(table: pd.DataFrame) -> tuple[Figure, list[tuple[Axes, pd.DataFrame]]]:
    """A panel for each data set/model pair with its rows."""
    groups = list(table.groupby(PAIR))
    titles = [
        f"{dataset_label(dataset, kind)}\n{label(model)}" for (dataset, kind, model), _ in groups
    ]
    figure, axes = panels(titles)
    return figure, [(ax, rows) for ax, (_, rows) in zip(axes, groups, strict=True)]


def accuracy_by_round(metrics: pd.DataFrame) -> Figure:
    """Validation accuracy by round; at the foot, a marker where a seed's network shrank."""
    table, more = told_apart(by_round(metrics, ["validation_accuracy", "shrunk"]))
    arms = looks(table)
    shrinking = arms_of(table[table["shrunk"] == 1])
    figure, pairs = by_pair(table)
    for ax, rows in pairs:
        evaluated = rows.dropna(subset="validation_accuracy")
        present = arms_of(evaluated)
        sns.lineplot(
            evaluated.assign(arm=list(evaluated[ARM].itertuples(index=False, name=None))),
            x="round",
            y="validation_accuracy",
            hue="arm",
            style="arm",
            hue_order=present,
            style_order=present,
            palette=[arms[arm].colour for arm in present],
            dashes=[arms[arm].dash for arm in present],
            errorbar=("pi", 100),  # from the lowest to the highest seed
            err_kws={"alpha": 0.2, "linewidth": 0},
            legend=False,
            ax=ax,
        )
        chance_line(ax, metrics, rows["dataset"].iloc[0])
        mark_shrinks(ax, rows, arms)
        percent_axis(ax)
        whole_axis(ax)
    entries = [
        look.entry(**({"marker": look.marker, "markersize": 4} if arm in shrinking else {}))
        for arm, look in arms.items()
    ]
    note = "line: mean over seeds; band: lowest to highest" + more
    if shrinking:
        note += "; markers at the foot: rounds with a shrink"
    return finish(figure, "round", "validation accuracy", [*entries, chance_entry()], note)


def mark_shrinks(ax: Axes, rows: pd.DataFrame, arms: dict[tuple[str, str], Look]) -> None:
    """Markers in a strip of their own under the lines, a lane for each arm that shrinks here."""
    rows = rows[rows["shrunk"] == 1]
    present = arms_of(rows)
    low, high = ax.get_ylim()
    share = min(0.075, 0.45 / max(len(present), 1))  # the strip must not crowd out the lines
    lane = share * (high - low)
    for place, arm in enumerate(present, start=1):
        rounds = of_arm(rows, arm)["round"].unique()
        style = {"color": arms[arm].colour, "markeredgewidth": 0, "markersize": 1 + 30 * share}
        ax.plot(rounds, [low - lane * (place - 0.5)] * len(rounds), arms[arm].marker, **style)
    ax.set_ylim(low - lane * (len(present) + 0.2) if present else low, high)


def filters_by_round(metrics: pd.DataFrame) -> tuple[list[str], pd.DataFrame]:
    """The names width_1 ... width_n, and a table with them, live_1 ... live_n and ``shrunk``.

    ``live_k`` is a number of filters: the fraction at the last evaluation of the round's width, so
    that a width which falls between two evaluations stays above it. NaN where none was counted.
    Raises InputError when no run has widths.
    """
    found = set(metrics["metric"])
    names = sorted(
        (name for name in found if name.startswith("width_")),
        key=lambda name: int(name.removeprefix("width_")),
    ) or ["width_1"]
    lives = [name.replace("width", "live") for name in names]
    table = by_round(metrics, [*names, *lives, "shrunk"])  # rounds in order
    shares = table.groupby([*PAIR, *ARM, "seed"])[lives].ffill()
    table[lives] = shares * table[names].to_numpy()
    return names, table


def widths_by_round(metrics: pd.DataFrame) -> Figure:
    """Filters of each layer by round, a panel per pair and arm; steps down are the shrinks.

    Beside them, dashed, those that are live; metrics of runs that counted none are drawn without.
    """
    names, table = filters_by_round(metrics)
    shrank = table.groupby([*PAIR, *ARM])["shrunk"].transform("max") > 0
    table = table[shrank] if shrank.any() else table  # an arm that never shrinks is flat lines
    table, more = told_apart(table)
    arms = arms_of(table)
    shown = [
        (*pair, arm, of_arm(rows, arm), rows[names].max().max())
        for pair, rows in table.groupby(PAIR)
        for arm in arms
    ]
    if len(arms) > COLUMNS:  # no column per arm then: pack the panels
        shown = [panel for panel in shown if not panel[4].empty]
    page, columns = current_page(), min(len(arms), COLUMNS)
    most = min(columns, page.columns) * int(MOST_INCHES / page.panel[1])
    if page.width and len(shown) > most:
        more += f"; {most} of {len(shown)} panels, the figure for the screen has all"
        shown = shown[:most]
    titles = [
        f"{dataset_label(dataset, kind)}, {label(model)}\n{arm_label(*arm)}"
        for dataset, kind, model, arm, *_ in shown
    ]
    figure, axes = panels(titles, columns)
    colours = [COLOURS[place % len(COLOURS)] for place in range(len(names))]
    for ax, (*_, rows, widest) in zip(axes, shown, strict=True):
        if rows.empty:
            ax.text(0.5, 0.5, "no run", transform=ax.transAxes, ha="center")
            ax.set(xticks=[], yticks=[])
            continue
        draw_widths(ax, rows, names, colours)
        ax.set_ylim(0, 1.06 * widest)  # the same for all arms of a pair
        whole_axis(ax)
    entries = [
        Line2D([], [], color=colour, label=f"layer {layer}")
        for layer, colour in enumerate(colours, start=1)
    ]
    note = "line: mean over seeds; band: narrowest to widest" + more
    if table.filter(like="live_").notna().any(axis=None):
        entries.append(Line2D([], [], color="#777777", **LIVE, label="of them live"))
        note += "; dashed: filters that fire on any of 2,000 training images"
    return finish(figure, "round", "filters", entries, note)


def draw_widths(ax: Axes, runs: pd.DataFrame, names: Sequence[str], colours: Sequence[str]) -> None:
    """A step line per layer, the mean over seeds, and a dashed one of its live filters.

    The band reaches from the narrowest to the widest.
    """
    lives = [name.replace("width", "live") for name in names]
    seeds = runs.groupby("round")[[*names, *lives]]
    mean, low, high = seeds.mean(), seeds.min(), seeds.max()
    for name, live, colour in zip(names, lives, colours, strict=True):
        if mean[name].isna().all():  # this model has fewer layers
            continue
        band = {"step": "post", "color": colour, "alpha": 0.15, "linewidth": 0}
        ax.fill_between(mean.index, low[name], high[name], **band)
        step = {"drawstyle": "steps-post", "color": colour}
        ax.plot(mean.index, mean[name], **step)
        if mean[live].notna().any():
            ax.plot(mean.index, mean[live], **step, **LIVE)
        say_steps(ax, name, mean[name], low[name], high[name], mean[live])


def say_steps(
    ax: Axes, name: str, mean: pd.Series, low: pd.Series, high: pd.Series, live: pd.Series
) -> None:
    """The filters of a layer, by round, where they change and at the end."""
    layer = f"layer {name.removeprefix('width_')}"
    steps = mean.ne(mean.shift()) | (mean.index == mean.index.max())
    for at in mean.index[steps]:
        spread = f" ({low[at]:g} to {high[at]:g})" if high[at] > low[at] else ""
        firing = f", {live[at]:.4g} live" if pd.notna(live[at]) else ""
        text = f"{layer}, round {at:g}: {mean[at]:.4g} filters{spread}{firing}"
        say(ax, at, mean[at], text, layer)


def accuracy_against_parameters(metrics: pd.DataFrame) -> Figure:
    """Held-out accuracy against parameters (log); each arm's mean is joined to that of dense."""
    values, _ = final_figures(metrics)
    require(values, ["accuracy", "parameters"])
    values, more = told_apart(values)
    arms = looks(values)
    figure, pairs = by_pair(values)
    for ax, rows in pairs:
        means = rows.groupby(ARM)[["parameters", "accuracy"]].mean()
        for arm in arms_of(rows):
            look, seeds, mean = arms[arm], of_arm(rows, arm), means.loc[arm]
            if BASELINE in means.index and arm != BASELINE:
                ends = zip(means.loc[BASELINE], mean, strict=True)
                ax.plot(*ends, color="#999999", linewidth=0.7, zorder=1)
            style = {"color": look.colour, "marker": look.marker, "linestyle": "none"}
            dots = (seeds["parameters"], seeds["accuracy"])
            ax.plot(*dots, **style, markersize=4, alpha=0.45, markeredgewidth=0, zorder=2)
            ax.plot(*mean, **style, markersize=7, markeredgecolor="white", zorder=3)
        log_axis(ax, rows["parameters"].min(), rows["parameters"].max())
        ax.margins(y=0.15)
        percent_axis(ax)
    style = {"linestyle": "none", "markersize": 7, "markeredgecolor": "white"}
    entries = [look.entry(marker=look.marker, **style) for look in arms.values()]
    note = "validation and test images together; large: mean over seeds; small and light: a seed; "
    note += "lines lead to the dense network" + more
    return finish(figure, "parameters", "accuracy", entries, note)


def accuracy_against_bytes(metrics: pd.DataFrame) -> Figure:
    """Validation accuracy against the megabytes sent so far, both ways and by all clients."""
    table = by_round(metrics, ["validation_accuracy", "bytes_cumulative"])
    table = table.dropna(subset="validation_accuracy")
    table["megabytes"] = table["bytes_cumulative"] / 1e6
    table, more = told_apart(table)
    arms = looks(table)
    figure, pairs = by_pair(table)
    spot = ["megabytes", "validation_accuracy"]
    for ax, rows in pairs:
        for arm in arms_of(rows):
            look, mine = arms[arm], of_arm(rows, arm)
            seeds = [seed for _, seed in mine.groupby("seed")]
            for seed in seeds if len(seeds) > 1 else []:  # a single one is the mean
                ax.plot(*seed[spot].to_numpy().T, color=look.colour, linewidth=0.6, alpha=0.35)
            # Seeds differ in what they have sent by a round: the mean is one of both coordinates.
            mean = mine.groupby("round")[spot].mean()
            dash = look.dash or (1, 0)
            ax.plot(*mean.to_numpy().T, color=look.colour, dashes=dash)
            end = {"markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
            ax.plot(*mean.iloc[-1], look.marker, color=look.colour, zorder=3, **end)
        chance_line(ax, metrics, rows["dataset"].iloc[0])
        percent_axis(ax)
        whole_axis(ax)
    entries = [look.entry(marker=look.marker, markersize=5.5) for look in arms.values()]
    note = "strong: mean over seeds, its marker the last round; light: a seed" + more
    return finish(figure, "MB sent so far", "validation accuracy", [*entries, chance_entry()], note)


FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "accuracy_by_round": accuracy_by_round,
    "widths_by_round": widths_by_round,
    "accuracy_against_parameters": accuracy_against_parameters,
    "accuracy_against_bytes": accuracy_against_bytes,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(FIGURES), help="which figure")
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    add_figure_flags(parser)
    arguments = parser.parse_args(argv)
    metrics = read_metrics(arguments.metrics)
    write_figure(arguments, lambda: FIGURES[arguments.name](metrics))


if __name__ == "__main__":
    run_main(main)
