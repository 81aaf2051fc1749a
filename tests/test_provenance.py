"""Code versions: what changes them and what does not; and the helpers everything stands on."""

import json
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from autoprune.core import provenance, seeds
from autoprune.core.errors import InputError
from autoprune.core.files import read_json, whole_file, write_json


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package of the same name: stage -> helper, and a bystander."""
    folder = tmp_path / "autoprune"
    (folder / "sub").mkdir(parents=True)
    (folder / "__init__.py").write_text('"""Package."""\n')
    (folder / "sub" / "__init__.py").write_text("")
    (folder / "sub" / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "bystander.py").write_text("x = 1\n")
    (folder / "stage.py").write_text(
        "import math\n\ndef run():\n    from autoprune.sub import helper\n\n"
        "    return helper.double(math.pi)\n"
    )
    monkeypatch.setattr(provenance, "ROOT", tmp_path)

    def version():
        provenance.code_version.cache_clear()
        return provenance.code_version("autoprune.stage")

    yield folder, version
    provenance.code_version.cache_clear()


def test_comments_layout_and_docstrings_do_not_count(package):
    folder, version = package
    before = version()
    (folder / "sub" / "helper.py").write_text(
        '"""New."""\n\n\n# a remark\ndef double(x):\n    """Twice."""\n    return (2 * x)  # two\n'
    )
    assert version() == before


WORDED = """
import logging, sys
def run(parser, log, stream):
    parser.add_argument("--k", type=float, default=2.2, help="half-width")
    k: float = Field(2.0, gt=0, description="of the boundaries")
    print(f"round {1:.4f}", file=sys.stderr, flush=True)
    log.info("k is %s", 2)
    if not parser:
        raise ValueError("k: found nothing, expected a number")
    return 2
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("half-width", "the boundaries' half-width"),
        ("of the boundaries", "of both boundaries, standard deviations"),
        ("{1:.4f}", "{1:.2f}"),
        ("k is %s", "now k = %s"),
        ("expected a number", "expected a number above 0"),
        ('type=float, default=2.2, help="half-width"', "type=float, default=2.2"),
    ],
)
def test_wording_does_not_count(package, before, after):
    folder, version = package
    (folder / "sub" / "helper.py").write_text(WORDED)
    known = version()
    assert before in WORDED
    (folder / "sub" / "helper.py").write_text(WORDED.replace(before, after))
    assert version() == known


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("default=2.2", "default=2.3"),
        ("Field(2.0", "Field(2.1"),
        ("ValueError", "KeyError"),
        ("if not parser", "if parser"),
        ("file=sys.stderr", "file=stream"),  # may be a result
        ('print(f"round {1:.4f}", file=sys.stderr, flush=True)', "print_all()"),
        ("return 2", 'return "help"'),
    ],
)
def test_what_decides_counts(package, before, after):
    folder, version = package
    (folder / "sub" / "helper.py").write_text(WORDED)
    known = version()
    assert before in WORDED
    (folder / "sub" / "helper.py").write_text(WORDED.replace(before, after))
    assert version() != known


def test_what_a_method_says_of_itself_counts_where_it_is_read_and_not_where_it_trains(package):
    folder, _ = package
    (folder / "methods").mkdir()
    (folder / "core").mkdir()
    for room in ("methods", "core"):
        (folder / room / "__init__.py").write_text("")
    (folder / "core" / "labels.py").write_text("")
    (folder / "core" / "refusal.py").write_text("def refuse(x):\n    return f'{x} is wrong'\n")
    (folder / "table.py").write_text("from autoprune.core import labels\n")
    method = folder / "methods" / "mine.py"
    method.write_text("import autoprune.core.refusal\nclass Method:\n    labels = {'a': 'A'}\n")

    def versions():
        for cached in (provenance.code_version, provenance.declared, provenance.modules_with):
            cached.cache_clear()
        names = ("autoprune.methods.mine", "autoprune.table", "autoprune.stage")
        return [provenance.code_version(name) for name in names]

    before = versions()
    method.write_text(method.read_text().replace("'A'", "'the A'"))
    (folder / "core" / "refusal.py").write_text("def refuse(x):\n    return f'{x}: no'\n")
    after = versions()
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True]
    found = {after[0]}
    for label in ("A", "B"):  # what a function calls so is no word of the class
        method.write_text(method.read_text() + f"    def cut(self):\n        labels = '{label}'\n")
        found.add(versions()[0])
    assert len(found) == 3


def test_an_exit_code_counts_and_a_print_into_a_file_is_kept(package):
    folder, version = package
    versions = set()
    exits = ("raise SystemExit(2)", "raise SystemExit(3)")
    for text in (*exits, "print(1, file=f)", "print(2, file=f)"):
        (folder / "sub" / "helper.py").write_text(f"def run(f):\n    {text}\n")
        versions.add(version())
    assert len(versions) == 4


def test_a_helper_imported_inside_a_function_counts(package):
    folder, version = package
    before = version()
    (folder / "sub" / "helper.py").write_text("def double(x):\n    return 2.0 * x\n")
    assert version() != before


def test_what_is_not_imported_does_not_count(package):
    folder, version = package
    before = version()
    (folder / "bystander.py").write_text("x = 2\n")
    assert version() == before


def test_an_init_on_the_way_counts(package):
    folder, version = package
    before = version()
    (folder / "sub" / "__init__.py").write_text("FLAG = 1\n")
    assert version() != before


def test_an_unknown_module_is_refused(package):
    with pytest.raises(InputError, match=r"autoprune\.nothing: no such module"):
        provenance.code_version("autoprune.nothing")


def test_the_real_stages_have_versions_of_their_own():
    """Publishing does not depend on torch code, nor the dense baseline on the pruning rule."""
    closure = provenance.closure("autoprune.federation.__main__", "autoprune.methods.dense")
    assert "autoprune.federation.client_app" in closure
    assert not any(name.startswith("autoprune.pruning") for name in closure)
    for stage in ("measure.metrics", "evidence.results", "evidence.claims", "publish.draw"):
        names = provenance.closure(f"autoprune.{stage}")
        federation = {name for name in names if name.startswith("autoprune.federation")}
        # the records of a round and of its replies say which columns a history has, the settings
        # under which names metrics have them
        known = ("", ".history", ".replies", ".settings", ".chosen")
        assert federation <= {f"autoprune.federation{of}" for of in known}


def test_versions_name_no_host_or_path():
    text = json.dumps(provenance.versions())
    assert set(provenance.versions()) >= {"python", "torch", "flwr", "numpy", "cpu"}
    assert "/" not in re.sub(r"\(R\)|[0-9.]+/", "", provenance.versions()["torch"]), text


def test_streams_are_the_same_in_another_process():
    """Python's salted hash must have no part in them."""
    code = (
        "from autoprune.core.seeds import generator; print(generator(1, 'client', 2, 3).random())"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert float(other.stdout) == seeds.generator(1, "client", 2, 3).random()
    assert seeds.generator(1, "cohort", 2, 3).random() != float(other.stdout)


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    with suppress(RuntimeError), whole_file(path) as scratch:
        scratch.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="nan"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}


def test_a_broken_json_file_is_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"x\.json: not valid JSON"):
        read_json(path)
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path / "y.json")
