"""Stage: where the published sizes lie among those of networks that learn nothing."""

import argparse
import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_text
from autoprune.measure.nulls import NULLS, final_sizes
from autoprune.models import Architecture

PATIENCE = 3  # in all notebooks; method.md
COLUMNS = (
    *("null", "dataset", "model", "method", "k", "cap", "draws", "published"),
    *("median", "low", "high", "at_or_below", "p_low", "p_high"),
)
Z = 1.959964  # of a 95 % interval


def published_sizes(path: str) -> list[tuple[dict[str, str], Architecture]]:
    """Of published.tsv the pruned networks' rows of parameters, and the network each began with.

    That is the dense one of the same data set and model. Raises InputError where there is none.
    """
    with open(path, encoding="utf-8-sig", newline="") as stream:
        rows = [
            row
            for row in csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            if row["source"] == "notebook" and row["metric"] == "parameters"
        ]
    bases = {
        (row["dataset"], row["model"]): Architecture(
            row["model"],
            tuple(int(width) for width in row["widths"].split()),
            tuple(int(side) for side in row["input_shape"].split()),  # type: ignore[arg-type]
            int(row["classes"]),
        )
        for row in rows
        if row["method"] == "dense"
    }
    found = []
    for row in rows:
        if row["method"] == "dense" or not row["k"]:
            continue
        if (row["dataset"], row["model"]) not in bases:
            raise InputError(
                f"{path}: {row['dataset']} {row['model']} {row['method']}: no row of the dense "
                "network's parameters, which the search began with; add one"
            )
        found.append((row, bases[row["dataset"], row["model"]]))
    return found


def wilson(share: float, number: int) -> tuple[float, float]:
    """The 95 % interval of a share that was found in ``number`` draws (Wilson 1927)."""
    centre = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = np.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2)) * Z
    half /= 1 + Z**2 / number
    return max(0.0, centre - half), min(1.0, centre + half)


def places(path: str, draws: int, seed: int) -> Iterator[dict[str, Any]]:
    """A row (COLUMNS) for each published size and null; ``at_or_below`` is P, with its interval.

    ``low`` and ``high`` are the null's quantiles of 2.5 and 97.5 %.
    """
    for row, base in published_sizes(path):
        about = {name: row[name] for name in ("dataset", "model", "method", "k", "cap")}
        size = int(row["value"])
        for null in NULLS:
            found = np.array(
                final_sizes(base, null, draws, seed, float(row["k"]), PATIENCE, int(row["cap"]))
            )
            low, median, high = np.quantile(found, [0.025, 0.5, 0.975])
            share = float((found <= size).mean())
            ends = wilson(share, draws)
            yield {
                **about,
                **{"null": null, "draws": draws, "published": size},
                **{"median": f"{median:.0f}", "low": f"{low:.0f}", "high": f"{high:.0f}"},
                "at_or_below": f"{share:.4f}",
                **{"p_low": f"{ends[0]:.4f}", "p_high": f"{ends[1]:.4f}"},
            }


def main(argv: Sequence[str] | None) -> None:
    """The command: every published size in both nulls."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--published", required=True, help="published.tsv")
    parser.add_argument("--draws", type=int, required=True, help="searches, of each null")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True, help="CSV, a row a size and null")
    args = parser.parse_args(argv)
    if args.draws < 1:
        raise InputError(f"--draws: found {args.draws}, expected at least 1")
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(places(args.published, args.draws, args.seed))
    write_text(args.output, stream.getvalue())


if __name__ == "__main__":
    run_main(main)
