"""A source declares its options once: flags, the configuration's check and what is watched."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field, model_validator

from autoprune.core.block import Block
from autoprune.core.errors import InputError
from autoprune.core.options import WrongValue, add_flags, from_flags, read
from autoprune.data.prepare import sources
from autoprune.data.prepare.__main__ import main

WORKFLOW = Path(__file__).parents[2] / "workflow"
HEAVY = ["torch", "torchvision", "pandas", "pyarrow", "PIL", "scipy", "sklearn", "datasets"]


class Example(Block):
    """Every kind of option."""

    place: Path = Field(description="A place.")
    share: float = Field(0.5, gt=0, lt=1, description="100 % of something.")
    kind: Literal["a", "b"] = Field("a", description="Which.")
    level: Literal[1, 3] = Field(1, description="How many.")
    ends: tuple[int, int] | None = Field(None, description="From, to.")
    names: list[str] | None = Field(None, min_length=1, description="Some names.")
    plain: bool = Field(False, description="Or not.")

    @model_validator(mode="after")
    def _ends(self):
        if self.plain and self.ends:
            raise ValueError("plain and ends exclude each other")
        return self


def parsed(*words):
    import argparse

    parser = argparse.ArgumentParser()
    add_flags(parser, Example)
    return from_flags(Example, parser.parse_args([*map(str, words)]))


def test_flags_and_configuration_give_the_same_options():
    words = ["--place", "x", "--share", 0.25, "--kind", "b", "--level", 3, "--ends", 1, 2]
    found = parsed(*words, "--names", "one", "two")
    values = {"place": "x", "share": 0.25, "kind": "b", "level": 3, "ends": [1, 2]}
    assert found == read(Example, {**values, "names": ["one", "two"]})
    assert parsed("--place", "x") == read(Example, {"place": "x"})
    assert parsed("--place", "x", "--plain").plain


WRONG = {
    "unknown": ({"colour": 1}, "colour: unknown key 'colour'; known are place, share"),
    "missing": ({"place": None}, "place: found nothing, expected text"),
    "choice": ({"kind": "c"}, "kind: found 'c'; known are a, b"),
    "number": ({"level": 2}, "level: found 2; known are 1, 3"),
    "text": ({"share": "1e-1"}, "found '1e-1', expected a number .YAML wants a dot: 1.0e-01."),
    "bound": ({"share": 1}, "share: found 1, expected a number below 1"),
    "infinite": ({"share": float("inf")}, "share: .* finite number"),
    "whole": ({"ends": [1, 2.5]}, "ends.1: found 2.5, expected a whole number"),
    "few": ({"ends": [1]}, "ends: found 1 entries, expected 2 or more"),
    "none": ({"names": []}, "names: found 0 entries, expected 1 or more"),
    "list": ({"names": "one"}, "names: found 'one', expected a list"),
    "flag": ({"plain": "yes"}, "plain: found 'yes', expected true or false"),
    "together": ({"plain": True, "ends": [1, 2]}, "^plain and ends exclude each other$"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_value_is_refused_with_its_key(case):
    values, message = WRONG[case]
    with pytest.raises(WrongValue, match=message) as caught:
        read(Example, {"place": "x", **values})
    assert "\n" not in str(caught.value)
    with pytest.raises(WrongValue, match="key 'place' is missing"):
        read(Example, {})


def test_a_wrong_flag_is_named():
    with pytest.raises(InputError, match="--share: found '2', expected a number below 1"):
        parsed("--place", "x", "--share", 2)


@pytest.mark.parametrize("name", sources.names())
def test_every_option_is_described(name):
    fields = sources.load(name).Options.model_fields
    assert "seed" in fields
    assert all((field.description or "").endswith(".") for field in fields.values())


def test_checking_options_imports_nothing_that_is_slow():
    code = (
        "import sys\nfrom autoprune.data.prepare import sources\n"
        "for name in sources.names():\n    sources.load(name)\n"
        "sources.check_options('leaf', {'folder': 'x'})\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(WORKFLOW)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_what_is_read_is_watched(tmp_path):
    for name in ("a.json", "deep/b.json", "notes.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    options = {"folder": str(tmp_path)}
    assert sources.places("leaf", options) == {"folder": tmp_path}
    watched = sources.files_read("leaf", options)
    assert watched == [str(tmp_path / name) for name in ("a.json", "deep/b.json")]
    assert sources.files_read("table", {"table": str(tmp_path / "notes.md")}) == []
    assert all(sources.generates(name) for name in ("digits", "faces", "glyphs"))
    assert not any(sources.generates(name) for name in ("folder", "leaf", "table", "tff"))


def test_what_is_not_a_source_or_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(WrongValue, match=r"source: found 'tape'; known are .*digits, .*glyphs"):
        sources.check_options("tape", {})
    with pytest.raises(WrongValue, match="options: leaf needs train and test, or folder alone"):
        sources.check_options("leaf", {"folder": "x", "train": "y"})
    with pytest.raises(InputError, match="leaf needs train and test"):
        main(["leaf", "--name", "x", "--output", str(tmp_path / "out")])


MINE = """'A source.'

