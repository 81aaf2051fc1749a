"""The results table."""

import csv
import random
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.core.labels import LABELS, arm_order, decimal
from autoprune.evidence.ablations import table as ablations
from autoprune.evidence.comparisons import table as comparisons
from autoprune.evidence.partition import COLUMNS as PARTITION
from autoprune.evidence.results import table as results
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics, to_csv
from autoprune.publish.items import items
from autoprune.publish.page import table_page
from autoprune.publish.render_table import markdown_table
from autoprune.publish.tables.results import NOTES, notes
from made_studies import WRAPPING, rows_of, shown

RENDER = "publish.render_table"
CONFIG = Path(__file__).parents[2] / "config"


def tabulate(folders, tmp_path):
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    raw = results(read_metrics(tmp_path / "m.csv"))
    return rows_of(raw), shown("results", raw).to_dict("records")


def test_what_rests_on_runs_with_failures_says_so(run_folder, tmp_path):
    """The results, the comparisons, the ablations."""
    arms = ("dense", "fedavg"), ("autoprune", "reinit"), ("autoprune", "inherit")
    late = {"reinit": 2}
    folders = [
        run_folder(seed=seed, method=method, variant=variant, late=late.get(variant, 0))
        for method, variant in arms
        for seed in (1, 2)
    ]
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    metrics = read_metrics(tmp_path / "m.csv")
    words = "16 of 40 replies failed"  # two of five clients in each of four rounds of two runs
    raw = results(metrics)
    assert raw.set_index("variant")["failed_replies"].to_dict() == {
        "fedavg": "", "reinit": "16 of 40", "inherit": ""
    }  # fmt: skip
    table = shown("results", raw).set_index("method")["rounds × clients"]
    assert [words in text for text in table] == [False, True, False]
    assert "autoprune, fresh weights 16 of 40" in notes(rows_of(raw))[-1]
    pair = "glyphs-cnn/autoprune"
    changes = [
        ("weights", f"{pair}/reinit", f"{pair}/inherit"),
        ("pruning", f"{pair}/inherit", "glyphs-cnn/dense/fedavg"),
    ]
    for name, found in (
        ("comparisons", comparisons(metrics, "inherit")),
        ("ablations", ablations(metrics, changes)),
    ):
        rows = shown(name, found).astype(str).agg(" ".join, axis=1)
        assert rows.str.contains("replies failed").any(), name
        assert not rows.str.contains("replies failed").all(), name


def test_numbers_by_hand(run_folder, tmp_path):
    folders = [
        run_folder(seed=seed, method=method, variant=variant, test_accuracy=accuracy, share=0.5)
        for method, variant, seed, accuracy in (
            ("dense", "fedavg", 1, 0.80),
            ("dense", "fedavg", 2, 0.84),
            ("autoprune", "inherit", 1, 0.79),
            ("autoprune", "inherit", 2, 0.80),
        )
    ]
    (dense, ours), (_, shown) = tabulate(folders, tmp_path)
    assert float(dense["test_accuracy_mean"]) == pytest.approx(0.82)
    assert dense["accuracy_change_points_n"] == "0"
    assert dense["accuracy_change_points_mean"] == ""
    assert ours["seeds"] == "1 2"
    # Changes of -1 and -4 points: mean -2.5, sd 3/sqrt(2), half = 12.7062 * 3/2 = 19.059
    assert float(ours["accuracy_change_points_mean"]) == pytest.approx(-2.5)
    assert float(ours["accuracy_change_points_low"]) == pytest.approx(-2.5 - 19.0593, abs=1e-3)
    assert shown["against dense, points"] == "−2.50 [−21.56, +16.56]"
    assert shown["accuracy, %"] == "79.50 ± 0.71 (n=2)"
    reductions = []
    for seed in (1, 2):
        count = float(value(collect(folders), "autoprune", seed, "parameters"))
        whole = float(value(collect(folders), "dense", seed, "parameters"))
        reductions.append(100 * (whole - count) / whole)
    assert float(ours["parameters_reduction_percent_mean"]) == pytest.approx(sum(reductions) / 2)
    assert f"({decimal(-sum(reductions) / 2, 1)} %)" in shown["parameters"]
    assert ours["final_widths"].startswith("seed 1: ")
    # A row rests on its own runs and on the dense runs it is compared with.
    assert ours["source_files"].count("dense/fedavg/seed-1/evaluation.json") == 1
    assert len(ours["source_files"].split(";")) == 12
    assert len(dense["source_files"].split(";")) == 6


