"""A study made twice: differing files are found and told, on a real small workflow."""

import pytest

from autoprune.check.twice import differences, first_difference, twice
from autoprune.core import provenance
from autoprune.core.errors import InputError

CONFIG = "pathvars: {results: out, logs: out/logs, benchmarks: out/benchmarks}\n"
SNAKEFILE = """
configfile: "config/config.yaml"

rule all:
    input: "out/number.csv", "out/environment.json"

rule number:
    output: "out/number.csv", "out/cores.csv", "out/place.csv"
    log: "out/logs/number.log"
    benchmark: "out/benchmarks/number.tsv"
    threads: 8
    shell: "echo 5 > {output[0]}; echo CORES > {output[1]}; echo PLACE > {output[2]}"

rule times:
    output: "out/environment.json"
    shell: "date +%N > {output}"
"""


@pytest.fixture
def workflow(tmp_path, monkeypatch):
    """A maker of a small workflow in the place of the project, with text of the Snakefile set."""
    (tmp_path / "config").mkdir()
    (tmp_path / "workflow").mkdir()
    (tmp_path / "config/config.yaml").write_text(CONFIG)
    (tmp_path / "config/small.yaml").write_text("pathvars: {results: out}\n")
    monkeypatch.setattr(provenance, "ROOT", tmp_path / "workflow")
    monkeypatch.chdir(tmp_path)

    def make(**texts):
        content = SNAKEFILE
        for old, new in texts.items():
            content = content.replace(old, new)
        (tmp_path / "Snakefile").write_text(content)
        return ["config/small.yaml"]

    return make


def test_the_same_bytes_are_the_same_whatever_times_say(workflow, capsys):
    assert twice(workflow(), (1, 2)) == 0
    assert "SAME: 3 files, every byte" in capsys.readouterr().out


def test_a_number_of_cores_or_a_path_in_a_result_shows(workflow, capsys):
    assert twice(workflow(CORES="{threads}", PLACE="`pwd`"), (1, 2)) == 1
    out = capsys.readouterr().out
    assert "cores.csv: line 1: '1' against '2'" in out
    assert "place.csv: line 1: " in out
    assert out.splitlines()[-1].startswith("DIFFERENT: 2 of 3 files")


def test_a_study_that_fails_is_one_line_and_its_log(workflow, capfd):
    with pytest.raises(InputError, match="the study with 1 core failed"):
        twice(workflow(CORES="$(false) && false"), (1, 2))
    assert "returned non-zero exit status" in capfd.readouterr().err


def test_a_missing_configuration_is_named(workflow):
    workflow()
    with pytest.raises(InputError, match=r"config/none\.yaml: no such file"):
        twice(["config/none.yaml"], (1, 2))


def test_files_that_one_folder_lacks_are_named(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "out/latency").mkdir(parents=True)
        (tmp_path / folder / f"out/latency/{folder}.json").write_text(folder)
        (tmp_path / folder / f"out/{folder}.csv").write_text("1\n")
    found = differences(tmp_path / "a/out", tmp_path / "b/out", ["latency/*"])
    assert list(found) == [
        ("a.csv", "only in the first folder"),
        ("b.csv", "only in the second folder"),
    ]


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        (b"a\nb\n", b"a\nc\n", "line 2: 'b' against 'c'"),
        (b"a\n", b"a\nc\n", "line 2: '' against 'c'"),
        (b"a\n", b"a", "byte 1 of 2 and 1"),
        (b"\x89PNG\x00\xff", b"\x89PNG\x01\xff", "byte 4 of 6 and 6"),
    ],
)
def test_the_first_difference_is_a_line_of_text_or_a_byte(one, other, told):
    assert first_difference(one, other) == told
