"""What the committed table of the federation's benchmark says on its pages."""

from pathlib import Path

import pandas as pd

from autoprune.core.files import write_text

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- made by: python benchmarks/federation.py --page -->", "<!-- end -->"
# the page with all rows, and the one with a few of them, by what they are called there
WHOLE, FEW = ROOT / "docs/federation.md", ROOT / "README.md"
ROWS = {
    "loop/28x28 dense compiled": "a CNN's step, 28x28, against torch's gradients",
    "loop/84x84 dense compiled": "a CNN's step, 84x84, against torch's gradients",
    "loop/28x28 resnet compiled": "the ResNet's step, 28x28, against torch's gradients",
    "loop/84x84 resnet compiled": "the ResNet's step, 84x84, against torch's gradients",
    "peers/28x28 dense/BlazeFL threads": "rounds against BlazeFL's threads, our client",
    "peers/28x28 dense/pfl": "rounds against pfl, our client",
    "peers/28x28 dense/Flower": "rounds against Flower's simulation, our client",
    "peers/28x28 dense/Flower tutorial": "rounds against Flower's simulation, its tutorial's",
}


def _table(rows: pd.DataFrame, names: dict[str, str]) -> str:
    lines = ["| measured | A | B | times better | goal | met |", "|---|---|---|---|---|---|"]
    for row in rows.itertuples():
        ratio = "–"
        if row.ratio_median:
            numbers = (float(row.ratio_median), float(row.ratio_min), float(row.ratio_max))
            ratio = "{:.2f} [{:.2f}, {:.2f}]".format(*numbers)
        cells = (
            *(names.get(row.name, row.name), f"{row.median_A} {row.unit}", row.median_B or "–"),
            *(ratio, row.goal, row.met),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def pages(table: pd.DataFrame, whole: str, few: str) -> tuple[str, str]:
    """Both pages' texts with what the table says, all cells of it as text.

    Raises ValueError for a page without the marks or a table without the rows.
    """
    by_name = table.set_index("name", drop=False)
    if lacking := set(ROWS) - set(by_name.index):
        raise ValueError(f"the table has no row {', '.join(sorted(lacking))}")
    return _between(whole, _table(table, {})), _between(few, _table(by_name.loc[list(ROWS)], ROWS))


def _between(text: str, table: str) -> str:
    start = text.index(BEGIN) + len(BEGIN)
    return f"{text[:start]}\n\n{table}\n\n{text[text.index(END, start) :]}"


def write_pages(path: str) -> None:
    """Write the table of a CSV into both pages."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    whole, few = pages(table, WHOLE.read_text(encoding="utf-8"), FEW.read_text(encoding="utf-8"))
    write_text(WHOLE, whole)
    write_text(FEW, few)