import numpy as np
from autoprune.data.prepare import sources

KIND = "real"


class Options(sources.Split):
    "What may be set."


def prepare(options, processes=1):
    rows = np.arange(40)
    return sources.by_client(
        options,
        images=np.tile(rows.astype("uint8"), (1, 6, 6, 1)).T,
        labels=rows[:, None] % 4,
        clients=rows % 2,
        client_ids=["a", "b"],
        targets=[{"name": "label", "classes": ["0", "1", "2", "3"]}],
        polarity="light-on-dark",
        kind=KIND,
    )
"""
WRONG_SOURCES = [  # what stands in a source, what instead, and what is said of it
    ("'A source.'", "", r"mine\.py: a docstring is missing; see autoprune\.data\.prepare\.sources"),
    ("KIND =", "SORT =", r"mine\.py: KIND is missing"),
    ("class Options", "class Settings", r"mine\.py: Options is missing"),
    ("def prepare", "def prepared", r"mine\.py: prepare is missing"),
    ("def prepare", "define prepare", r"mine\.py, line 13: invalid syntax"),
    (
        "sources.Split",
        "sources.Counted",
        "by_client: options: found no test_fraction, expected sou",
    ),
    (
        "rows[:, None] % 4",
        "rows % 4",
        r"found shape \(40,\), expected \(40, 1\): a column a target",
    ),
    ("rows[:, None] %", "rows[:, None] //", "labels of 'label': found numbers 0 to 9, expected 0 "),
    ('"uint8"', "float", "images: found float64, expected uint8"),
    ("(1, 6, 6, 1)", "(6, 6, 1)", r"images: found shape \(40, 6, 6\), expected \(N, height, width"),
    ('"real"', '"made-up"', "source mine: kind: found 'made-up', expected real or stand-in"),
    (
        '"light-on-dark"',
        '"bright"',
        "polarity: found 'bright', expected dark-on-light or light-on-",
    ),
]


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A source beside the others, of a given text; how it is prepared."""
    monkeypatch.setattr(sources, "__path__", [*sources.__path__, str(tmp_path)])

    def prepare(text):
        (tmp_path / "mine.py").write_text(text)
        sys.modules.pop("autoprune.data.prepare.sources.mine", None)
        main(["mine", "--name", "x", "--output", str(tmp_path / "out")])

    yield prepare
    sys.modules.pop("autoprune.data.prepare.sources.mine", None)


def test_a_source_is_one_file(mine, tmp_path):
    mine(MINE)
    assert (tmp_path / "out/header.json").is_file()


@pytest.mark.parametrize(("old", "new", "message"), WRONG_SOURCES)
def test_what_a_source_lacks_or_has_wrong_is_one_line(mine, tmp_path, capsys, old, new, message):
    assert old in MINE
    with pytest.raises(InputError) as caught:
        mine(MINE.replace(old, new))
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):  # the others are not in its way
        main(["digits", "--help"])
    assert "--test-fraction" in capsys.readouterr().out
