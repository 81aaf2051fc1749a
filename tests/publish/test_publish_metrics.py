"""From run folders to the tidy table."""

import csv
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from autoprune.core.errors import InputError
from autoprune.core.files import sha256_file
from autoprune.evidence.clients import read_units
from autoprune.measure.metrics import collect, collect_units
from autoprune.measure.metrics import main as metrics_main
from autoprune.measure.table import COLUMNS, read_metrics


def value(table, metric, at=""):
    (found,) = table[(table["metric"] == metric) & (table["round"] == at)]["value"]
    return float(found)


def edit(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def edit_history(folder, change):
    path = folder / "history.csv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    change(rows)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_figures_of_a_run(run_folder):
    folder = run_folder(method="autoprune", variant="reinit", rounds=4, shrink_rounds=[2, 3])
    table = collect([folder])
    with (folder / "history.csv").open(newline="") as stream:
        history = list(csv.DictReader(stream))
    down = sum(int(row["bytes_down"]) for row in history)
    assert value(table, "bytes_total") == 2 * down
    assert value(table, "bytes_cumulative", "4") == 2 * down
    assert value(table, "bytes_cumulative", "0") == 0
    assert value(table, "bytes_down_per_client_per_round") == down / (4 * 5)
    assert value(table, "clients_per_round") == 5
    assert (value(table, "rounds"), value(table, "shrinks")) == (4, 2)
    assert value(table, "search_rounds") == 4
    assert value(table, "width_2", "0") == 64
    shape = [value(table, f"input_{name}") for name in ("channels", "height", "width")]
    assert shape == [1, 28, 28]
    assert (
        " ".join(f"{value(table, f'width_{n}', '4'):.0f}" for n in (1, 2))
        == (history[-1]["widths"])
    )
    seen = [float(row["validation_accuracy"]) for row in history if row["validation_accuracy"]]
    assert value(table, "validation_accuracy") == seen[-1]
    assert value(table, "validation_accuracy_best") == max(seen)
    # Rounds 1 and 3 were not evaluated, round 0 not trained: no row, not a made-up value.
    assert set(table[table["metric"] == "validation_accuracy"]["round"]) == {"", "0", "2", "4"}
    assert "0" not in set(table[table["metric"] == "train_loss"]["round"])


def test_bit_operations_are_a_row_only_where_they_are_counted(run_folder):
    folder = run_folder(method="geta", variant="joint", rounds=4)
    plain = collect([folder])
    edit(folder / "complexity.json", lambda r: r.update(bops=4096, relative_bops=0.125))
    table = collect([folder])
    more = table[table["metric"].isin(["bops", "relative_bops"])]
    assert more[["metric", "value", "unit"]].to_numpy().tolist() == [
        ["bops", "4096", "bit operations"],
        ["relative_bops", "0.125", "fraction"],
    ]
    assert table.drop(more.index).reset_index(drop=True).equals(plain)


def test_clients_that_failed_are_counted_and_are_no_saving(run_folder):
    """Two of five clients late in each of four rounds: the bytes bought what three sent."""
    table = collect([run_folder(rounds=4, late=2)])
    found = [value(table, f"{name}_replies") for name in ("usable", "failed", "late", "raised")]
    assert found == [12, 8, 8, 0]
    assert value(table, "bytes_per_usable_reply") == value(table, "bytes_total") / 12
    whole = collect([run_folder(rounds=4, seed=2)])
    assert value(whole, "failed_replies") == 0


def test_the_command_writes_sorted_relative_and_repeatable(run_folder, tmp_path, stage):
    folders = [run_folder(seed=seed).relative_to(tmp_path) for seed in (10, 9)]
    for name, order in (("a.csv", folders), ("b.csv", folders[::-1])):
        done = stage("measure.metrics", "--runs", *order, "--output", name, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    with (tmp_path / "a.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == COLUMNS
    assert [row["seed"] for row in rows] == sorted((row["seed"] for row in rows), key=int)
    assert {row["source_file"] for row in rows} == {
        f"runs/glyphs/cnn/dense/fedavg/seed-{seed}/{name}"
        for seed in (9, 10)
        for name in ("history.csv", "evaluation.json", "complexity.json")
    }


def test_values_round_trip(run_folder, tmp_path):
    accuracy = 0.1 + 0.2  # 0.30000000000000004, the last bit of which is easily lost
    metrics_main(
        ["--runs", str(run_folder(test_accuracy=accuracy)), "--output", str(tmp_path / "m.csv")]
    )
    table = read_metrics(tmp_path / "m.csv")
    final = table[table["round"].isna() & (table["metric"] == "test_accuracy")]
    assert final["value"].tolist() == [accuracy]


def test_parquet_holds_the_same(run_folder, tmp_path):
    out = tmp_path / "m.csv"
    metrics_main(["--runs", str(run_folder()), "--output", str(out), "--parquet", "yes"])
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "m.parquet"), read_metrics(out), check_dtype=False
    )


def test_a_diverged_loss_is_carried(run_folder):
    folder = run_folder()
    edit_history(folder, lambda rows: rows[-1].update(train_loss="nan"))
    assert math.isnan(value(collect([folder]), "train_loss", "4"))


def test_the_same_run_twice_is_refused(run_folder, tmp_path):
    folder = run_folder()
    (tmp_path / "copy").mkdir()
    for path in folder.iterdir():
        (tmp_path / "copy" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="same run as"):
        collect([folder, tmp_path / "copy"])


BREAKAGES = {
    "no history": (lambda f: (f / "history.csv").unlink(), "history.csv: no such file"),
    "no evaluation": (lambda f: (f / "evaluation.json").unlink(), "evaluation.json: no such file"),
    "not JSON": (lambda f: (f / "run.json").write_text("{"), "run.json: not valid JSON"),
    "no column": (
        lambda f: edit_history(f, lambda rows: [row.pop("shrunk") for row in rows]),
        "column shrunk is missing",
    ),
    "no number": (
        lambda f: edit_history(f, lambda rows: rows[2].update(clients="many")),
        "line 4: clients: found 'many'",
    ),
    "empty count": (
        lambda f: edit_history(f, lambda rows: rows[2].update(parameters="")),
        "line 4: parameters",
    ),
    "infinite count": (
        lambda f: edit_history(f, lambda rows: rows[2].update(parameters="inf")),
        "finite",
    ),
    "a round left out": (lambda f: edit_history(f, lambda rows: rows.pop(2)), "0, 1, 2"),
    "no round": (lambda f: edit_history(f, lambda rows: rows.__delitem__(slice(1, 9))), "at least"),
    "no traffic": (
        lambda f: edit_history(f, lambda rows: [r.update(bytes_up=0, bytes_down=0) for r in rows]),
        "expected traffic",
    ),
    "replies of nobody": (
        lambda f: edit_history(f, lambda rows: rows[1].update(usable=9)),
        "round 1: usable, late, raised, refused: found 9 in all, expected 5 as clients",
    ),
    "no clients": (
        lambda f: edit_history(f, lambda rows: [row.update(clients=0) for row in rows]),
        "clients: found 0",
    ),
    "no count": (lambda f: edit(f / "complexity.json", lambda r: r.pop("macs")), "macs is missing"),
    "no identity": (lambda f: edit(f / "run.json", lambda r: r.pop("model")), "model is missing"),
    "odd kind": (lambda f: edit(f / "run.json", lambda r: r.update(data_kind="x")), "data_kind"),
    "another network": (
        lambda f: edit(f / "complexity.json", lambda r: r.update(parameters=7)),
        "as in the last round",
    ),
    "no shape of images": (
        lambda f: edit(f / "complexity.json", lambda r: r.update(input_shape=[1, 28])),
        "input_shape: found [1, 28], expected 3 whole numbers",
    ),
    "zero count": (
        lambda f: edit(f / "complexity.json", lambda r: r.update(macs=0)),
        "more than 0",
    ),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_a_broken_run_is_one_line(run_folder, name):
    folder = run_folder()
    breakage, message = BREAKAGES[name]
    breakage(folder)
    with pytest.raises(InputError, match=re.escape(message)):
        collect([folder])


def test_an_error_leaves_no_file(run_folder, tmp_path, stage):
    folder = run_folder()
    (folder / "complexity.json").unlink()
    done = stage("measure.metrics", "--runs", folder, "--output", "out/metrics.csv", cwd=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("unit", "units", 1), "found columns"),
        (lambda text: text + text.splitlines()[1] + "\n", "given twice"),
        (lambda text: text.splitlines()[0] + "\n", "no rows"),
        (lambda text: "", "not a CSV file"),
        (lambda text: text.replace(",bytes,", ",x,", 1).replace(",0,flag", ",zero,flag"), "number"),
    ],
)
def test_a_broken_table_is_one_line(study, tmp_path, change, message):
    (tmp_path / "m.csv").write_text(change((study / "metrics.csv").read_text()))
    with pytest.raises(InputError, match=message):
        read_metrics(tmp_path / "m.csv")


