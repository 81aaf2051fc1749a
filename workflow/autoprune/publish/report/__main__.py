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
from autoprune.core.tasks import worded
from autoprune.measure.table import read_metrics, score_in
from autoprune.publish.items import CATEGORIES, items
from autoprune.publish.page import picture, render
from autoprune.publish.report.runs import address, read_runs
from autoprune.publish.report.study import facts, hours, pooled, read_datasets
from autoprune.publish.report.views import view, view_claims


def rank(path: str) -> tuple[int, str]:
    """Where a table or figure stands on the page: by category, then by name."""
    name = Path(path).stem
    item = (items("tables") if Path(path).suffix == ".csv" else items("figures")).get(name)
    return CATEGORIES.index(item.category) if item else len(CATEGORIES), name


def read_findings(path: str) -> str:
    """The findings as Markdown, less their figures, which the page has.

    Raises InputError when there is no such file.
    """
    try:
        text = Path(path).read_text("utf-8")
    except OSError:
        raise InputError(f"{path}: no such file; make the findings first") from None
    return re.sub(r"^!\[.*\n", "", text, flags=re.MULTILINE)


def files_by_metric(metrics: pd.DataFrame) -> dict[str, list[str]]:
    """The names of the files of a run that hold each of its final metrics."""
    final = metrics[metrics["round"].isna()].groupby("metric")["source_file"].first()
    return {metric: [Path(file).name for file in text.split(";")] for metric, text in final.items()}


def gather(arguments: argparse.Namespace) -> dict[str, Any]:
    """All that the page shows, from the files of a study; InputError for one that is missing."""
    page = Path(arguments.output)
    metrics = read_metrics(arguments.metrics)
    runs = read_runs(arguments.runs, metrics, page, arguments.benchmarks)
    datasets = read_datasets(arguments.partitions)
    environment = read_json(arguments.environment) if arguments.environment else None
    lines = facts(runs, datasets, hours(runs, arguments.benchmarks), environment)
    places = {run["id"]: place for place, run in enumerate(runs)}
    paths = {Path(path).stem: path for path in sorted(arguments.tables, key=rank)}
    claims = paths.pop("claims", None)
    if claims is None:
        raise InputError(f"--tables: claims.csv is not among {' '.join(arguments.tables)}")
    files = files_by_metric(metrics)
    shown = [
        {**view(path, places, files), "address": address(path, page), "path": path}
        for path in paths.values()
    ]
    _link_data(shown, datasets)
    score = score_in(metrics)
    captions = {
        name: worded(item.caption.splitlines()[0], score) for name, item in items("figures").items()
    }
    return {
        "facts": lines,
        "stand_ins": [data["name"] for data in datasets if data["kind"] == "stand-in"],
        "real": [data["label"] for data in datasets if data["kind"] == "real"],
        "claims": view_claims(claims, places),
        "claims_path": claims,
        "tables": shown,
        "pictures": [
            named(picture(path, captions.get(Path(path).stem, Path(path).stem)), score)
            for path in sorted(arguments.figures, key=rank)
        ],
        "findings": read_findings(arguments.findings) if arguments.findings else "",
        "links": {name: address(page.parents[1] / name, page) for name in ("report.html",)}
        | {"metrics.csv": address(arguments.metrics, page)},
        "data": {
            "runs": runs,
            "datasets": datasets,
            "environment": environment,
            "score": worded("accuracy", score),
            "models": {run["model"]: label(run["model"]) for run in runs},
            **pooled(runs),
        },
    }


def named(shown: dict[str, str], score: str) -> dict[str, str]:
    """A picture whose name, which is its file's, is in words of the study's score."""
    return shown | {"name": worded(shown["name"], score)}


def _link_data(tables: list[dict[str, Any]], datasets: list[dict[str, Any]]) -> None:
    """Give rows that no run is behind the place of the data set that they speak of."""
    names = {data["label"]: place for place, data in enumerate(datasets)}
    for table in tables:
        for row in table["rows"]:
            row["dataset"] = names.get(row["cells"][0]["text"]) if not row["runs"] else None


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, help="tidy metrics, as CSV")
    parser.add_argument("--runs", nargs="+", required=True, metavar="DIR", help="folders of runs")
    parser.add_argument("--tables", nargs="+", required=True, metavar="CSV", help="claims and more")
    parser.add_argument("--partitions", nargs="+", required=True, metavar="JSON")
    parser.add_argument("--figures", nargs="*", default=[], metavar="SVG")
    parser.add_argument("--findings", nargs="?", metavar="MD", help="the findings in sentences")
    parser.add_argument("--environment", nargs="?", metavar="JSON", help="machine, git state")
    parser.add_argument(
        "--benchmarks", type=Path, metavar="DIR", help="Snakemake's benchmark files: the hours"
    )
    parser.add_argument("--output", required=True, metavar="HTML")
    arguments = parser.parse_args(argv)
    write_text(arguments.output, render("report.html.j2", **gather(arguments)))


if __name__ == "__main__":
    run_main(main)
