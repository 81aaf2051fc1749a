"""The data stages by their commands: exit codes, one-line errors, and files."""

import pandas as pd
import pytest

from autoprune.data.prepare import sources
from autoprune.data.store import ClientStore


@pytest.fixture(scope="module")
def folders(tmp_path_factory, stage):
    """Stores and partitions of the digits and of small glyphs, made by the commands."""
    root = tmp_path_factory.mktemp("stages")
    runs = [
        f"data.prepare digits --name digits --output {root}/digits",
        f"data.prepare glyphs --name signs --output {root}/signs --clients 45 --samples 15",
        f"data.prepare.partition --store {root}/digits --target digit --output {root}/pd --seed 4"
        " --scheme dirichlet --clients 12 --alpha 0.3",
        f"data.prepare.partition --store {root}/signs --target character --output {root}/ps"
        " --scheme natural",
    ]
    for run in runs:
        process = stage(*run.split())
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
    return root


def report(stage, folder, *partitions):
    headers = ["--partitions", *(part / "partition.json" for part in partitions)]
    forms = {"csv": "t.csv", "html": "t.html", "markdown": "t.md", "latex": "t.tex"}
    files = [f"--{flag}={folder / name}" for flag, name in forms.items()]
    figure = ["--svg", folder / "f.svg", "--pdf", folder / "f.pdf"]
    for words in (
        ["evidence.tabulate", "partition", *headers, files[0]],
        ["publish.render_table", "partition", *files],
        ["publish.draw", "partition", *headers, *figure],
    ):
        process = stage(*words)
        if process.returncode:
            break
    return process


def test_stores_and_partitions_are_made_without_a_word_on_stderr(folders):
    assert len(ClientStore.open(folders / "digits").images) == 1797
    assert len(ClientStore.open(folders / "signs").client_ids) == 45


def test_every_source_is_a_command(stage):
    process = stage("data.prepare", "--help")
    assert process.returncode == 0
    assert {"leaf", "digits", "glyphs", "faces"} <= set(sources.names())
    assert all(source in process.stdout for source in sources.names())
    for name in sources.names():
        assert sources.load(name).KIND in ("real", "stand-in")
        assert "--seed" in stage("data.prepare", name, "--help").stdout


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("nothing",), "invalid choice: 'nothing'"),
        ((), "SOURCE"),
        (("digits", "--name", "d", "--output", "x", "--colour"), "--colour"),
        (("digits", "--name", "d", "--output", "x", "--seed", "-1"), "--seed: found '-1'"),
        (("digits", "--name", "d", "--output", "x", "--test-fraction", "nan"), "--test-fraction:"),
        (("glyphs", "--name", "d", "--output", "x", "--clients", "0"), "found '0', expected at le"),
    ],
)
def test_a_wrong_command_line_ends_in_a_clear_line(stage, flags, word):
    process = stage("data.prepare", *flags)
    assert process.returncode in (1, 2)
    assert word in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr


def test_wrong_input_ends_in_one_line_and_leaves_nothing(stage, refused, folders, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.json").write_text("{")
    out = ("--name", "x", "--output", tmp_path / "out")
    assert "a.json" in refused(stage("data.prepare", "leaf", "--folder", tmp_path / "in", *out))
    assert not (tmp_path / "out").exists()
    # Two samples of one client leave one for test: nothing for validation.
    few = refused(stage("data.prepare", "glyphs", "--clients", 1, "--samples", 3, *out))
    assert "no validation samples" in few or "no client is left" in few
    assert not (tmp_path / "out").exists()
    flags = ("--store", folders / "digits", "--target", "digit", "--output", tmp_path / "out")
    assert "dirichlet" in refused(stage("data.prepare.partition", *flags, "--scheme", "natural"))
    assert "not a client store" in refused(
        stage("data.prepare.partition", *flags, "--scheme", "natural", "--store", tmp_path)
    )
    assert "not a partition" in refused(report(stage, tmp_path, tmp_path))
    assert not (tmp_path / "out").exists()


def test_the_store_does_not_depend_on_the_number_of_workers(stage, leaf_shard, tmp_path):
    for number in range(3):
        leaf_shard(tmp_path / "in" / f"{number}.json", {f"w{number}": range(number, 62, 3)})
    flags = ("--folder", tmp_path / "in", "--name", "x", "--crop", 5, 20, "--resize", 14)
    stores = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        process = stage("data.prepare", "leaf", *flags, "--workers", workers, "--output", folder)
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
        stores.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert stores[0] == stores[1]
    assert ClientStore.open(folder).shape == (14, 14, 1)


def test_a_fault_in_a_worker_ends_in_one_line_and_leaves_nothing(
    stage, refused, leaf_shard, tmp_path
):
    leaf_shard(tmp_path / "in" / "a.json", {"w1": range(20)})
    path = leaf_shard(tmp_path / "in" / "b.json", {"w2": range(20)})
    path.write_text(path.read_text().replace("0.0, 0.0, 0.0", "0.0, 2.5, 0.0", 1))
    flags = ("--folder", tmp_path / "in", "--name", "x", "--workers", 2)
    line = refused(stage("data.prepare", "leaf", *flags, "--output", tmp_path / "new" / "out"))
    assert "b.json: user w2, row 0, pixel 1: 2.5" in line
    assert not (tmp_path / "new").exists()


def test_the_report_repeats_and_says_what_stands_in(stage, folders, tmp_path):
    for name in ("one", "two"):
        process = report(stage, tmp_path / name, folders / "pd", folders / "ps")
        assert process.returncode == 0, process.stderr
        assert process.stderr == ""
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()

    rows = pd.read_csv(tmp_path / "one" / "t.csv")
    assert rows["dataset"].tolist() == ["digits", "signs (stand-in)"]
    assert rows["scheme"].tolist() == ["dirichlet, α = 0.3", "natural"]
    assert rows["clients"].tolist() == [12, 45]
    assert rows["classes"].tolist() == [10, 62]
    for name in ("t.html", "t.md"):
        assert "signs (stand-in)" in (tmp_path / "one" / name).read_text()
    text = (tmp_path / "one" / "f.svg").read_text("utf-8")  # whose comments are the texts
    assert "signs (stand-in): character, natural" in text
    assert "40 of 45 clients" in text
    assert "all 12 clients" in text
