"""Whether two seeds keep the same of the first network's filters, chance beside it.

Jaccard index of the filters left in the end, mean over all pairs of seeds, and in brackets what two
random choices of these sizes share on average. Each seed starts from other weights, so agreement
beyond chance is not expected; it would mean that a filter's place decides. Methods that draw fresh
weights at every shrink have no filters to trace and are left out.
"""

import pandas as pd
from matplotlib.figure import Figure

from autoprune.measure.table import PAIR, read_table
from autoprune.publish.heat_maps import grid_of, grids
from autoprune.publish.plotting import ARM, empty

CATEGORY = "Controls"
INPUTS = {"metrics": "<results>/metrics.csv", "kept": "<results>/filter_survival.csv"}


def draw(metrics: pd.DataFrame, kept: str) -> Figure:
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
