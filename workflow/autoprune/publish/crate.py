"""A finished study as a Workflow Run RO-Crate: its metadata, and their preview for people."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import metadata as packages
from pathlib import PurePosixPath
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.model.preview import Preview
from rocrate.rocrate import ROCrate

from autoprune.core.labels import arm_label, dataset_label, label

TITLE = "A study of automatic structured pruning in federated learning (arXiv 2411.01759)"
PAPER = "https://arxiv.org/abs/2411.01759"
LICENCE = "https://spdx.org/licenses/Apache-2.0"
WORKFLOW = "Snakefile"
AUTHORS = "#authors"
METADATA, PREVIEW = "ro-crate-metadata.json", Preview.BASENAME
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
# what stands where in a results folder, in the order in which a reader wants it
CONTENTS = {
    "report": "the report: one page with everything",
    "report.html": "Snakemake's own report, with captions and the rules that ran",
    "findings.md": "what the tables say, in sentences chosen by rule",
    "tables": "every table as html to read, csv with raw numbers and source files, md, and tex",
    "figures": "every figure as svg and pdf",
    "metrics.csv": "one row for each run, round and metric, with its unit and source file",
    "filter_survival.csv": "which of the first filters are left, and whether seeds agree",
    "published_counts.json": "parameters and FLOPs recomputed from the published widths",
    "environment.json": "versions, processor and threads of the machine that made this",
    "data": "what the data were: the header of each store (no images), and who held which rows",
    "runs": "each run: history, evaluation, architecture, weights, plan, counts, settings",
    "null": "the rule on networks that learnt nothing",
    "latency": "measured times",
}
RESULTS = ("report", "tables", "figures", "metrics.csv", "runs")


def described(
    folder: str,
    files: Sequence[str],
    runs: Mapping[str, dict[str, Any]],
    finished: datetime,
    notes: Sequence[str],
) -> dict[str, str]:
    """METADATA (RO-Crate 1.1) and PREVIEW of the files of an archive, by name.

    ``folder``: the results' place in the archive; ``runs``: run.json by the run's folder;
    ``finished``: when the last run ended.
    """
    crate = ROCrate(version="1.1")
    crate.name, crate.datePublished = TITLE, finished
    crate.description = " ".join(
        ["Tables, figures, runs and provenance of one study, made by a Snakemake workflow.", *notes]
    )
    _add_context(crate, runs)
    workflow = crate.add_workflow(dest_path=WORKFLOW, main=True, lang="snakemake", gen_cwl=False)
    workflow["name"] = "autoprune: the study as rules"
    crate.mainEntity.get("programmingLanguage")["version"] = packages.version("snakemake")
    parts = {name: _part(crate, folder, name, files) for name in CONTENTS}
    for place, about in runs.items():
        crate.add_dataset(dest_path=f"{place}/", properties=run_properties(crate, about))
    known = {file: crate.get(file) or _file(crate, file) for file in files}
    action = {
        "@type": "CreateAction",
        "name": "The study",
        "description": "Every run of the configuration, then tables, figures and report.",
        "agent": {"@id": AUTHORS},
        "instrument": {"@id": workflow.id},
        "object": [{"@id": file} for file in files if file.startswith("config/")],
        "result": [
            {"@id": (parts[name] or known[f"{folder}/{name}"]).id}
            for name in RESULTS
            if parts[name] or f"{folder}/{name}" in known
        ],
        "endTime": finished.isoformat(),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    crate.root_dataset.append_to("mentions", crate.add(ContextEntity(crate, "#study", action)))
    preview = crate.add(Preview(crate))
    found = crate.metadata.generate()
    found["@graph"].sort(key=lambda entity: (entity["@id"] not in (METADATA, "./"), entity["@id"]))
    text = json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return {METADATA: text, PREVIEW: preview.generate_html()}


def _add_context(crate: ROCrate, runs: Mapping[str, dict[str, Any]]) -> None:
    """Licence, paper, profiles and the packages that the runs were made with."""

    def entity(place: str, kind: str, name: str, **more: str) -> ContextEntity:
        return crate.add(ContextEntity(crate, place, {"@type": kind, "name": name, **more}))

    crate.root_dataset["author"] = entity(AUTHORS, "Organization", "The autoprune authors")
    crate.license = entity(LICENCE, "CreativeWork", "Apache-2.0")
    paper = "Automatic Structured Pruning for Efficient Architecture in Federated Learning"
    crate.root_dataset["isBasedOn"] = entity(PAPER, "ScholarlyArticle", paper)
    crate.root_dataset["conformsTo"] = [
        entity(place, "CreativeWork", name, version=place.rpartition("/")[2])
        for place, name in PROFILES.items()
    ]
    crate.root_dataset["mentions"] = [
        entity(f"#{name}-{version}", "SoftwareApplication", name, softwareVersion=version)
        for name, version in used_versions(runs)
    ]


def _part(crate: ROCrate, folder: str, name: str, files: Sequence[str]) -> Any:
    """A folder of the results as a data set of its files; None for one that is none."""
    place = f"{folder}/{name}/"
    if not any(file.startswith(place) for file in files):
        return None
    about = {"name": name, "description": CONTENTS[name]}
    return crate.add_dataset(dest_path=place, properties=about)


def _file(crate: ROCrate, file: str) -> Any:
    name = PurePosixPath(file).name
    more = {"description": CONTENTS[name]} if name in CONTENTS else {}
    return crate.add_file(dest_path=file, properties={"name": name, **more})


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


def run_properties(crate: ROCrate, about: dict[str, Any]) -> dict[str, Any]:
    """A run as an entity: its name, its code version, its settings as property values."""
    settings = []
    for name, value in about.get("settings", {}).items():
        place = f"#{name}={value}".replace(" ", "-")
        if crate.get(place) is None:
            value = {"@type": "PropertyValue", "name": name, "value": value}
            crate.add(ContextEntity(crate, place, value))
        settings.append({"@id": place})
    data = dataset_label(about["dataset"], about["data_kind"])
    arm = arm_label(about["method"], about["variant"])
    return {
        "name": f"{data}, {label(about['model'])}, {arm}, seed {about['seed']}",
        "version": about.get("code", ""),
        "additionalProperty": settings,
    }
