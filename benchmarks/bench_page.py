"""What benchmarks' committed tables say on pages, between marks."""

from pathlib import Path

import pandas as pd
from tabulate import tabulate

from autoprune.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- made by: python benchmarks/federation.py --page -->", "<!-- end -->"
# the page with all rows, and the one with a few of them, beside each other, by their names there
WHOLE, FEW = ROOT / "docs/federation.md", ROOT / "README.md"
ROWS = {
    "loop/28x28 dense compiled": "torch's step of a CNN at 28x28",
    "loop/84x84 dense compiled": "84x84",
    "loop/28x28 resnet compiled": "of the ResNet at 28x28",
    "loop/84x84 resnet compiled": "84x84",
    "peers/28x28 dense/BlazeFL threads": "BlazeFL's round",
    "peers/28x28 dense/pfl": "pfl's",
    "peers/28x28 dense/Flower": "Flower's",
    "peers/28x28 dense/Flower tutorial": "by its tutorial's client",
}


def _ratio(row: "pd.Series[str]") -> str:
    if not row["ratio_median"]:
        return "–"
    numbers = [float(row[name]) for name in ("ratio_median", "ratio_min", "ratio_max")]
    return "{:.2f} [{:.2f}, {:.2f}]".format(*numbers)


def _table(rows: list[list[str]], header: list[str]) -> str:
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def _rows(table: pd.DataFrame) -> str:
    rows = []
    for _, row in table.iterrows():
        of_a, of_b = f"{row['median_A']} {row['unit']}", row["median_B"] or "–"
        rows.append([row["name"], of_a, of_b, _ratio(row), row["goal"], row["met"]])
    return _table(rows, ["measured", "A", "B", "times better", "goal", "met"])


def _columns(by_name: pd.DataFrame) -> str:
    ratios = [_ratio(by_name.loc[name]) for name in ROWS]
    header = ["[times as fast](docs/federation.md#speed) as", *ROWS.values()]
    return _table([["side by side", *ratios]], header)


def pages(table: pd.DataFrame, whole: str, few: str) -> tuple[str, str]:
    """Both pages' texts with what the table says, all cells of it as text.

    Raises ValueError for a page without the marks or a table without the rows.
    """
    by_name = table.set_index("name", drop=False)
    if lacking := set(ROWS) - set(by_name.index):
        raise ValueError(f"the table has no row {', '.join(sorted(lacking))}")
    return between(whole, BEGIN, _rows(table)), between(few, BEGIN, _columns(by_name))


def between(text: str, begin: str, made: str) -> str:
    """A page's text with what was ``made`` from this mark to the next END.

    Raises ValueError for a text without them.
    """
    start = text.index(begin) + len(begin)
    return f"{text[:start]}\n{made}\n{text[text.index(END, start) :]}"


def write_pages(path: str) -> None:
    """Write the table of a CSV into both pages."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    whole, few = pages(table, WHOLE.read_text(encoding="utf-8"), FEW.read_text(encoding="utf-8"))
    write_text(WHOLE, whole)
    write_text(FEW, few)