def without_its_end(path, lines):
    """The first lines of a file that is then cut at the end of a line."""
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:lines]))


@pytest.mark.parametrize("file", ["history.csv", "units.csv", "evaluation.json"])
def test_a_run_whose_file_lost_its_end_is_refused_by_name(run_folder, file):
    folder = run_folder()
    noted = {file.name: sha256_file(file) for file in folder.iterdir() if file.name != "run.json"}
    edit(folder / "run.json", lambda about: about.update(files=noted))
    before = collect([folder]), collect_units([folder])
    text = (folder / file).read_text()
    if file.endswith(".csv"):
        without_its_end(folder / file, -1)
    else:
        (folder / file).write_text(text.replace("0.5", "0.4"))
    with pytest.raises(InputError, match=rf"{file}: not the file that run\.json beside it notes"):
        collect([folder]), collect_units([folder])
    (folder / file).write_text(text)
    assert all(map(pd.DataFrame.equals, before, (collect([folder]), collect_units([folder]))))


def test_a_history_has_the_rounds_that_its_run_was_asked_for(run_folder):
    """Of a run without such notes too."""
    folder = run_folder(settings={"rounds": 4})
    collect([folder])
    without_its_end(folder / "history.csv", -1)
    with pytest.raises(InputError, match=r"history\.csv: 3 rounds, expected 4 as in run\.json"):
        collect([folder])


