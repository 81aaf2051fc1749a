"""Stage: one table for people, from its CSV: HTML, Markdown and LaTeX."""

import argparse
import re
from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from autoprune.core.errors import InputError, run_main, shown
from autoprune.core.files import write_together
from autoprune.publish import tables
from autoprune.publish.latex import BOLD, latex_table
from autoprune.publish.page import table_page

ACTS = re.compile(r"\||<(?=[A-Za-z/!?])|\](?=\()")


def markdown_table(frame: pd.DataFrame, notes: Sequence[str]) -> str:
    """A table of text in GitHub's Markdown, the notes below it."""
    # A bar would end the cell, a tag or a link would act; numbers are text and stay as they are.
    cells = [
        [ACTS.sub(r"\\\g<0>", BOLD.sub(r"**\1**", value)) for value in row]
        for row in frame.itertuples(index=False)
    ]
    table = tabulate(cells, headers=list(frame.columns), tablefmt="github", disable_numparse=True)
    return table + "\n" + "".join(f"\n{note}\n" for note in notes)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="its name: a module of autoprune.publish.tables")
    parser.add_argument("--csv", required=True, help="the table's raw numbers")
    parser.add_argument("--html", required=True, help="output: readable, self-contained")
    parser.add_argument("--markdown", required=True, help="output: readable")
    parser.add_argument("--latex", required=True, help="output: for papers, to \\input")
    arguments = parser.parse_args(argv)
    table = tables.load(arguments.table)
    rows = tables.read_rows(arguments.csv)
    try:
        texts, notes = tables.readable(table, rows).map(shown), tables.notes(table, rows)
    except (KeyError, ValueError) as error:
        raise InputError(f"{arguments.csv}: {error}: no such column, or no number") from None
    paper = {t: c.paper for t, c in zip(texts.columns, table.COLUMNS, strict=True)}
    write_together(
        {
            arguments.html: table_page(texts, table.TITLE, notes, table.GROUP),
            arguments.markdown: markdown_table(texts, notes),
            arguments.latex: latex_table(texts, table.TITLE, notes, paper),
        }
    )


if __name__ == "__main__":
    run_main(main)
