"""The paper's claims beside our figures, each with a verdict and the rule behind it."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError
from autoprune.core.files import read_json
from autoprune.evidence.ablated import Ablation, without_ablated
from autoprune.evidence.abstract import Grounds, abstract_rows, full_size
from autoprune.evidence.clients import Units, read_units
from autoprune.evidence.family import studies
from autoprune.evidence.published_sizes import published_size_rows
from autoprune.evidence.questions import question_rows
from autoprune.evidence.readings import Arm, Pair
from autoprune.evidence.statistics import against_dense, final_figures, require
from autoprune.evidence.verdicts import COUNTS, accuracy_row, android_rows, count_row
from autoprune.measure.table import number
from autoprune.phone.table import read_table

INPUTS = {
    "metrics": "<results>/metrics.csv",
    "published": "config/published.tsv",
    "counts": "<results>/published_counts.json",
    "units": "<results>/units.csv",
    "null_published": "<results>/published_nulls.csv",
    "android": "<results>/latency/android.csv",
}
OPTIONS = ("reference", "margin", "ablation")
PUBLISHED = (
    *("claim", "source", "dataset", "model", "method", "metric", "value", "unit", "note"),
    *("widths", "input_shape", "classes", "rounds", "clients_per_round", "test_examples"),
)
NEEDED = [
    *("accuracy", "test_accuracy", "test_examples", "parameters", "parameters_with_statistics"),
    *("macs", "flops_tf_profiler", "bytes_total", "rounds", "clients_per_round"),
]


def read_published(path: str) -> list[dict[str, str]]:
    """The rows of published.tsv as text; InputError for an absent file or column."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            # Notes hold quotation marks that are part of the text.
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            rows, columns = list(reader), reader.fieldnames or []
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a table of text ({error}); take it from git again") from None
    missing = [name for name in PUBLISHED if name not in columns]
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
    margin: float | None = None,
    *,
    reference: str | None = None,
    android: pd.DataFrame | None = None,
    ablations: Sequence[Ablation] = (),
    units: Mapping[Pair, Mapping[Arm, Units]] | None = None,
    null_published: str | None = None,
) -> pd.DataFrame:
    """The claims table, a row per published figure and variant of ours, then the controls'.

    ``margin`` in accuracy points, None for that of the held-out images; ``reference`` the variant
    of autoprune that comparisons are against, whose family of comparisons is this table's too.
    ``android`` is the table of phone runs, None where there is none. Pairs that run for
    ``ablations`` alone are left out.
    Raises InputError for a run without the figures needed or an unknown metric.
    """
    values, sources = final_figures(metrics)
    require(values, NEEDED)
    values = without_ablated(values, ablations)
    lead = ("autoprune", reference) if reference else None
    of_pairs = studies(metrics, values, lead, margin, units)
    large = full_size(values, published)
    grounds = Grounds(against_dense(values), sources, of_pairs, large, margin)
    rows: list[dict[str, Any]] = []
    for entry in published:
        if entry["source"] == "abstract" and entry["metric"] == "inference_speedup":
            rows += android_rows(entry, android)
        elif entry["source"] == "abstract":
            rows += abstract_rows(entry, grounds)
        elif entry["metric"] in COUNTS:
            rows.append(count_row(entry, counts, counts_path))
        elif entry["metric"] == "test_accuracy":
            rows.append(accuracy_row(entry, values, sources, margin))
        else:
            raise InputError(f"published: metric: unknown {entry['metric']!r} from a notebook")
    rows += question_rows(of_pairs, values, sources)
    rows += published_size_rows(null_published)
    return pd.DataFrame(rows).astype({"n": "Int64"})


def table(
    metrics: pd.DataFrame,
    published: str,
    counts: str,
    units: str | None = None,
    null_published: str | None = None,
    android: str | None = None,
    reference: str | None = None,
    margin: float | None = None,
    ablation: Sequence[Ablation] = (),
) -> pd.DataFrame:
    """The claims from the files of INPUTS, as paths; InputError for one that is none, as there."""
    return claims(
        metrics,
        read_published(published),
        read_counts(counts),
        counts,
        margin,
        reference=reference,
        android=read_table(android) if android else None,
        ablations=ablation,
        units=read_units(units),
        null_published=null_published,
    )
