"""The chain behind a cell: every file of it, and what is no longer what the run recorded."""

import csv
import hashlib
import json
import re
import shutil
import sys

import pytest

from autoprune.check import trace
from autoprune.publish import tables
from autoprune.publish.items import items
from autoprune.publish.tables import results

AT_THE_END = "question=equal rounds"
CELL = ("dataset=glyphs", "model=cnn", "method=autoprune", "variant=reinit")


def every(link):
    yield link
    for part in link["behind"]:
        yield from every(part)


@pytest.fixture
def project(finished, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(finished, tmp_path / "project")


def test_the_example_of_the_help_leads_from_the_cell_to_the_data(finished, stage):
    example = re.search(r"autoprune\.check\.trace (.*?)\n\n", trace.__doc__, re.DOTALL)[1]
    words = example.replace("\\", "").split()
    assert tuple(words[2:]) == CELL
    done = stage("check.trace", *words, cwd=finished)
    assert (done.returncode, done.stderr) == (0, "")
    with (finished / "results/tables/results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    (row,) = [r for r in rows if (r["method"], r["variant"]) == ("autoprune", "reinit")]
    first = done.stdout.splitlines()[0]
    assert first == f"test_accuracy_mean, row {rows.index(row) + 1}: {row['test_accuracy_mean']}"
    for name in ("results/tables/results.csv", "results/metrics.csv"):
        digest = hashlib.sha256((finished / name).read_bytes()).hexdigest()
        assert f"{name}" in done.stdout
        assert digest in done.stdout
    for words in ("rule: tabulate", "autoprune/reinit/seed-2", "kind: stand-in", "k: 2.2"):
        assert words in done.stdout


def test_the_values_are_those_of_the_runs(finished, stage):
    done = stage(
        "check.trace", "results", "parameters_reduction_percent", *CELL, "--json", cwd=finished
    )
    assert done.returncode == 0, done.stderr
    links = list(every(json.loads(done.stdout)))
    runs = [link for link in links if link["name"].startswith("results/runs/")]
    assert len(runs) == 4  # two of its own, two dense twins
    for run in runs:
        counted = json.loads((finished / run["name"] / "complexity.json").read_text())
        (value,) = [part for part in run["behind"] if part["name"] == "parameters"]
        assert value["facts"]["value"] == counted["parameters"]
        assert value["facts"]["in the file"] == "the same"
        assert "the code here is" in run["facts"]["now"]


@pytest.mark.parametrize(
    ("table", "cell", "metric"),
    [
        ("claims", ["1:ours"], "parameters_with_statistics"),
        ("comparisons", ["difference_points", "method=dense", AT_THE_END], "test_accuracy"),
        ("ablations", ["1:largest_points"], "test_accuracy_last"),
        ("results/tables/results.tex", ["3:communication_factor"], "bytes_total"),
    ],
)
def test_cells_of_every_table_rest_on_their_metric(finished, stage, table, cell, metric):
    done = stage("check.trace", table, *cell, "--json", cwd=finished)
    assert done.returncode == 0, done.stderr
    links = list(every(json.loads(done.stdout)))
    assert [link for link in links if link["name"] == metric]
    assert [link for link in links if link["name"] == "data set glyphs"]


def test_a_number_of_the_partition_leads_to_its_data(finished, stage):
    done = stage("check.trace", "partition", "1:clients", "--json", "--check-data", cwd=finished)
    assert done.returncode == 0, done.stderr
    links = {link["name"]: link["facts"] for link in every(json.loads(done.stdout))}
    assert links["results/tables/partition.csv"]["rule"] == "tabulate"
    assert links["data set glyphs"]["kind"] == "stand-in"
    assert links["store"]["arrays"] == "read anew, the checksum is right"
    assert links["partition"]["clients"] == 6


@pytest.mark.parametrize("behind", [("kb_a_point",), ("kb_a_point", "bytes_total_mean")])
def test_a_derived_number_leads_to_what_it_is_made_of(project, monkeypatch, capsys, behind):
    path = project / "results/tables/results.csv"
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"kb_a_point,{head}", *(f"2.5,{row}" for row in rows), ""]))
    columns = [*results.COLUMNS, tables.plain("kb_a_point", behind=behind)]
    monkeypatch.setattr(results, "COLUMNS", columns)
    monkeypatch.chdir(project)
    trace.main(["results", "kb_a_point", *CELL])
    said = capsys.readouterr().out
    none = "rows used: none: kb_a_point is derived, no metric has its name"
    assert (none in said, "bytes_total" in said) == (len(behind) == 1, len(behind) == 2)
    assert "autoprune/reinit/seed-2" in said


