"""The archive of a finished study: complete, checked, readable in an empty folder, without a trace
of the machine that made it."""

import hashlib
import json
import platform
import re
import shutil
import subprocess
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rocrate.rocrate import ROCrate

from autoprune.publish.items import items, timed

CONFIG = ["--configfile", "config/mine.yaml"]


@pytest.fixture(scope="module")
def zipped(finished, stage):
    (finished / "results/report.html").write_text(f"made in {finished.resolve()}/results\n")
    (finished / "results/logs").mkdir()
    (finished / "results/logs/a.log").write_text("no part of it")
    done = stage("publish.archive", *CONFIG, cwd=finished)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"results/study\.zip: \d+ files, \d+\.\d MB\n", done.stdout)
    return finished / "results/study.zip"


@pytest.fixture
def opened(zipped, tmp_path):
    """The archive unpacked in an empty folder."""
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def test_the_checksums_are_right_and_cover_everything(opened):
    done = subprocess.run(
        ["sha256sum", "-c", "--quiet", "--strict", "manifest-sha256.txt"],
        cwd=opened, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    lines = (opened / "manifest-sha256.txt").read_text().splitlines(keepends=True)
    listed = {line.split("  ", 1)[1] for line in lines}
    files = {f"{p.relative_to(opened)}\n" for p in opened.rglob("*") if p.is_file()}
    assert files - listed == {"manifest-sha256.txt\n"}


def test_what_a_reader_needs_is_there_and_nothing_else(opened, finished):
    aimed = {name for name, item in items("tables").items() if item.only_with == "target"}
    for table in {*items("tables")} - {*timed("tables")} - aimed:
        for ending in ("csv", "html", "md", "tex"):
            there = opened / "results/tables" / f"{table}.{ending}"
            assert there.read_bytes() == (finished / there.relative_to(opened)).read_bytes()
    names = ["config/config.yaml", "config/mine.yaml", "envs/requirements.lock", "LICENSE"]
    names += ["results/data/glyphs/store/header.json", "results/findings.md"]
    names += ["results/data/glyphs/partition/indices.npy", "results/metrics.csv"]
    run = "results/runs/glyphs/cnn/autoprune/reinit/seed-1"
    names += [f"{run}/{name}" for name in ("run.json", "history.csv", "weights.safetensors")]
    assert [name for name in names if not (opened / name).is_file()] == []
    found = [str(path.relative_to(opened)) for path in opened.rglob("*")]
    assert not [name for name in found if re.search("images|checkpoint|logs|paper.yaml", name)]


def test_the_metadata_read_back_name_every_file_and_run(opened):
    crate = ROCrate(opened)
    assert "isBasedOn" in crate.root_dataset.properties()
    assert crate.root_dataset["license"]
    parts = {entity.id for entity in crate.get_entities()}
    files = {str(p.relative_to(opened)) for p in opened.rglob("*") if p.is_file()}
    assert files - parts <= {"ro-crate-metadata.json"}
    action = crate.dereference("#study")
    assert action.type == "CreateAction"
    assert action["instrument"].id == crate.mainEntity.id == "Snakefile"
    assert "results/tables/" in {part.id for part in action["result"]}
    assert {part.id for part in action["object"]} >= {"config/mine.yaml", "config/config.yaml"}
    run = crate.dereference("results/runs/glyphs/cnn/autoprune/reinit/seed-2/")
    assert run["name"] == "glyphs (stand-in), CNN, autoprune, fresh weights, seed 2"
    values = {entity["name"]: entity["value"] for entity in run["additionalProperty"]}
    assert values == {"rounds": 30, "k": 2.2}
    software = {e["name"] for e in crate.get_by_type("SoftwareApplication")}
    assert software == {"python", "torch"}
    raw = json.loads((opened / "ro-crate-metadata.json").read_text())
    ids = [entity["@id"] for entity in raw["@graph"]]
    assert len(ids) == len(set(ids))

    def references(value):
        if isinstance(value, dict):
            yield from [value["@id"]] if set(value) == {"@id"} else []
            value = list(value.values())
        for part in value if isinstance(value, list) else []:
            yield from references(part)

    dangling = set(references(raw["@graph"])) - set(ids)
    assert not [name for name in dangling if not name.startswith("https://")]


class Links(HTMLParser):
    """What a page links to or shows."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("href", "src")]


def test_the_page_links_to_files_that_are_there(opened):
    page = Links()
    page.feed((opened / "ro-crate-preview.html").read_text())
    assert len(page.found) > 30
    for link in page.found:
        assert not re.match(r"\w+:|/|\.\.", link), link
        assert (opened / link).exists(), link
    assert "results/tables/claims.html" in page.found


def test_nothing_tells_of_the_machine(opened, finished):
    node = platform.node()
    assert (opened / "results/report.html").read_text() == "made in results\n"
    for path in opened.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert str(finished.resolve()).encode() not in data, path
            assert str(Path.home()).encode() + b"/" not in data, path
            if len(node) > 3 and node != "localhost":
                assert not re.search(rf"\b{re.escape(node)}\b".encode(), data), path


def test_the_same_study_gives_the_same_bytes(zipped, finished, stage, tmp_path):
    again = tmp_path / "again.zip"
    done = stage("publish.archive", *CONFIG, "--output", again, cwd=finished)
    assert done.returncode == 0, done.stderr
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (zipped, again)}
    assert len(digests) == 1


def test_weights_can_be_left_out(finished, stage, tmp_path):
    done = stage(
        "publish.archive", *CONFIG, "--without-weights", "--output", tmp_path / "z", cwd=finished
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "z") as archive:
        assert not [name for name in archive.namelist() if name.endswith(".safetensors")]
        assert "weights were left out" in archive.read("ro-crate-preview.html").decode()


def test_an_unfinished_study_is_one_line_that_names_what_is_missing(finished, stage, tmp_path):
    shutil.copytree(finished, tmp_path / "p", ignore=shutil.ignore_patterns("*.zip"))
    gone = "results/runs/glyphs/cnn/dense/fedavg/seed-2/evaluation.json"
    (tmp_path / "p" / gone).unlink()
    done = stage("publish.archive", *CONFIG, cwd=tmp_path / "p")
    assert done.returncode == 1
    assert done.stderr == (
        "error: results: not a finished study of config/config.yaml, config/mine.yaml: 1 files "
        f"are missing, first {gone}; run the study, or name its --configfile\n"
    )
    assert not list(tmp_path.rglob("study.zip*"))


def test_the_archive_can_be_traced_where_it_was_opened(opened, stage):
    cell = ("dataset=glyphs", "method=autoprune", "variant=reinit")
    done = stage("check.trace", "results", "test_accuracy", *cell, cwd=opened)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("state: as recorded") == 5
