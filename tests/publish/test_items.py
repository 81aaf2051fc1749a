"""Tables and figures are found by their files, and what a module lacks is named."""

import pytest

from autoprune.core import provenance
from autoprune.core.errors import InputError
from autoprune.evidence import tabulate
from autoprune.publish import draw, figures, items, selection, tables
from autoprune.study.grid import read_config


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A maker of modules in a package of their own, which nothing has read before."""
    for module in (provenance, items):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for function in (items.items, provenance.literals):
        function.cache_clear()

    def write(place, text):
        path = tmp_path / "autoprune" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    yield write
    for function in (items.items, provenance.literals):
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
    package("publish/figures/a.py", '"""A figure."""\nCATEGORY = "X"\nINPUTS = {"m": "<m>"}\n')
    package("publish/tables/b.py", 'CATEGORY = "Y"\nLABEL = "b!"\nONLY_WITH = "map"\n')
    package("evidence/b.py", 'INPUTS = {"n": "<n>"}\nOPTIONS = ("margin",)\n')
    assert items.items("figures") == {"a": items.Item("a", "X", "a", "A figure.", {"m": "<m>"})}
    made = items.Item("b", "Y", "b!", "", {"n": "<n>"}, ("margin",), "map")
    assert items.items("tables") == {"b": made}


def test_a_literal_that_is_missing_is_named(package):
    package("publish/figures/a.py", 'CATEGORY = "X".lower()\n')
    with pytest.raises(InputError, match=r"^autoprune\.publish\.figures\.a: CATEGORY is missing"):
        items.items("figures")
    package("publish/tables/b.py", 'CATEGORY = "Y"\n')
    with pytest.raises(InputError, match=r"^autoprune\.evidence\.b: no such module"):
        items.items("tables")
    package("evidence/b.py", "")
    with pytest.raises(InputError, match=r"^autoprune\.evidence\.b: INPUTS is missing"):
        items.items("tables")


def test_only_with_what_a_study_can_have(package, root, monkeypatch):
    package("publish/figures/a.py", 'CATEGORY = "X"\nINPUTS = {"m": ""}\nONLY_WITH = "luck"\n')
    monkeypatch.chdir(root)
    with pytest.raises(InputError, match=r"a\.py: ONLY_WITH: found 'luck', expected reference or"):
        selection.selected(read_config(), "figures")


def test_a_table_is_given_only_options_that_there_are(monkeypatch):
    from autoprune.evidence import results

    monkeypatch.setattr(results, "OPTIONS", ("speed",), raising=False)
    with pytest.raises(InputError, match="OPTIONS: found 'speed', expected reference, margin"):
        tabulate.main(["results", "--metrics", "m.csv", "--csv", "r.csv"])


def test_help_names_what_there_is_and_an_unknown_figure_is_one_line(capsys):
    for main, known in ((tabulate.main, "partition"), (draw.main, "kept_similarity")):
        with pytest.raises(SystemExit) as ended:
            main(["--help"])
        assert ended.value.code == 0
        assert known in capsys.readouterr().out
    with pytest.raises(InputError, match=r"^figure: unknown 'moon'; known are accuracy_against_b"):
        draw.main(["moon", "--svg", "f.svg", "--pdf", "f.pdf"])
