"""The growth of a round: its fits, its page, and a quick run of the whole."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from copies import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import growth
from bench_page import END

TABLE = ROOT / "benchmarks/growth.csv"


def made(noise=0.0):
    """A table by laws: time as the cohort, memory as the parameters, nothing as the partition."""
    stream = np.random.default_rng(0)
    rows = []
    for axis, sizes in (
        ("partition", [10, 100, 1000]),
        ("cohort", [10, 30, 100, 300]),
        ("parameters", [10**4, 10**5, 10**6, 10**7]),
    ):
        for workers in (1, 2) if axis == "cohort" else (1,):
            for size in sizes:
                row = {"axis": axis, "workers": workers}
                row |= {"partition": 1000, "cohort": 10, "parameters": 10**4, axis: size}
                row["seconds"] = 0.01 * row["cohort"] * np.exp(stream.normal(0, noise))
                row["megabytes"] = 3e-5 * row["parameters"] ** 0.8
                rows.append(row)
    return pd.DataFrame(rows)


def test_a_power_law_is_found():
    fits = {
        (axis, value): growth.fit(rows, axis, value)
        for axis, _, rows in growth.lines(made())
        for value in growth.VALUES
    }
    expected = {("cohort", "seconds"): 1, ("parameters", "megabytes"): 0.8}
    for key, law in fits.items():
        assert law.exponent == pytest.approx(expected.get(key, 0), abs=1e-9)
        assert law.error == pytest.approx(0, abs=1e-9)


def test_the_standard_error_covers_the_law():
    """Of noise of a tenth each exponent is within four of its errors, and none is certain."""
    for axis, _, rows in growth.lines(made(0.1)):
        law = growth.fit(rows, axis, "seconds")
        assert 0 < law.error < 0.3
        assert abs(law.exponent - (axis == "cohort")) < 4 * law.error


@pytest.mark.parametrize(
    ("law", "words"), [((0.9261, 0.0021), "0.926 ± 0.002"), ((0.02, 0.061), "0.02 ± 0.06")]
)
def test_an_exponent_has_the_digits_that_its_error_leaves(law, words):
    assert growth.Fit(*law, 0.0).words() == words


def test_the_page_is_made_anew_and_then_stands():
    text = f"before\n{growth.BEGIN}\nold\n{END}\nafter\n"
    once = growth.page(made(), text)
    assert growth.page(made(), once) == once
    assert "old" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert "clients a round, 2 workers | 10 to 300" in once
    with pytest.raises(ValueError, match="substring not found"):
        growth.page(made(), "no marks")


@pytest.mark.skipif(not TABLE.exists(), reason="python benchmarks/growth.py makes the table")
def test_the_page_says_what_the_committed_table_says():
    text = growth.PAGE.read_text(encoding="utf-8")
    assert growth.page(pd.read_csv(TABLE), text) == text


@pytest.mark.long
def test_a_quick_run_measures_every_axis(tmp_path):
    output = tmp_path / "growth"
    command = [sys.executable, ROOT / "benchmarks/growth.py", "--quick", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(output.with_suffix(".csv"))
    assert {(axis, workers) for axis, workers, _ in growth.lines(table)} == {
        ("partition", 1), ("cohort", 1), ("cohort", 2), ("parameters", 1)
    }  # fmt: skip
    assert (table["seconds"] > 0).all()
    assert "A quick run: the numbers mean nothing." in output.with_suffix(".md").read_text()
    assert all(output.with_suffix(kind).stat().st_size for kind in (".svg", ".png"))
