"""Figures over seeds as text: with an interval, with a spread, and what runs they are of."""

import pandas as pd

from autoprune.core.labels import dataset_label, decimal, label
from autoprune.evidence.statistics import Summary


def with_interval(summary: Summary, places: int = 2, unit: str = "", sign: bool = False) -> str:
    """``mean [low, high]`` of a summary; ``mean (n=1)`` for one seed, a dash for none."""
    if summary.mean is None:
        return "–"
    mean = decimal(summary.mean, places, sign) + unit
    if summary.low is None or summary.high is None:
        return f"{mean} (n={summary.n})"
    low, high = decimal(summary.low, places, sign), decimal(summary.high, places, sign)
    return f"{mean} [{low}, {high}]"


def with_spread(summary: Summary, places: int = 2, unit: str = "") -> str:
    """``mean ± sd (n=3)`` of a summary; without the spread for one seed, a dash for none."""
    if summary.mean is None:
        return "–"
    spread = "" if summary.sd is None else f" ± {decimal(summary.sd, places)}"
    return f"{decimal(summary.mean, places)}{spread}{unit} (n={summary.n})"


def some_dead(dead: int, n: int) -> str:
    """How many of an arm's runs are dead; "" for none."""
    return f"{dead} of {n} dead" if dead else ""


def remarks(still_rising: str, dead: int, n: int) -> str:
    """What to know of an arm's accuracy, to stand behind it: " (still rising) (1 of 5 dead)".

    ``still_rising`` is "yes", "no" or "" as in the comparisons; ``dead`` of ``n`` runs.
    """
    found = ["still rising"] if still_rising == "yes" else []
    return "".join(f" ({remark})" for remark in [*found, some_dead(dead, n)] if remark)


def tested_on(runs: pd.DataFrame) -> str:
    """What runs are made of: data set/model pairs, seeds, rounds and clients; loud on stand-ins."""
    size = [
        f"{rounds:.4g} rounds × {clients:.4g} clients"
        for rounds, clients in zip(runs["rounds"], runs["clients_per_round"], strict=True)
    ]
    parts = []
    for (dataset, kind, model), some in runs.assign(size=size).groupby(
        ["dataset", "data_kind", "model"]
    ):
        own = f" ({', '.join(sorted(set(some['size'])))})" if len(set(size)) > 1 else ""
        parts.append(f"{dataset_label(dataset, kind)}/{label(model)}{own}")
    common = f"; {size[0]}" if len(set(size)) == 1 else ""
    text = f"{', '.join(parts)}{common}; seeds {' '.join(map(str, sorted(set(runs['seed']))))}"
    kinds = set(runs["data_kind"])
    if kinds == {"stand-in"}:
        return f"STAND-IN DATA ONLY: {text}"
    return text if kinds == {"real"} else f"PARTLY STAND-IN DATA: {text}"
