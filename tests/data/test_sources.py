"""A source declares its options once: flags, the configuration's check and what is watched."""

import os
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
    assert [name for name in sources.names() if sources.generates(name)] == [
        *("digits", "faces", "glyphs")
    ]


def test_what_is_not_a_source_or_does_not_go_together_is_refused(tmp_path):
    with pytest.raises(WrongValue, match="source: found 'tape'; known are digits, faces"):
        sources.check_options("tape", {})
    with pytest.raises(WrongValue, match="options: leaf needs train and test, or folder alone"):
        sources.check_options("leaf", {"folder": "x", "train": "y"})
    with pytest.raises(InputError, match="leaf needs train and test"):
        main(["leaf", "--name", "x", "--output", str(tmp_path / "out")])
