"""The studies under docs/findings are what their own metrics say."""

import gzip
import json
import shutil

import pytest

from autoprune.check.committed import remake, studies, take, without
from autoprune.core.errors import InputError
from autoprune.measure.table import read_metrics

MADE = '{"machine": {"cpu": "a processor"}, "versions": {"torch": "2.13.0"}}\n'


@pytest.mark.long
def test_the_committed_tables_and_page_are_made_of_the_committed_metrics(
    root, tmp_path, monkeypatch
):
    """The page of all tables, the tables of the metrics: no drift."""
    monkeypatch.chdir(root)
    folder = tmp_path / "findings"
    shutil.copytree("docs/findings", folder)
    known = [folder / study["folder"] for study in studies()]
    for study in known:
        shutil.rmtree(study / "tables")
    assert remake(folder, tmp_path / "findings.md") == [study.name for study in known]
    for study in known:
        for name in ("comparisons", "claims", "ablations"):
            path = study / "tables" / f"{name}.csv"
            assert path.read_bytes() == (root / "docs" / path.relative_to(tmp_path)).read_bytes()
    if known:
        assert (tmp_path / "findings.md").read_text() == (root / "docs/findings.md").read_text()
    for page in {study["page"] for study in studies() if "page" in study}:
        assert (folder / page).read_text() == (root / "docs/findings" / page).read_text()


def test_each_committed_study_names_configurations_that_exist(root):
    for study in studies(root / "docs/findings"):
        assert study["configfiles"]
        for path in study["configfiles"]:
            assert (root / path).is_file()
            assert path.rpartition("/")[2] in study["title"]


@pytest.fixture
def folder(tmp_path, monkeypatch, root):
    """A place like docs/findings with one study, which is not finished yet."""
    monkeypatch.chdir(tmp_path)
    for name in ("config", "workflow"):
        (tmp_path / name).symlink_to(root / name)
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("pathvars: {results: done}\ncontrols: {null_draws: 10}\n")
    place = tmp_path / "docs/findings"
    place.mkdir(parents=True)
    about = {"title": "Mine", "folder": "mine", "configfiles": [str(overlay)]}
    (place / "studies.json").write_text(json.dumps([about]))
    return place


def test_a_finished_study_is_taken_and_its_tables_made(folder, tmp_path, finished):
    results = tmp_path / "done"
    results.mkdir()
    (results / "environment.json").write_text(MADE)
    for name in ("metrics", "units"):
        shutil.copy(finished / f"results/{name}.csv", results)
    take("mine", folder)
    taken = folder / "mine/metrics.csv.gz"
    first = taken.read_bytes()
    assert gzip.decompress(first) == (results / "metrics.csv").read_bytes()
    assert read_metrics(taken).equals(read_metrics(results / "metrics.csv"))
    take("mine", folder)
    assert taken.read_bytes() == first
    assert remake(folder, tmp_path / "page.md") == ["mine"]
    header = (folder / "mine/tables/comparisons.csv").read_text().splitlines()[0].split(",")
    assert "difference_points" in header
    assert "source_files" not in header
    page = (tmp_path / "page.md").read_text()
    assert "## Mine" in page
    own = json.loads((folder / "studies.json").read_text())[0] | {"page": "mine.md"}
    (folder / "studies.json").write_text(json.dumps([own]))
    (tmp_path / "page.md").unlink()
    assert remake(folder, tmp_path / "page.md") == ["mine"]
    assert (folder / "mine.md").read_text() == page
    assert not (tmp_path / "page.md").exists()


def test_what_cannot_be_taken_is_one_line(folder, tmp_path, finished):
    with pytest.raises(InputError, match=r"studies\.json: no study 'yours'; known are mine"):
        take("yours", folder)
    with pytest.raises(InputError, match=r"done/metrics\.csv: no such file"):
        take("mine", folder)
    (tmp_path / "done").mkdir()
    shutil.copy(finished / "results/metrics.csv", tmp_path / "done")
    with pytest.raises(InputError, match=r"done/environment\.json: no such file"):
        take("mine", folder)
    (tmp_path / "done/environment.json").write_text(MADE)
    with pytest.raises(InputError, match=r"done/units\.csv: No such file"):
        take("mine", folder)
    assert not (folder / "mine").exists()
    with pytest.raises(InputError, match=r"mine/metrics\.csv\.gz: no such file"):
        remake(folder, tmp_path / "page.md")
    assert not (tmp_path / "page.md").exists()


def test_columns_are_left_out_and_cells_kept(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b,c\n1,x,"2, and 3"\n4,y,\n')
    assert without(("b", "d"), str(path)) == 'a,c\n1,"2, and 3"\n4,\n'
