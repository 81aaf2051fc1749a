"""Stage: the report, one page that needs nothing else to be read."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json, write_text
from autoprune.core.labels import label
from autoprune.evidence.differences import differences_note
from autoprune.measure.table import read_metrics, read_table
from autoprune.publish.plotting import looks
from autoprune.publish.report.claims_view import view_claims
from autoprune.publish.report.colours import PAPERS, visible
from autoprune.publish.report.page import picture, render
from autoprune.publish.report.runs import address, read_runs
from autoprune.publish.report.study import facts, hours, pooled, read_datasets
from autoprune.publish.report.views import rank, view

# drawn by the page itself, from the runs, with values to hover over
DRAWN = (
    "accuracy_by_round",
    "accuracy_against_parameters",
    "accuracy_against_bytes",
    "null_distribution",
)
DRAWS = 1000  # of each null on the page, which has all else in less room


def read_nulls(paths: Sequence[str]) -> dict[str, dict[str, list[int]]]:
    """Parameters after the rule on random networks, by pair (the name of each file) and null.

    In order, and of more than DRAWS as many that lie evenly among them: a share is right to 0.001.
    """
    column = "parameters_with_statistics"
    tables = {Path(path).stem: read_table(path, ["null", column]) for path in paths}
    return {
        pair: {
            str(null): thinned(sorted(map(int, own[column]))) for null, own in table.groupby("null")
        }
        for pair, table in tables.items()
    }


def thinned(values: list[int], most: int = DRAWS) -> list[int]:
    """At most so many of some sorted values, the middle ones of as many equal parts."""
    if len(values) <= most:
        return values
    return [values[int((place + 0.5) * len(values) / most)] for place in range(most)]


def read_findings(path: str) -> str:
    """The findings as Markdown, less their figures, which the page has.

    Raises InputError when there is no such file.
    """
    try:
        text = Path(path).read_text("utf-8")
    except OSError:
        raise InputError(f"{path}: no such file; make the findings first") from None
    return re.sub(r"^!\[.*\n", "", text, flags=re.MULTILINE)


def styles(metrics: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """How each ``method/variant`` is drawn: the figures' look, its colours fit for both papers."""
    return {
        "/".join(arm): {
            "label": look.label,
            "colours": {name: visible(look.colour, paper) for name, paper in PAPERS.items()},
            "dash": list(look.dash) if look.dash else [],
            "marker": look.marker,
        }
        for arm, look in looks(metrics).items()
    }


def gather(arguments: argparse.Namespace) -> dict[str, Any]:
    """All that the page shows, from the files of a study; InputError for one that is missing."""
    page = Path(arguments.output)
    metrics = read_metrics(arguments.metrics)
    runs = read_runs(arguments.runs, metrics, page, arguments.benchmarks)
    datasets = read_datasets(arguments.partitions)
    environment = read_json(arguments.environment) if arguments.environment else None
    lines = facts(runs, datasets, hours(runs, arguments.benchmarks), environment)
    places = {run[name]: place for place, run in enumerate(runs) for name in ("folder", "id")}
    tables, claims = [], None
    for path in sorted(arguments.tables, key=rank):
        if Path(path).stem == "claims":
            claims = view_claims(path, places)
        else:
            tables.append({**view(path, places), "address": address(path, page), "path": path})
    if claims is None:
        raise InputError(f"--tables: claims.csv is not among {' '.join(arguments.tables)}")
    _link_data(tables, datasets)
    return {
        "facts": lines,
        "stand_ins": [data["name"] for data in datasets if data["kind"] == "stand-in"],
        "real": [data["label"] for data in datasets if data["kind"] == "real"],
        "claims": claims,
        "claims_path": next(path for path in arguments.tables if Path(path).stem == "claims"),
        "tables": tables,
        "differences": differences_note({run["method"] for run in runs}),
        "pictures": [picture(path) for path in arguments.figures if Path(path).stem not in DRAWN],
        "findings": read_findings(arguments.findings) if arguments.findings else "",
        "links": {name: address(page.parents[1] / name, page) for name in ("report.html",)}
        | {"metrics.csv": address(arguments.metrics, page)},
        "data": {
            "runs": runs,
            "datasets": datasets,
            "looks": styles(metrics),
            "nulls": read_nulls(arguments.null),
            "chance": chance(metrics),
            "environment": environment,
            "models": {run["model"]: label(run["model"]) for run in runs},
            **pooled(runs),
        },
    }


def _link_data(tables: list[dict[str, Any]], datasets: list[dict[str, Any]]) -> None:
    """Give rows that no run is behind the place of the data set that they speak of."""
    names = {data["label"]: place for place, data in enumerate(datasets)}
    for table in tables:
        for row in table["rows"]:
            row["dataset"] = names.get(row["cells"][0]["text"]) if not row["runs"] else None


def chance(metrics: pd.DataFrame) -> dict[str, float]:
    """1 / number of classes of each data set."""
    classes = metrics[metrics["metric"] == "classes"].groupby("dataset")["value"].first()
    return {name: round(1 / count, 5) for name, count in classes.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    parser.add_argument("--runs", nargs="+", required=True, metavar="DIR", help="folders of runs")
    parser.add_argument("--tables", nargs="+", required=True, metavar="CSV", help="claims and more")
    parser.add_argument("--partitions", nargs="+", required=True, metavar="JSON")
    parser.add_argument("--null", nargs="*", default=[], metavar="CSV", help="draws of the null")
    parser.add_argument("--figures", nargs="*", default=[], metavar="SVG")
    parser.add_argument("--findings", nargs="?", metavar="MD", help="the findings in sentences")
    parser.add_argument("--environment", nargs="?", metavar="JSON", help="machine, git state")
    parser.add_argument(
        "--benchmarks", type=Path, metavar="DIR", help="Snakemake's benchmark files: the hours"
    )
    parser.add_argument("--output", required=True, metavar="HTML")
    arguments = parser.parse_args(argv)
    write_text(arguments.output, render(gather(arguments)))


if __name__ == "__main__":
    run_main(main)
