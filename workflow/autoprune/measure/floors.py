"""Stage: the least that the rule can leave of a network, whatever was learnt, for each k."""

import argparse
import math
from collections.abc import Sequence

import pandas as pd

from autoprune.core.errors import run_main
from autoprune.core.files import write_text
from autoprune.measure.table import INPUT, PAIR, base_widths, read_metrics, to_csv
from autoprune.models import Architecture, cost, families

COLUMNS = [*PAIR, "k", "widths", "share"]


def floors(base: Sequence[int], k: float) -> tuple[int, ...]:
    """The widths below which the rule cannot take a layer, whatever was learnt.

    A layer can lose a filter only if it has more than k² + 1 (method.md: population statistics
    give |z| <= sqrt(N - 1)), and at most 1/k² of its filters in a round, so it stops there.
    """
    least = math.floor(k * k + 1)
    return tuple(min(width, max(1, math.ceil((least + 1) * (1 - 1 / (k * k))))) for width in base)


def floor_share(base: Architecture, k: float) -> float:
    """The parameters (Keras total) of a network at its ``floors``, as a share of the base's."""
    return cost(base.with_widths(floors(base.widths, k))) / cost(base)


def floors_of(metrics: pd.DataFrame) -> pd.DataFrame:
    """COLUMNS of each pair and each k that autoprune runs with, as far as its base is known.

    The base is the network of its dense runs before the first round.
    """
    final = metrics[metrics["round"].isna()]
    about = final[final["metric"].isin([*INPUT, "classes"])]
    shapes = about.groupby([*PAIR, "metric"])["value"].first().unstack("metric")  # noqa: PD010
    searched = final[(final["metric"] == "k") & (final["method"] == "autoprune")]
    rows = []
    for pair, widths in base_widths(metrics).items():
        if pair[2] not in families():
            continue  # a function made it, whose arguments metrics do not have
        *shape, classes = shapes.loc[pair, [*INPUT, "classes"]].astype(int)
        base = Architecture(pair[2], widths, tuple(shape), classes)
        own = searched[(searched[PAIR] == list(pair)).all(axis="columns")]
        for k in sorted(own["value"].unique().tolist()):
            least = " ".join(map(str, floors(widths, k)))
            rows.append((*pair, k, least, floor_share(base, k)))
    return pd.DataFrame(rows, columns=COLUMNS)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    parser.add_argument("--output", required=True, help="CSV, a row for a pair and k")
    arguments = parser.parse_args(argv)
    write_text(arguments.output, to_csv(floors_of(read_metrics(arguments.metrics))))


if __name__ == "__main__":
    run_main(main)