def test_a_recomputed_count_leads_to_its_file(finished, stage):
    with (finished / "results/tables/claims.csv").open(newline="") as stream:
        rows = [row["claim"] for row in csv.DictReader(stream)]
    number = rows.index("parameters of CNN on FEMNIST, dense") + 1
    done = stage("check.trace", "claims", f"{number}:ours", cwd=finished)
    assert done.returncode == 0, done.stderr
    assert "results/published_counts.json" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["results", "test_accuracy", "method=magic"], "no row with method=magic; there is dense"),
        (["results", "speed", *CELL], "no column 'speed'; columns are dataset, data_kind"),
        (["results", "test_accuracy", "methd=x"], "no column 'methd'; columns are dataset"),
        (["results", "test_accuracy", "method=autoprune"], "2 rows fit; add variant="),
        (["results", "99:test_accuracy"], "no row with row=99; there is 1, 2, 3"),
        (["speeds", "1:ours"], f"known are {', '.join(items('tables'))}\n"),
        (["latency", "1:speed_up"], "latency.csv: no such file"),
    ],
)
def test_a_cell_that_is_not_there_is_one_line_that_says_what_is(finished, stage, words, message):
    done = stage("check.trace", *words, cwd=finished)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_other_data_than_the_run_recorded_are_named(project, stage):
    path = project / "results/data/glyphs/store/header.json"
    header = json.loads(path.read_text())
    path.write_text(json.dumps(header | {"checksum": "0" * 64}))
    done = stage("check.trace", "results", "test_accuracy", *CELL, cwd=project)
    assert done.returncode == 1
    assert "data store: DIFFERS from what the run recorded" in done.stderr


def test_a_run_that_was_edited_afterwards_is_named(project, stage):
    path = project / "results/runs/glyphs/cnn/autoprune/reinit/seed-1/evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"test_accuracy": 0.99}))
    done = stage("check.trace", "results", "test_accuracy", *CELL, cwd=project)
    assert done.returncode == 1
    assert "test_accuracy: DIFFERS: 0.99" in done.stderr


def test_the_arrays_are_read_anew_when_asked(project, stage):
    words = ["results", "test_accuracy", *CELL, "--check-data"]
    assert stage("check.trace", *words, cwd=project).returncode == 0
    path = project / "results/data/glyphs/store/labels.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    done = stage("check.trace", *words, cwd=project)
    assert done.returncode == 1
    assert "prepare the data again" in done.stderr


def test_neither_torch_nor_flower_is_imported():
    import subprocess

    code = (
        "import sys, autoprune.check.trace, autoprune.publish.archive;"
        "print({'torch','flwr'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_downloads_stand_below_their_data_set(project, stage):
    overlay = project / "config/downloaded.yaml"
    overlay.write_text("datasets: {glyphs: {downloads: [glyphs-train, glyphs-test]}}\n")
    receipts = project / "resources/downloads"
    receipts.mkdir(parents=True)
    (receipts / "glyphs-train.json").write_text(json.dumps({"sha256": "ab" * 32, "bytes": 5}))
    words = [*CELL, "--configfile", "config/mine.yaml", overlay]
    done = stage("check.trace", "results", "1:test_accuracy", *words[4:], cwd=project)
    assert done.returncode == 0, done.stderr
    assert f"glyphs-train.json  sha256: {'ab' * 32}; bytes: 5" in done.stdout
    assert "glyphs-test.json: not here" in done.stdout


def test_a_measured_time_leads_to_its_file_and_its_run(project, stage):
    measured = project / "results/latency/glyphs/cnn/autoprune/reinit/seed-1.json"
    measured.parent.mkdir(parents=True)
    measured.write_text("{}")
    (project / "results/tables/latency.csv").write_text(
        "dataset,model,method,variant,seed,speed_up,source_files\n"
        f"glyphs,cnn,autoprune,reinit,1,1.5,{measured.relative_to(project)}\n"
    )
    done = stage("check.trace", "latency", "speed_up", "seed=1", cwd=project)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(b"{}").hexdigest() in done.stdout
    assert "results/runs/glyphs/cnn/autoprune/reinit/seed-1" in done.stdout
    assert "data set glyphs" in done.stdout
