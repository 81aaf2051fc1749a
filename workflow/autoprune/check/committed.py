"""The finished studies under docs/findings: their tables and the page, made from their metrics."""

import argparse
import csv
import gzip
import io
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json, whole_file, write_json, write_text
from autoprune.evidence import tabulate
from autoprune.measure import complexity, published_nulls
from autoprune.measure.table import AIMED, read_metrics
from autoprune.publish import draw as drawing
from autoprune.publish import findings
from autoprune.publish.plotting import save
from autoprune.publish.selection import selected
from autoprune.study.config import ablation_flags
from autoprune.study.grid import place, read_config

FOLDER = Path("docs/findings")
PAGE = Path("docs/findings.md")
PUBLISHED = "config/published.tsv"
TAKEN = ("metrics", "units")
# where a number came from: files of a results folder that is not here
LEFT_OUT = ("source_files",)


def studies(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Title, folder and configuration files of each study, in the order of their pages.

    One that is long has a ``page`` of its own, a file in the folder; of one with ``systems`` the
    latencies of its exported networks are kept, for the table of that name.
    """
    found: list[dict[str, Any]] = read_json(folder / "studies.json")
    return found


def take(name: str, folder: Path = FOLDER) -> None:
    """Copy metrics and environment of a study that is finished here.

    Raises InputError when no study has that name or its metrics are not there or not whole.
    """
    named = {study["folder"]: study for study in studies(folder)}
    if name not in named:
        raise InputError(
            f"{folder / 'studies.json'}: no study {name!r}; known are {', '.join(named)}"
        )
    results = place(read_config(named[name]["configfiles"]), "results")
    read_metrics(results / "metrics.csv")
    environment = read_json(results / "environment.json")
    contents = {table: read_bytes(results / f"{table}.csv") for table in TAKEN}
    for table, content in contents.items():
        with whole_file(folder / name / f"{table}.csv.gz") as path:
            # no time in it, so that the same numbers are the same file
            path.write_bytes(gzip.compress(content, mtime=0))
    write_json(folder / name / "environment.json", environment)
    if named[name].get("systems"):
        for path in sorted((results / "latency").rglob("seed-*.json")):
            of_run = path.relative_to(results)
            write_json(folder / name / of_run, read_json(path))


def read_bytes(path: Path) -> bytes:
    """A file's content; raises InputError when there is none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; finish the study first") from None


def draw(folder: Path) -> None:
    """The study's figures, from its metrics, for pages that show no svg.

    Accuracy by round and, of a study that has targets, over cost.
    """
    metrics = read_metrics(folder / "metrics.csv.gz")
    aimed = metrics["metric"].isin(AIMED).any()
    for name in (findings.FIGURE, *([findings.FRONT] if aimed else [])):
        save(drawing.figure(name, metrics=metrics), folder / f"{name}.png")


def remake(folder: Path = FOLDER, page: Path = PAGE) -> list[str]:
    """The tables of each study from its metrics, and the pages; names the studies.

    On ``page`` are all that have none of their own. Without a study it stays as it is.

    Raises InputError when the metrics of one are not there.
    """
    known = studies(folder)
    if not known:
        return []
    for study in known:
        _tables(folder / study["folder"], read_config(study["configfiles"]))
    pages: dict[Path, list[str]] = {}
    for study in known:
        own = folder / study["page"] if "page" in study else page
        flags = ["--study", study["title"], str(folder / study["folder"])]
        pages.setdefault(own, []).extend(flags)
    for path, flags in pages.items():
        findings.main([*flags, "--timed", "--output", str(path)])
    return [study["folder"] for study in known]


@cache
def _nulls(draws: int) -> str:
    """The published sizes' places among as many searches that learn nothing, as CSV."""
    with tempfile.TemporaryDirectory() as scratch:
        out = f"{scratch}/nulls.csv"
        published_nulls.main(["--published", PUBLISHED, "--draws", str(draws), "--output", out])
        return Path(out).read_text("utf-8")


def _tables(folder: Path, config: dict[str, Any]) -> None:
    """As the workflow's rules make them, without the columns of LEFT_OUT."""
    margin = config["claims"]["accuracy_margin"]
    reference = config["controls"]["reference"]
    margins = [] if margin is None else ["--margin", str(margin)]
    of_ablations = ablation_flags(config)
    timed = [str(path) for path in sorted((folder / "latency").rglob("seed-*.json"))]
    with tempfile.TemporaryDirectory() as scratch:
        counts, nulls = f"{scratch}/counts.json", f"{scratch}/nulls.csv"
        complexity.main(["--published", PUBLISHED, "--output", counts])
        write_text(nulls, _nulls(config["controls"]["null_draws"]))
        compared = ["--reference", reference, *margins, "--units", str(folder / "units.csv.gz")]
        published = ["--published", PUBLISHED, "--counts", counts, "--null-published", nulls]
        for name, flags in {
            "comparisons": compared,
            "claims": [*compared, *published, *of_ablations],
            "ablations": of_ablations,
            **({"targets": []} if "targets" in selected(config, "tables") else {}),
            **({"systems": ["--reference", reference, "--host", *timed]} if timed else {}),
        }.items():
            table = f"{scratch}/{name}.csv"
            metrics = ["--metrics", str(folder / "metrics.csv.gz")]
            tabulate.main([name, *metrics, *flags, "--csv", table])
            write_text(folder / "tables" / f"{name}.csv", without(LEFT_OUT, table))


def without(columns: Sequence[str], path: str) -> str:
    """The text of a CSV file less some of its columns."""
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    kept = [n for n, name in enumerate(rows[0]) if name not in columns]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([row[n] for n in kept] for row in rows)
    return text.getvalue()


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--take", action="append", default=[], metavar="STUDY",
        help="first copy the metrics of this study, finished here; a folder of docs/findings",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    for name in arguments.take:
        take(name)
        draw(FOLDER / name)
    print(f"{PAGE}: made; tables anew: {', '.join(remake())}")


if __name__ == "__main__":
    run_main(main)
