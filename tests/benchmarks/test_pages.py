"""The pages that have the federation's benchmark say what its committed table says."""

import sys

import pandas as pd
import pytest

from copies import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import bench_page as page

TABLE = ROOT / "benchmarks/federation.csv"


def committed():
    return pd.read_csv(TABLE, dtype=str, keep_default_na=False)


def test_the_pages_say_what_the_committed_table_says():
    texts = [path.read_text(encoding="utf-8") for path in (page.WHOLE, page.FEW)]
    assert page.pages(committed(), *texts) == tuple(texts)


def test_the_readme_has_eight_of_the_rows_at_most_and_the_page_all():
    marks = f"a\n{page.BEGIN}\nold\n{page.END}\nb\n"
    whole, few = page.pages(committed(), marks, marks)
    assert whole.count("\n|") == len(committed()) + 2
    assert few.count("\n|") == 3
    assert few.splitlines()[4].count("[") == len(page.ROWS) <= 8
    assert "old" not in whole + few
    assert page.pages(committed(), whole, few) == (whole, few)


def test_a_table_without_a_row_that_is_shown_is_refused():
    marks = f"{page.BEGIN}\n{page.END}"
    first = next(iter(page.ROWS))
    less = committed().query("name != @first")
    with pytest.raises(ValueError, match=f"the table has no row {first}"):
        page.pages(less, marks, marks)
