"""Stage: which of the first filters are left in the end, and whether seeds agree on them."""

import argparse
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from autoprune.core.errors import run_main
from autoprune.core.files import read_json, whole_file
from autoprune.evidence.statistics import summarise
from autoprune.measure.table import to_csv
from autoprune.pruning.record import read_plan

ARM = ["dataset", "model", "method", "variant"]
COLUMNS = [*ARM, "layer", "filters", "seeds", "jaccard", "jaccard_low", "jaccard_high", "chance"]


def survivors(plan: Mapping[str, Any]) -> list[tuple[int, ...]]:
    """For each layer, the indices into the base network of the filters that are left.

    Each shrink's ``kept`` indexes the network before it, as ``check_cuts`` made sure.
    """
    left = [tuple(range(width)) for width in plan["base"]["widths"]]
    for shrink in plan["shrinks"]:
        kept = [layer["kept"] for layer in shrink["layers"]]
        left = [
            tuple(before[n] for n in indices) for before, indices in zip(left, kept, strict=True)
        ]
    return left


def traceable(plan: Mapping[str, Any]) -> bool:
    """Whether filters keep their identity: not where weights are drawn anew at every shrink."""
    return bool(plan.get("shrinks")) and plan.get("weights") != "reinit"


def jaccard(one: Sequence[int], other: Sequence[int]) -> float:
    """Shared over all, of two non-empty sets."""
    return len(set(one) & set(other)) / len(set(one) | set(other))


def by_chance(filters: int, one: int, other: int) -> float:
    """The expected Jaccard index of two random subsets of these sizes of ``filters``.

    How many they share is hypergeometric; the index is convex in it, so that the index of the
    expected number would be too low, most in small layers.
    """
    found = stats.hypergeom(filters, one, other)
    return math.fsum(found.pmf(k) * k / (one + other - k) for k in range(min(one, other) + 1))


def similarity(folders: Sequence[str | Path]) -> pd.DataFrame:
    """Of each arm and layer the mean Jaccard index over all pairs of seeds; columns COLUMNS."""
    arms: dict[tuple[str, ...], list[tuple[int, list[tuple[int, ...]], list[int]]]] = {}
    for folder in sorted(map(Path, folders)):
        about, plan = read_json(folder / "run.json"), read_plan(folder / "plan.json")
        if traceable(plan):
            key = tuple(str(about[name]) for name in ARM)
            run = (int(about["seed"]), survivors(plan), plan["base"]["widths"])
            arms.setdefault(key, []).append(run)
    rows = []
    for key, runs in sorted(arms.items()):
        for layer, filters in enumerate(runs[0][2]):
            pairs = [(a[1][layer], b[1][layer]) for a, b in combinations(runs, 2)]
            if not pairs:
                continue
            found = summarise(jaccard(*pair) for pair in pairs)
            chance = [by_chance(filters, len(a), len(b)) for a, b in pairs]
            figures = (found.mean, found.low, found.high, math.fsum(chance) / len(chance))
            rows.append((*key, layer + 1, filters, len(runs), *figures))
    return pd.DataFrame(rows, columns=COLUMNS)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", nargs="*", default=[], metavar="DIR", help="folders of runs")
    parser.add_argument("--output", required=True, help="CSV, a row for an arm and a layer")
    arguments = parser.parse_args(argv)
    with whole_file(arguments.output) as scratch:
        scratch.write_bytes(to_csv(similarity(arguments.runs)).encode())


if __name__ == "__main__":
    run_main(main)
