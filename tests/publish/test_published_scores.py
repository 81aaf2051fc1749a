"""A study of numbers is published by R²: nothing that it shows speaks of an accuracy."""

import csv
import json
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from autoprune.core.errors import InputError
from autoprune.core.tasks import named, plain, worded
from autoprune.evidence import tabulate
from autoprune.evidence.clients import read_units
from autoprune.measure import complexity
from autoprune.measure import metrics as gather
from autoprune.measure.table import read_metrics, score_in
from autoprune.publish import draw, findings, render_table, tables
from autoprune.publish.items import items
from made_studies import ARMS, write_run

FORMS = {"html": "html", "markdown": "md", "latex": "tex"}


def of_number(run):
    """Make a made-up run one of a regression, as training would have written it."""
    history = run / "history.csv"
    head, rows = history.read_text().split("\n", 1)
    history.write_text(f"{named(head, 'r2')}\n{rows}")
    units = run / "units.csv"
    units.write_text(units.read_text().replace("right", "score"))
    about = json.loads((run / "run.json").read_text())
    about["settings"] |= {"task": "regression", "metrics": "mae", "target": "age"}
    (run / "run.json").write_text(json.dumps(about))
    found = json.loads((run / "evaluation.json").read_text())
    del found["test_macro_accuracy"]
    found = {named(name, "r2"): value for name, value in found.items()} | {"test_mae": 3.5}
    (run / "evaluation.json").write_text(json.dumps(found))
    complexity = json.loads((run / "complexity.json").read_text())
    (run / "complexity.json").write_text(json.dumps(complexity | {"classes": 1}))
    return run


@pytest.fixture(scope="module")
def numbers(tmp_path_factory):
    """A folder with metrics.csv and units.csv of a study of one regression."""
    folder = tmp_path_factory.mktemp("numbers")
    about = {"dataset": "ages", "data_kind": "real", "stands_for": "", "rounds": 30}
    runs = [
        of_number(
            write_run(
                folder / f"runs/ages/cnn/{method}/{variant}/seed-{seed}",
                method=method, variant=variant, seed=seed, **about,
            )
        )
        for method, variant in ARMS
        for seed in (1, 2, 3)
    ]  # fmt: skip
    files = ["--output", str(folder / "metrics.csv"), "--units", str(folder / "units.csv")]
    gather.main(["--runs", *map(str, runs), *files])
    return folder


def test_metrics_are_named_by_r2_and_read_by_one_name(numbers):
    text = (numbers / "metrics.csv").read_text()
    assert "accuracy" not in text
    assert ",test_r2_best," in text
    assert "squared standard deviations" in text
    found = read_metrics(numbers / "metrics.csv")
    assert score_in(found) == "r2"
    assert {"test_accuracy", "test_mae"} <= set(found["metric"])
    units = read_units(str(numbers / "units.csv"))
    assert ("dense", "fedavg") in units["ages", "real", "cnn"]


def test_runs_of_both_scores_are_no_study(numbers, tmp_path):
    """No table sets an accuracy beside an R²."""
    other = write_run(tmp_path / "glyphs")
    number = numbers / "runs/ages/cnn/dense/fedavg/seed-1"
    output = tmp_path / "metrics.csv"
    gather.main(["--runs", str(other), str(number), "--output", str(output)])
    with pytest.raises(InputError, match="runs with an accuracy and runs with R², which no table"):
        read_metrics(output)


@pytest.mark.parametrize("name", ["claims", "comparisons", "results", "ablations", "scores"])
def test_no_table_speaks_of_an_accuracy(numbers, tmp_path, name):
    """But for what the notebooks print, which are accuracies."""
    counts = tmp_path / "counts.json"
    complexity.main(["--published", "config/published.tsv", "--output", str(counts)])
    flags = {
        "claims": ["--published=config/published.tsv", f"--counts={counts}", "--margin=2"],
        "comparisons": ["--reference=reinit", "--margin=2", f"--units={numbers / 'units.csv'}"],
    }.get(name, [])
    made = str(tmp_path / f"{name}.csv")
    tabulate.main([name, *flags, f"--metrics={numbers / 'metrics.csv'}", "--csv", made])
    rows = tables.read_rows(made)
    assert rows
    assert {row["score"] for row in rows} == {"r2"}
    with open(made, encoding="utf-8") as stream:
        ours = [row for row in csv.DictReader(stream) if row.get("source") != "notebook"]
    assert "accura" not in json.dumps(ours).lower()
    table = tables.load(name)
    shown = tables.readable(table, [row for row in rows if row.get("source") != "notebook"])
    assert "accura" not in shown.to_csv().lower()
    assert "accura" not in " ".join(tables.notes(table, rows)).lower()
    if name != "claims":  # in which R² stands in sentences alone
        assert any("R²" in title for title in shown.columns)
    outputs = [f"--{flag}={tmp_path / name}.{ending}" for flag, ending in FORMS.items()]
    render_table.main([name, "--csv", made, *outputs])


def test_r2_has_no_margin_of_its_own(numbers, tmp_path):
    flags = ["--reference=reinit", "--metrics", str(numbers / "metrics.csv")]
    with pytest.raises(InputError, match="--margin: missing; of R² it does not follow"):
        tabulate.main(["comparisons", *flags, "--csv", str(tmp_path / "c.csv")])


def test_a_macro_mean_of_classes_that_there_are_not_is_left_blank(numbers, tmp_path):
    made = tmp_path / "comparisons.csv"
    flags = ["--reference=reinit", "--margin=2", "--metrics", str(numbers / "metrics.csv")]
    tabulate.main(["comparisons", *flags, "--csv", str(made)])
    found = pd.read_csv(made)
    assert found["test_macro_r2_percent"].isna().all()
    assert found["test_r2_last_percent"].notna().all()


@pytest.mark.parametrize(
    "name", [name for name in items("figures") if name.startswith("accuracy_")]
)
def test_no_figure_speaks_of_an_accuracy(numbers, tmp_path, name):
    files = [f"--{form}={tmp_path / name}.{form}" for form in ("svg", "pdf")]
    draw.main([name, f"--metrics={numbers / 'metrics.csv'}", *files])
    text = (tmp_path / f"{name}.svg").read_text()
    assert "R²" in re.sub(r"&#178;|&#xb2;", "²", text)
    assert not re.search(r"\baccurac", text)
    plt.close("all")


def test_the_findings_answer_in_r2(numbers, tmp_path):
    folder = tmp_path / "study" / "tables"
    folder.mkdir(parents=True)
    counts = tmp_path / "counts.json"
    complexity.main(["--published", "config/published.tsv", "--output", str(counts)])
    measured = [f"--metrics={numbers / 'metrics.csv'}"]
    for name, flags in {
        "claims": ["--published=config/published.tsv", f"--counts={counts}", "--margin=2"],
        "comparisons": ["--reference=reinit", "--margin=2"],
        "ablations": [],
    }.items():
        tabulate.main([name, *flags, *measured, f"--csv={folder / name}.csv"])
    output = tmp_path / "findings.md"
    findings.main(["--study", "It", str(folder.parent), "--output", str(output)])
    text = output.read_text()
    assert "as good as dense?** ages/CNN" in text
    assert "accurac" not in text
    assert "hundredths of R²" in text


@pytest.mark.parametrize("name", ["test_accuracy_last", "accuracy_mean", "parameters"])
def test_names_go_there_and_back(name):
    assert plain(named(name, "r2")) == name
    assert worded(f"see {name}", "r2") == f"see {name}"  # no sentence
