"""A finished study described for readers: RO-Crate metadata and a page that opens by itself."""

import html
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from autoprune.core.files import read_json
from autoprune.core.labels import arm_label, dataset_label, decimal, label
from autoprune.publish.table_files import CSS

TITLE = "A study of automatic structured pruning in federated learning (arXiv 2411.01759)"
PAPER = "https://arxiv.org/abs/2411.01759"
LICENCE = "https://spdx.org/licenses/Apache-2.0"
# what stands where in a results folder, in the order in which a reader wants it
CONTENTS = {
    "report": "the report: one page with everything",
    "report.html": "Snakemake's own report, with captions and the rules that ran",
    "findings.md": "what the tables say, in sentences chosen by rule",
    "tables": "every table as html to read, csv with raw numbers and source files, md, and tex",
    "figures": "every figure as svg, png, pdf; one-column/ and two-columns/ are sized for papers",
    "metrics.csv": "one row for each run, round and metric, with its unit and source file",
    "filter_survival.csv": "which of the first filters are left, and whether seeds agree",
    "published_counts.json": "parameters and FLOPs recomputed from the published widths",
    "environment.json": "versions, processor and threads of the machine that made this",
    "data": "what the data were: the header of each store (no images), and who held which rows",
    "runs": "each run: history, evaluation, architecture, weights, plan, counts, settings",
    "null": "the rule on networks that learnt nothing",
    "latency": "measured times",
}


def metadata(
    folder: str, files: Sequence[str], runs: Mapping[str, dict[str, Any]], published: datetime
) -> str:
    """ro-crate-metadata.json (RO-Crate 1.1) of the files of an archive.

    ``folder``: the results' place in the archive; ``runs``: run.json by the run's folder.
    """
    crate = ROCrate(version="1.1")
    crate.name, crate.datePublished = TITLE, published
    crate.description = (
        "Tables, figures, runs and provenance of one study, made by a Snakemake workflow. "
        "index.html says what is what."
    )
    crate.license = {"@id": LICENCE}
    add = crate.add
    add(ContextEntity(crate, LICENCE, {"@type": "CreativeWork", "name": "Apache-2.0"}))
    paper = "Automatic Structured Pruning for Efficient Architecture in Federated Learning"
    crate.root_dataset["isBasedOn"] = add(
        ContextEntity(crate, PAPER, {"@type": "ScholarlyArticle", "name": paper})
    )
    crate.root_dataset["mentions"] = [
        add(ContextEntity(crate, f"#{name}-{version}", software(name, version)))
        for name, version in used_versions(runs)
    ]
    for name, what in CONTENTS.items():
        place = f"{folder}/{name}"
        if any(file.startswith(f"{place}/") for file in files):
            crate.add_dataset(dest_path=f"{place}/", properties={"name": name, "description": what})
    for place, about in runs.items():
        crate.add_dataset(dest_path=f"{place}/", properties=described(crate, about))
    for file in files:
        known = CONTENTS.get(PurePosixPath(file).name)
        more = {"description": known} if known else {}
        crate.add_file(dest_path=file, properties={"name": PurePosixPath(file).name, **more})
    found = crate.metadata.generate()
    found["@graph"].sort(key=lambda entity: (entity["@id"] not in ORDER, entity["@id"]))
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


ORDER = ("ro-crate-metadata.json", "./")


def software(name: str, version: str) -> dict[str, str]:
    """A package that the runs were made with."""
    return {"@type": "SoftwareApplication", "name": name, "softwareVersion": version}