def test_tables_that_lost_their_end_are_refused_wherever_it_was_cut(run_folder, tmp_path):
    """Between two runs as well, where nothing in the table itself could tell."""
    runs = [str(run_folder(seed=seed)) for seed in (1, 2)]
    metrics, units = tmp_path / "metrics.csv", tmp_path / "units.csv"
    metrics_main(["--runs", *runs, "--output", str(metrics), "--units", str(units)])
    check = ["sha256sum", "--check", "metrics.csv.sha256", "units.csv.sha256"]
    assert subprocess.run(check, cwd=tmp_path, capture_output=True).returncode == 0
    for path, read in ((metrics, read_metrics), (units, read_units)):
        read(path)
        text = path.read_text()
        for lines in range(1, text.count("\n"), 7):
            path.write_text(text)
            without_its_end(path, lines)
            with pytest.raises(InputError, match=f"{path}: not the file whose checksum is in"):
                read(path)


def test_a_table_without_a_seal_is_held_to_its_own_count_of_rounds(study, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text((study / "metrics.csv").read_text())
    whole = len(read_metrics(path))
    without_its_end(path, -40)
    with pytest.raises(InputError, match=r"ends at round \d+, expected 30; the end of the file"):
        read_metrics(path)
    path.write_text((study / "metrics.csv").read_text()[:-70])  # within a line
    with pytest.raises(InputError, match=rf"row {whole}: cells are missing|is no number"):
        read_metrics(path)


def test_publishing_needs_neither_torch_nor_flower():
    code = (
        "import sys, autoprune.measure.metrics, autoprune.evidence.tabulate;"
        "from autoprune.publish import figures, items, tables;"
        "[tables.load(name) for name in items.items('tables')];"
        "[figures.load(name) for name in items.items('figures')];"
        "sys.exit(bool({'torch', 'flwr'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "workflow")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert done.returncode == 0
