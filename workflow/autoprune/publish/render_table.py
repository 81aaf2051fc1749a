"""Stage: one table for people, from its CSV: HTML, Markdown and LaTeX."""

import argparse
from collections.abc import Sequence

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import write_together
from autoprune.publish import tables
from autoprune.publish.table_files import add_readable_flags, readable_files


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", help="its name: a module of autoprune.publish.tables")
    parser.add_argument("--csv", required=True, help="the table's raw numbers")
    add_readable_flags(parser)
    arguments = parser.parse_args(argv)
    table = tables.load(arguments.table)
    rows = tables.read_rows(arguments.csv)
    try:
        shown, notes = table.readable(rows), table.notes(rows)
    except (KeyError, ValueError) as error:
        raise InputError(f"{arguments.csv}: {error}: no such column, or no number") from None
    look = {"group": table.GROUP, "paper": table.PAPER}
    write_together(readable_files(arguments, shown, table.TITLE, notes, **look))


if __name__ == "__main__":
    run_main(main)