def used_versions(runs: Mapping[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Packages and versions that runs were made with; the machine's traits are no packages."""
    apart = ("machine", "system", "cpu")
    pairs = {
        (name, str(version))
        for about in runs.values()
        for name, version in about.get("versions", {}).items()
        if name not in apart
    }
    return sorted(pairs)


def described(crate: ROCrate, about: dict[str, Any]) -> dict[str, Any]:
    """A run as an entity: its name, its code version, its settings as property values."""
    settings = []
    for name, value in about.get("settings", {}).items():
        place = f"#{name}={value}".replace(" ", "-")
        if crate.get(place) is None:
            value = {"@type": "PropertyValue", "name": name, "value": value}
            crate.add(ContextEntity(crate, place, value))
        settings.append({"@id": place})
    return {
        "name": f"{run_name(about)}, seed {about['seed']}",
        "version": about.get("code", ""),
        "additionalProperty": settings,
    }


def run_name(about: Mapping[str, Any]) -> str:
    """Data, model and method of a run in words."""
    data = dataset_label(about["dataset"], about["data_kind"])
    return f"{data}, {label(about['model'])}, {arm_label(about['method'], about['variant'])}"


def page(folder: str, files: Sequence[str], runs: Mapping[str, Path], notes: Sequence[str]) -> str:
    """index.html: what is what, with links that work where the archive was unpacked.

    ``runs``: where each run's folder lies now, by its folder in the archive.
    """
    there = set(files)
    rows = ""
    for name, what in CONTENTS.items():
        place = f"{folder}/{name}"
        if place in there or any(file.startswith(f"{place}/") for file in files):
            opens = f"{place}/index.html" if f"{place}/index.html" in there else place
            rows += f"<tr><td>{linked(opens, name, there)}</td><td>{html.escape(what)}</td></tr>"
    more = [file for file in files if not file.startswith(f"{folder}/")]
    others = "".join(f"<li>{linked(file, file, there)}</li>" for file in more)
    tables = "".join(
        f"<li>{linked(file, PurePosixPath(file).stem, there)}: "
        + ", ".join(
            linked(beside, PurePosixPath(beside).suffix[1:], there)
            for beside in (str(PurePosixPath(file).with_suffix(f".{e}")) for e in ("csv", "tex"))
            if beside in there
        )
        + "</li>"
        for file in files
        if file.startswith(f"{folder}/tables/") and file.endswith(".html")
    )
    figures = "".join(
        f'<figure><a href="{file}"><img src="{file}" alt="{PurePosixPath(file).stem}"></a></figure>'
        for file in files
        if PurePosixPath(file).parent == PurePosixPath(f"{folder}/figures")
        and file.endswith(".svg")
    )
    body = (
        f"<h1>{html.escape(TITLE)}</h1>"
        + "".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)
        + f"<h2>What is here</h2><table>{rows}</table>"
        f"<h2>Tables</h2><ul>{tables}</ul><h2>Runs</h2>{run_table(runs, there)}"
        f"<h2>Settings, licence, checksums</h2><ul>{others}"
        f"<li>{linked('manifest-sha256.txt', 'manifest-sha256.txt', None)}: check with "
        "<code>sha256sum -c manifest-sha256.txt</code></li>"
        f"<li>{linked('ro-crate-metadata.json', 'ro-crate-metadata.json', None)}: the same for "
        f"machines</li></ul><h2>Figures</h2>{figures}"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(TITLE)}</title>\n<style>\n{CSS}\n"
        "figure { margin: 1rem 0; } img { max-width: 100%; background: #ffffff; }\n"
        f"</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def linked(file: str, text: str, there: set[str] | None) -> str:
    """A link to a file of the archive; only the text where it is a folder."""
    words = html.escape(text)
    return f'<a href="{html.escape(file)}">{words}</a>' if there is None or file in there else words


def run_table(runs: Mapping[str, Path], there: set[str]) -> str:
    """A row for each run, with its final test accuracy and parameters, and its files."""
    rows = []
    for place, folder in runs.items():
        about, scores, counts = (
            read_json(folder / f"{name}.json") for name in ("run", "evaluation", "complexity")
        )
        links = ", ".join(
            linked(file, PurePosixPath(file).name, there)
            for file in sorted(there)
            if PurePosixPath(file).parent == PurePosixPath(place)
        )
        cells = [
            f"<td>{html.escape(run_name(about))}</td>",
            f'<td class="number">{about["seed"]}</td>',
            f'<td class="number">{decimal(100 * scores["test_accuracy"])}</td>',
            f'<td class="number">{decimal(counts["parameters"], 0)}</td>',
            f'<td class="long">{links}</td>',
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    names = ("run", "seed", "test accuracy, %", "parameters", "files")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
