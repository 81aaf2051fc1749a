"""Stage: one table for people, from its CSV: HTML, Markdown and LaTeX."""

import argparse
import csv
from collections.abc import Sequence

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_together
from autoprune.publish import tables
from autoprune.publish.latex import latex_table
from autoprune.publish.table_files import html_page, markdown_table


def read_rows(path: str) -> list[dict[str, str]]:
    """The rows of a CSV file, each cell a text; raises InputError where there is none."""
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; make the table first") from None


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
    rows = read_rows(arguments.csv)
    try:
        shown, notes = table.readable(rows), table.notes(rows)
    except (KeyError, ValueError) as error:
        raise InputError(f"{arguments.csv}: {error}: no such column, or no number") from None
    write_together(
        {
            arguments.html: html_page(shown, table.TITLE, notes, group=table.GROUP),
            arguments.markdown: markdown_table(shown, notes),
            arguments.latex: latex_table(shown, table.TITLE, notes, table.PAPER),
        }
    )


if __name__ == "__main__":
    run_main(main)
