"""The command: exit codes, what it prints, recording, and wrong input."""

import io
import json
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from autoprune.check.reference import gather, read
from autoprune.check.verify import main
from autoprune.core import environment

ROOT = Path(__file__).resolve().parents[2]


def verify(folder, *flags):
    """As ``python -m autoprune.check.verify``, without the second that a process takes to start."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(folder), redirect_stdout(out), redirect_stderr(err):
        code = main(["--results", "results", *flags])
    return subprocess.CompletedProcess(flags, code, out.getvalue(), err.getvalue())


def record(folder, *flags):
    return verify(folder, "--reference", "reference", "--record", *flags)


def check(folder, *flags):
    return verify(folder, "--reference", "reference", *flags)


def replace(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_recorded_study_is_the_same_and_a_moved_number_is_not(results):
    folder = results.parent
    done = record(folder)
    assert done.returncode == 0, done.stderr
    assert "recorded 6 runs" in done.stdout
    assert read(folder / "reference").tables == filled(gather(results).tables)
    done = check(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("SAME: ")
    replace(results / "null/digits-cnn.csv", "kept,1,3,3 4", "kept,1,3,3 3")
    done = check(folder)
    assert done.returncode == 1
    assert "null: digits-cnn, kept, 1" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("MOVED: 1 of ")


def filled(tables):
    """Rows as a CSV file gives them back: all columns in each."""
    columns = {name: {key for row in rows for key in row} for name, rows in tables.items()}
    return {
        name: [{key: row.get(key, "") for key in columns[name]} for row in rows]
        for name, rows in tables.items()
    }


def test_a_reference_is_replaced_only_on_demand_and_what_changes_is_said(results):
    folder = results.parent
    record(folder)
    before = {path: path.read_bytes() for path in sorted((folder / "reference").rglob("*.*"))}
    replace(results / "null/digits-cnn.csv", "kept,1,3,3 4", "kept,1,3,3 3")
    done = record(folder)
    assert done.returncode == 2
    assert "null: digits-cnn, kept, 1" in done.stdout
    assert done.stderr == "error: reference: holds a reference; give --overwrite to replace it\n"
    assert {path: path.read_bytes() for path in before} == before
    done = record(folder, "--overwrite")
    assert done.returncode == 0
    assert "null: digits-cnn, kept, 1" in done.stdout
    assert check(folder).returncode == 0
    assert sorted(path.name for path in folder.iterdir()) == ["reference", "results"]


def test_a_table_that_is_gone_leaves_no_file_in_the_new_reference(results):
    folder = results.parent
    record(folder)
    (results / "tables/partition.csv").unlink()
    assert "partition: digits" in check(folder).stdout
    record(folder, "--overwrite")
    assert not (folder / "reference/tables/partition.csv").exists()


def test_a_folder_with_other_things_is_not_overwritten(results):
    folder = results.parent
    (folder / "reference").mkdir()
    (folder / "reference/thesis.csv").write_text("years\n4\n")
    done = record(folder, "--overwrite")
    assert done.returncode == 2
    assert "not a folder of a reference" in done.stderr
    assert [path.name for path in (folder / "reference").iterdir()] == ["thesis.csv"]


def test_results_of_other_code_are_no_reference(results):
    run = results / "runs/digits/cnn/dense/fedavg/seed-1/run.json"
    run.write_text(json.dumps(json.loads(run.read_text()) | {"code": "0123456789abcdef"}))
    done = record(results.parent)
    assert done.returncode == 2
    assert "other code than is at hand: digits/cnn/dense/fedavg/seed-1" in done.stderr
    assert not (results.parent / "reference").exists()


def test_other_code_with_the_same_numbers_is_no_failure(results):
    folder = results.parent
    record(folder)
    made = folder / "reference/made_by.json"
    value = json.loads(made.read_text())
    value["modules"]["autoprune.pruning.rule"] = "0123456789abcdef"
    value["modules"]["autoprune.gone"] = "0123456789abcdef"
    made.write_text(json.dumps(value))
    done = check(folder)
    assert done.returncode == 0
    assert "autoprune.pruning.rule edited, in the code of 4 of 6 runs" in done.stdout
    assert "autoprune.gone removed, of no run" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("; 2 modules are not the reference's")


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ("results/metrics.csv", "results/metrics.csv: no such file"),
        ("results/environment.json", "results/environment.json: no such file"),
        ("reference/rounds.csv", "rounds.csv is missing; record the reference again"),
        ("reference/made_by.json", "reference: no reference there; make one with"),
        ("results/runs/digits/cnn/autoprune/reinit/seed-0/plan.json", "plan.json: no such file"),
    ],
)
def test_nothing_to_compare_is_one_line_and_exit_code_2(results, gone, message):
    folder = results.parent
    record(folder)
    (folder / gone).unlink()
    done = check(folder)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "text", ["run,round\n1\n", "a,b\n1,2,3\n", "a,b\n1,2\n", b"\xff\xfe\x00".decode("latin-1")]
)
def test_a_broken_reference_is_named(results, text):
    folder = results.parent
    record(folder)
    (folder / "reference/plans.csv").write_bytes(text.encode("latin-1"))
    done = check(folder)
    assert done.returncode == 2
    assert "reference/plans.csv" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_no_reference_says_how_to_make_one(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "autoprune.check.verify"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: no reference to compare with")
    assert len(done.stderr.splitlines()) == 1
    assert "python -m autoprune.check.verify --record" in done.stderr


def test_runs_that_an_earlier_configuration_left_are_no_part(results):
    """metrics.csv says which runs a study has."""
    folder = results.parent
    record(folder)
    runs = results / "runs/digits/cnn/dense/fedavg"
    (runs / "seed-7").mkdir()
    assert check(folder).returncode == 0


def test_the_check_imports_neither_torch_nor_flower():
    code = "import sys, autoprune.check.verify, autoprune.core.environment\n"
    code += "print(sorted({'torch', 'flwr', 'ray'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_the_environment_names_what_the_project_asks_for():
    """All of requirements.in that the package imports, and no host or path."""
    lines = (ROOT / "envs/requirements.in").read_text().splitlines()
    asked = [line.split("=")[0].split("[")[0] for line in lines]
    versions = environment.packages()
    assert versions.keys() >= {"torch", "flwr", "numpy", "pandas", "snakemake", "scikit-learn"}
    assert len(versions.keys() & {name.strip() for name in asked}) > 20
    text = json.dumps(environment.describe([{"settings": {"torch-threads": 1}}]))
    assert str(ROOT) not in text
    assert os.uname().nodename not in json.loads(text)["machine"].values()


def git(folder, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *name, *words], cwd=folder, check=True, capture_output=True)


def test_the_checkout_is_its_commit_and_whether_what_runs_differs(tmp_path):
    folder = tmp_path / "project"
    code = folder / "workflow/autoprune/core/provenance.py"
    code.parent.mkdir(parents=True)
    code.write_text("x = 1\n")
    assert environment.checkout(folder) is None
    git(folder, "init", "-q")
    assert environment.checkout(folder) is None
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    found = environment.checkout(folder)
    assert found is not None
    assert len(found["commit"]) == 40
    assert found["modified"] is False
    (folder / "notes.txt").write_text("beside it\n")
    assert environment.checkout(folder) == found
    code.write_text("x = 2\n")
    assert environment.checkout(folder) == found | {"modified": True}


def test_a_copy_unpacked_in_another_checkout_has_no_commit(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    (tmp_path / "project/workflow/autoprune/core").mkdir(parents=True)
    (tmp_path / "project/workflow/autoprune/core/provenance.py").write_text("x = 1\n")
    assert environment.checkout(tmp_path / "project") is None
