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


def remarks(still_rising: str, dead: int, n: int, failures: str = "") -> str:
    """What to know of an arm's accuracy, to stand behind it: " (still rising) (1 of 5 dead)".

    ``still_rising`` is "yes", "no" or "" as in the comparisons; ``dead`` of ``n`` runs;
    ``failures`` as of ``failed``.
    """
    rising = "still rising" if still_rising == "yes" else ""
    known = (rising, some_dead(dead, n), some_failed(failures))
    return "".join(f" ({remark})" for remark in known if remark)


def failed(*of: pd.DataFrame) -> str:
    """How many replies to training were left out of these runs' averages: "3 of 400"; "" for none.

    A run's own and, where it stands beside a dense one, that one's (columns ending in _dense). Runs
    that do not say it, of earlier versions, count for nothing.
    """
    out, asked = 0, 0
    for runs in of:
        for end in ("", "_dense"):
            if f"failed_replies{end}" in runs:
                lost = int(runs[f"failed_replies{end}"].sum())
                out, asked = out + lost, asked + lost + int(runs[f"usable_replies{end}"].sum())
    return f"{out} of {asked}" if out else ""


def some_failed(share: str) -> str:
    """A remark on ``failed``: "3 of 400 replies failed"; "" for none."""
    return f"{share} replies failed" if share else ""


def tested_on(runs: pd.DataFrame) -> str:
    """What runs are made of: data set/model pairs, seeds, rounds and clients; loud on stand-ins.

    And, where clients were left out of an average, how many replies of how many.
    """
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
    text += f"; {some_failed(failed(runs))}" if failed(runs) else ""
    kinds = set(runs["data_kind"])
    if kinds == {"stand-in"}:
        return f"STAND-IN DATA ONLY: {text}"
    return text if kinds == {"real"} else f"PARTLY STAND-IN DATA: {text}"
