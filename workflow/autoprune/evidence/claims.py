"""Stage: the paper's claims beside our figures, each with a verdict and the rule behind it."""

import argparse
import csv
from collections.abc import Sequence
from typing import Any

import pandas as pd

from autoprune.android.table import read_table
from autoprune.errors import InputError, run_main
from autoprune.evidence.ablated import Ablation, add_ablation_flag, without_ablated
from autoprune.evidence.questions import question_rows
from autoprune.evidence.statistics import against_dense, final_figures, require
from autoprune.evidence.verdicts import COUNTS, abstract_rows, accuracy_row, android_rows, count_row
from autoprune.files import read_json
from autoprune.latex import Paper
from autoprune.metrics import number, read_metrics
from autoprune.style import (
    add_table_flags,
    decimal,
    write_table,
)

PUBLISHED = (
    "claim",
    "source",
    "dataset",
    "model",
    "method",
    "metric",
    "value",
    "unit",
    "note",
    "widths",
    "input_shape",
    "classes",
    "rounds",
    "clients_per_round",
    "test_examples",
)
NEEDED = [
    "test_accuracy",
    "test_examples",
    "parameters",
    "parameters_with_statistics",
    "macs",
    "flops_tf_profiler",
    "bytes_total",
    "rounds",
    "clients_per_round",
]

TITLE = "Claims of the paper"
NOTES = [
    "ours: mean over seeds, low and high its 95 % t-interval (empty for a single seed or an exact "
    "count). resolved: the interval lies wholly on one side of the rule's threshold, and no search "
    "was cut short of the notebooks'.",
    "On Android ours is the median over the repeats of one phone session, low and high the least "
    "and largest repeat, n their number.",
    "A verdict speaks only for what is named under “tested on”. A pair that runs for ablations "
    "alone is not among them: one whose every arm is held against an arm of another pair.",
]
PAPER = Paper(headings=["source"], below=["tested on", "rule"])


def read_published(path: str) -> list[dict[str, str]]:
    """The rows of published.tsv as text; InputError for an absent file or column."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            # Notes hold quotation marks that are part of the text.
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows = list(reader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    missing = [name for name in PUBLISHED if name not in (reader.fieldnames or [])]
    if missing:
        raise InputError(f"{path}: column {missing[0]} is missing")
    for line, row in enumerate(rows, start=2):
        if row["source"] not in ("abstract", "notebook") or None in row.values():
            raise InputError(f"{path}, line {line}: expected {len(PUBLISHED)} cells and a source")
        if row["value"]:
            number(row["value"], "value", f"{path}, line {line}")
    return rows


def read_counts(path: str) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Recomputed counts by (data set, model, widths as text); InputError for a missing key."""
    records = read_json(path)
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list of architectures")
    counts = {}
    for place, record in enumerate(records):
        for name in ("dataset", "model", "widths", *COUNTS.values()):
            if not isinstance(record, dict) or name not in record:
                raise InputError(f"{path}: entry {place}: {name} is missing")
        widths = " ".join(map(str, record["widths"]))
        counts[record["dataset"], record["model"], widths] = record
    return counts


def claims(
    metrics: pd.DataFrame,
    published: list[dict[str, str]],
    counts: dict[tuple[str, str, str], dict[str, Any]],
    counts_path: str,
    margin: float,
    android: pd.DataFrame | None = None,
    ablations: Sequence[Ablation] = (),
) -> pd.DataFrame:
    """The claims table, a row per published figure and variant of ours, then the controls'.

    ``android`` is the table of phone runs, None where there is none. Pairs that run for
    ``ablations`` alone are left out.
    Raises InputError for a run without the figures needed or an unknown metric.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    values = without_ablated(values, ablations)
    pairs = against_dense(values)
    rows: list[dict[str, Any]] = []
    for entry in published:
        if entry["source"] == "abstract" and entry["metric"] == "inference_speedup":
            rows += android_rows(entry, android)
        elif entry["source"] == "abstract":
            rows += abstract_rows(entry, pairs, sources, margin)
        elif entry["metric"] in COUNTS:
            rows.append(count_row(entry, counts, counts_path))
        elif entry["metric"] == "test_accuracy":
            rows.append(accuracy_row(entry, values, sources, margin))
        else:
            raise InputError(f"published: metric: unknown {entry['metric']!r} from a notebook")
    rows += question_rows(values, sources, margin)
    return pd.DataFrame(rows).astype({"n": "Int64"})


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The claims table as text, without the long list of files."""
    shown = table.drop(columns=["source_files", "unit"]).rename(
        columns={"tested_on": "tested on", "variant": "our variant"}
    )
    shown["ours"] = [_ours(figures) for figures in table.itertuples()]
    shown = shown.drop(columns=["low", "high", "n"])
    return shown.rename(columns={"ours": "ours [95 % interval]"})


def _ours(figures: Any) -> str:
    """Our value with its interval and number of seeds, or what of that there is."""
    if pd.isna(figures.ours):
        return "–"
    places = 2 if figures.unit else 0
    text = decimal(figures.ours, places) + figures.unit
    if not pd.isna(figures.low):
        text += f" [{decimal(figures.low, places)}, {decimal(figures.high, places)}]"
    return text if pd.isna(figures.n) else f"{text} (n={figures.n})"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    parser.add_argument("--published", required=True, help="published.tsv")
    parser.add_argument("--counts", required=True, help="JSON: counts of published architectures")
    parser.add_argument(
        "--accuracy-margin", type=float, required=True, metavar="POINTS",
        help="accuracies this close (percentage points) count as comparable",
    )  # fmt: skip
    parser.add_argument("--android", help="CSV of phone runs (default: none was measured)")
    add_ablation_flag(parser)
    add_table_flags(parser)
    arguments = parser.parse_args(argv)
    if not 0 <= arguments.accuracy_margin <= 100:
        raise InputError(
            f"--accuracy-margin: found {arguments.accuracy_margin}, expected 0 to 100 points"
        )
    table = claims(
        read_metrics(arguments.metrics),
        read_published(arguments.published),
        read_counts(arguments.counts),
        arguments.counts,
        arguments.accuracy_margin,
        read_table(arguments.android) if arguments.android else None,
        arguments.ablation,
    )
    shown = readable(table)
    write_table(arguments, table.drop(columns="unit"), shown, TITLE, NOTES, paper=PAPER)


if __name__ == "__main__":
    run_main(main)
