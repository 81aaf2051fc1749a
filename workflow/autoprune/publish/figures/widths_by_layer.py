"""Filters left in each layer in the last round, a row for each method, mean over the seeds.

The shade is the share of the base network's filters.
"""

import pandas as pd
from matplotlib.figure import Figure

from autoprune.measure.table import PAIR, RUN, base_widths
from autoprune.publish.heat_maps import grid_of, grids

CATEGORY = "Controls"
INPUTS = {"metrics": "<results>/metrics.csv"}


def draw(metrics: pd.DataFrame) -> Figure:
    """Filters left in each layer, a row for each method, means over seeds, shaded by share."""
    last = metrics[metrics["round"].notna() & metrics["metric"].str.fullmatch(r"width_\d+")]
    last = last[last["round"] == last.groupby(RUN)["round"].transform("max")]
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
