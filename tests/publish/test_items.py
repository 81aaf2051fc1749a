"""Tables and figures are found by their files, and what a module lacks is named."""

import argparse
import os
from types import SimpleNamespace

import pytest

from autoprune.core import provenance
from autoprune.core.errors import InputError
from autoprune.evidence import tabulate
from autoprune.publish import draw, figures, items, selection, tables
from autoprune.study.grid import read_config
from copies import copy_of_the_repository
from stages import run_stage

INPUTS = 'INPUTS = {"metrics": "<results>/metrics.csv"}\n'
FIGURE = f"'A figure.'\nCATEGORY = 'Data'\n{INPUTS}def draw(metrics): ...\n"
CSV = f"{INPUTS}OPTIONS = ('margin',)\ndef table(metrics, margin=None): ...\n"
TABLE = (
    "'A table.'\nTITLE = 'B'\nCATEGORY = 'Data'\nLABEL = 'b!'\nGROUP = 1\nONLY_WITH = 'map'\n"
    "COLUMNS: list[Column] = [plain('dataset')]\ndef notes(rows): ...\n"
)
WHERE = {"figures": "publish/figures/a.py", "tables": "publish/tables/b.py"}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A maker of modules in a package of their own, which nothing has read before."""
    for module in (provenance, items):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    cached = (items.items, provenance.outline, provenance.modules_with)
    for function in cached:
        function.cache_clear()

    def write(place, text):
        path = tmp_path / "autoprune" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    write("evidence/b.py", CSV)
    yield write
    for function in cached:
        function.cache_clear()


@pytest.mark.parametrize("kind", items.KINDS)
def test_what_the_workflow_reads_is_what_the_module_says(kind):
    load = {"tables": tables.load, "figures": figures.load}[kind]
    for name, item in items.items(kind).items():
        module = load(name)
        assert item.category == module.CATEGORY
        assert item.caption.splitlines()[0] == module.__doc__.splitlines()[0]
        assert all(path.startswith(("<results>/", "config/")) for path in item.inputs.values())


def test_a_figure_is_one_file_and_a_table_two(package):
    package(WHERE["figures"], FIGURE)
    package(WHERE["tables"], TABLE)
    metrics = {"metrics": "<results>/metrics.csv"}
    assert items.items("figures") == {"a": items.Item("a", "Data", "a", "A figure.", metrics)}
    assert items.items("tables") == {"b": items.Item("b", "Data", "b!", "A table.", {}, (), "map")}
    assert items.items("evidence") == {"b": items.Item("b", "", "b", "", metrics, ("margin",))}


WRONG = [  # what stands in a module, what instead, and what is said of it
    ("figures", "'A figure.'", "", "the docstring is missing, which is the caption"),
    ("figures", "'Data'", "'Data'.title()", "CATEGORY must be a literal, which is read without"),
    ("figures", "CATEGORY", "KATEGORY", "CATEGORY is missing"),
    ("figures", "'Data'", "'Speed'", "CATEGORY: found 'Speed', expected Claims, Results, Control"),
    ("figures", "draw", "drawn", "function draw() is missing"),
    ("figures", INPUTS, "INPUTS = ['metrics']\n", "INPUTS: found ['metrics'], expected paths by"),
    ("figures", "draw(metrics)", "draw(rows)", "draw() has no parameter 'metrics', which INPUTS"),
    ("tables", "'A table.'", "", "the docstring is missing, which is the caption"),
    ("tables", "'Data'", "'Speed'", "CATEGORY: found 'Speed', expected Claims, Results, Control"),
    ("tables", "GROUP = 1", "GROUP = 'x'", "GROUP: found 'x', expected a whole number"),
    ("tables", "TITLE", "HEADING", "TITLE is missing"),
    ("tables", "notes", "note", "function notes() is missing"),
    ("tables", "COLUMNS", "COLS", "COLUMNS is missing"),
    ("tables", "'b!'", "3", "LABEL: found 3, expected text"),
    ("evidence", INPUTS, "", "INPUTS is missing"),
    ("evidence", "'margin'", "'speed'", "OPTIONS: found 'speed', expected reference, margin, abl"),
    ("evidence", "metrics,", "rows,", "table() has no parameter 'metrics', which INPUTS names"),
]


@pytest.mark.parametrize(("kind", "old", "new", "message"), WRONG)
def test_what_a_module_lacks_or_has_wrong_is_one_line(package, kind, old, new, message):
    text = {"figures": FIGURE, "tables": TABLE, "evidence": CSV}[kind]
    place = WHERE.get(kind, "evidence/b.py")
    assert old in text
    package(place, text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        items.items(kind)
    assert message in str(caught.value)
    assert f"autoprune/{place}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_without_its_csv_and_what_is_no_python_are_one_line(package):
    package(WHERE["tables"], TABLE)
    package("evidence/b.py", "def tables(): ...\n")
    with pytest.raises(
        InputError, match=r"tables/b\.py: no .*evidence/b\.py with a function table"
    ):
        items.items("tables")
    package(WHERE["figures"], f"{FIGURE}if\n")
    with pytest.raises(
        InputError, match=r"autoprune/publish/figures/a\.py, line 5: invalid syntax"
    ):
        items.items("figures")


def test_every_option_has_a_flag():
    parser = argparse.ArgumentParser()
    asking = SimpleNamespace(INPUTS={}, OPTIONS=items.OPTIONS, table=print)
    tabulate.add_flags(parser, asking)
    assert {*vars(parser.parse_args([]))} == {*items.OPTIONS}


def test_a_csv_of_a_figure_alone_is_made_by_a_rule(tmp_path):
    """Two files, and a flag of two words: evidence makes the CSV, no table shows it."""
    folder = copy_of_the_repository(tmp_path / "copy")
    package = folder / "workflow/autoprune"
    (package / "evidence/payload_ends.py").write_text(CSV)
    figure = FIGURE.replace("metrics", "payload_ends").replace("results>", "results>/tables")
    (package / "publish/figures/payload.py").write_text(figure)
    words = ["-n", "-p", "results/ci/figures/payload.svg", "--configfile", "config/ci.yaml"]
    told = {"cwd": folder, "env": os.environ | {"PYTHONPATH": "workflow"}}
    done = run_stage("snakemake", *words, **told)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "autoprune.evidence.tabulate payload_ends" in done.stdout
    assert "--payload-ends results/ci/tables/payload_ends.csv" in done.stdout
    words = ["payload", "--payload-ends=x", "--svg=x", "--pdf=x"]
    done = run_stage("autoprune.publish.draw", *words, **told)
    assert done.stderr == (
        "error: workflow/autoprune/publish/figures/payload.py: draw() returned NoneType, expected "
        "a Figure of matplotlib\n"
    )


@pytest.fixture
def settings(root, monkeypatch):
    """Read before ``package`` has a package of its own."""
    monkeypatch.chdir(root)
    return read_config()


def test_only_with_what_a_study_can_have(settings, package):
    package(WHERE["figures"], f"{FIGURE}ONLY_WITH = 'luck'\n")
    with pytest.raises(InputError, match=r"a\.py: ONLY_WITH: found 'luck', expected reference or"):
        selection.selected(settings, "figures")


def test_a_table_is_given_only_options_that_there_are(monkeypatch):
    from autoprune.evidence import results

    monkeypatch.setattr(results, "OPTIONS", ("speed",), raising=False)
    with pytest.raises(InputError, match="OPTIONS: found 'speed', expected reference, margin"):
        tabulate.main(["results", "--metrics", "m.csv", "--csv", "r.csv"])


def test_a_table_that_returns_no_frame_is_one_line(monkeypatch, tmp_path):
    from autoprune.evidence import partition

    monkeypatch.setattr(partition, "table", lambda partitions: [{"clients": 3}])
    with pytest.raises(
        InputError, match=r"partition\.py: table\(\) returned list, expected a Data"
    ):
        tabulate.main(["partition", "--partitions", "p.json", "--csv", str(tmp_path / "p.csv")])
    assert not [*tmp_path.iterdir()]


def test_help_names_what_there_is_and_an_unknown_figure_is_one_line(capsys):
    for main, known in ((tabulate.main, "partition"), (draw.main, "kept_similarity")):
        with pytest.raises(SystemExit) as ended:
            main(["--help"])
        assert ended.value.code == 0
        assert known in capsys.readouterr().out
    for main, kind, of in ((draw.main, "figure", "figures"), (tabulate.main, "table", "evidence")):
        with pytest.raises(InputError) as caught:  # whatever flags it was given
            main(["moon", "--metrics", "m.csv"])
        known = ", ".join(items.items(of))
        assert str(caught.value) == f"{kind}: unknown 'moon'; known are {known}"