def value(table, method, seed, metric):
    rows = table[(table["method"] == method) & (table["seed"] == str(seed))]
    return rows[(rows["metric"] == metric) & (rows["round"] == "")]["value"].item()


def test_one_seed_has_no_interval_and_no_nan(run_folder, tmp_path):
    folders = [run_folder(), run_folder(method="autoprune", variant="reinit")]
    raw, shown = tabulate(folders, tmp_path)
    assert raw[1]["accuracy_change_points_low"] == raw[1]["test_accuracy_sd"] == ""
    assert shown[1]["accuracy, %"].endswith("(n=1)")
    assert shown[1]["against dense, points"].endswith("(n=1)")
    assert "nan" not in str([*raw, *shown]).lower()


def test_bytes_as_sent_and_as_numbers_alone(run_folder, tmp_path):
    pruned = {"method": "autoprune", "variant": "reinit", "share": 0.3}
    folders = [run_folder(rounds=2), run_folder(rounds=2, shrink_rounds=[1], **pruned)]
    (dense, ours), (shown_dense, shown) = tabulate(folders, tmp_path)
    for row in (dense, ours):  # 5 clients, 2 rounds, both ways
        wrapping = float(row["bytes_total_mean"]) - float(row["payload_total_mean"])
        assert wrapping == 2 * 2 * 5 * WRAPPING
    by_payload = float(dense["payload_total_mean"]) / float(ours["payload_total_mean"])
    assert float(ours["communication_factor_payload_mean"]) == pytest.approx(by_payload)
    assert by_payload > float(ours["communication_factor_mean"])
    assert shown["payload"].endswith(f" MB (÷ {decimal(by_payload)})")
    assert shown["traffic"].endswith(f" MB (÷ {decimal(float(ours['communication_factor_mean']))})")
    assert "÷" not in shown_dense["payload"]


def test_live_filters_are_those_of_the_last_round_over_seeds(run_folder, tmp_path):
    folders = [
        run_folder(method="autoprune", variant="inherit", seed=seed, shrink_rounds=[])
        for seed in (1, 2)
    ]
    edited = folders[0] / "history.csv"
    text = edited.read_text().replace("1.0000 0.5000", "1.0000 0.2500")
    edited.write_text(text.replace("1.0000 0.7500", "0.0000 0.0000"))  # not the last round
    (row,), (shown,) = tabulate(folders, tmp_path)
    assert row["live_filters"] == "1.0000 0.3750"
    assert shown["live filters"] == "1.00 0.38"


def test_runs_that_counted_no_live_filters_have_a_dash(run_folder, tmp_path):
    collect([run_folder()]).to_csv(tmp_path / "m.csv", index=False)
    metrics = read_metrics(tmp_path / "m.csv")
    raw = results(metrics[~metrics["metric"].str.startswith("live_")])
    assert list(raw["live_filters"]) == [""]
    assert list(shown("results", raw)["live filters"]) == ["–"]


def test_without_a_dense_run_there_is_no_comparison(run_folder, tmp_path):
    folders = [run_folder(seed=1), run_folder(method="autoprune", variant="new", seed=2)]
    rows, shown = tabulate(folders, tmp_path)
    new = next(row for row in rows if row["variant"] == "new")
    assert new["n"] == "1"
    assert new["communication_factor_n"] == "0"
    assert shown[1]["method"] == "autoprune/new"  # no label: its own name
    assert shown[1]["against dense, points"] == "–"


def test_stand_ins_are_marked(study, tmp_path, stage):
    flags = ["--csv", "r.csv", "--html", "r.html", "--markdown", "r.md", "--latex", "r.tex"]
    metrics = ["--metrics", study / "metrics.csv"]
    for words in (
        ["evidence.tabulate", "results", *metrics, *flags[:2]],
        [RENDER, "results", *flags],
    ):
        done = stage(*words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "r.html").read_text()
    assert "glyphs (stand-in)" in page
    assert "MNIST (stand-in)" not in page
    assert "http" not in page  # self-contained
    assert "src=" not in page
    with (tmp_path / "r.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 15
    assert all(row["source_files"] for row in rows)
    assert (tmp_path / "r.md").read_text().count("\n| ") == 15


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32))
def test_the_order_of_the_rows_changes_no_byte(study, tmp_path, seed):
    first, *rest = (study / "metrics.csv").read_text().splitlines(keepends=True)
    rest = [line for line in rest if line.startswith(("mnist", "faces"))]

    def texts(rows):
        (tmp_path / "m.csv").write_text(first + "".join(rows))
        raw = results(read_metrics(tmp_path / "m.csv"))
        readable = shown("results", raw)
        return to_csv(raw), table_page(readable, "t", NOTES), markdown_table(readable, NOTES)

    assert texts(random.Random(seed).sample(rest, len(rest))) == texts(rest)


def test_a_missing_table_is_one_line_and_no_file(tmp_path, stage):
    flags = ["--metrics", "none.csv", "--csv", "r.csv"]
    for table, said in (
        ("results", "error: none.csv: no such file; run autoprune.measure.metrics first\n"),
        ("result", f"error: table: unknown 'result'; known are {', '.join(items('evidence'))}\n"),
    ):
        done = stage("evidence.tabulate", table, *flags[-2 * (table == "result") :], cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(said)
    forms = ["--html", "r.html", "--markdown", "r.md", "--latex", "r.tex"]
    for table, said in (
        ("results", "error: r.csv: no such file; make the tables first\n"),
        ("result", f"error: table: unknown 'result'; known are {', '.join(items('tables'))}\n"),
    ):
        done = stage(RENDER, table, "--csv", "r.csv", *forms, cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.startswith(said)
    (tmp_path / "short.csv").write_text("dataset,model\nmnist,cnn\n")
    done = stage(RENDER, "results", "--csv", "short.csv", *forms, cwd=tmp_path)
    assert done.stderr == "error: short.csv: 'dataset_label': no such column, or no number\n"
    assert [path.name for path in tmp_path.iterdir()] == ["short.csv"]


def test_names_with_markup_are_escaped(run_folder, tmp_path):
    folder = run_folder(method="dense", variant="fedavg", dataset="a|b<c>")
    collect([folder]).to_csv(tmp_path / "m.csv", index=False)
    readable = shown("results", results(read_metrics(tmp_path / "m.csv")))
    assert "a|b&lt;c&gt; (stand-in)" in table_page(readable, "t", [])
    assert "a\\|b\\<c>" in markdown_table(readable, [])


NASTY = "<script>alert(1)</script>|x [a](javascript:1) \\input{y} $z$ & % \x1b[31mred\u202e"


def test_what_a_cell_says_does_nothing_in_any_form(tmp_path, stage):
    """The names of a target or a phone are the user's: in a page, Markdown, LaTeX, a terminal."""
    row = dict.fromkeys(PARTITION, "1") | {"source": NASTY, "target": NASTY}
    with (tmp_path / "t.csv").open("w", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([row.keys(), row.values()])
    files = [f"--{form}=t.{form}" for form in ("csv", "html", "markdown", "latex")]
    done = stage("publish.render_table", "partition", *files, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    forms = [(tmp_path / f"t.{form}").read_text() for form in ("html", "markdown", "latex")]
    html, markdown, latex = forms
    assert not {"\x1b", "\u202e"} & {*html, *markdown, *latex}
    assert all("x1b[31mred" in text for text in forms)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "\\<script>alert(1)\\</script>\\|x [a\\](javascript:1)" in markdown
    assert "\\input{y}" not in latex


def test_numbers_as_text():
    assert decimal(-1234.5, 1) == "−1,234.5"
    assert decimal(-0.001) == "0.00"
    assert decimal(2, 1, sign=True) == "+2.0"
    assert decimal(None) == "–"


def test_known_arms_come_first():
    arms = [("zeta", ""), ("autoprune", "inherit"), ("alpha", "x"), ("dense", "fedavg")]
    assert arm_order(arms) == [arms[3], arms[1], arms[2], arms[0]]


def named_arms(config):
    """Every method/variant that a configuration file names, for all pairs or for one."""
    pairs = config.get("pairs", {}).values()
    places = [config, *pairs, *({"methods": pair.get("more_methods", {})} for pair in pairs)]
    return {
        f"{method}/{variant}"
        for place in places
        for method, variants in place.get("methods", {}).items()
        for variant in variants
    }


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_a_study_names_has_a_label(path):
    config = yaml.safe_load(path.read_text("utf-8"))
    assert not named_arms(config) - LABELS.keys()
    assert not {name for name in config.get("datasets", {}) if "_" in name} - LABELS.keys()


def test_no_two_things_have_one_label():
    assert len(set(LABELS.values())) == len(LABELS)
