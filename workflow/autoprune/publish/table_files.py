"""A table's files: raw as CSV, readable as HTML, Markdown and LaTeX."""

import argparse
import html
import re
from collections.abc import Sequence

import pandas as pd
from tabulate import tabulate

from autoprune.core.files import write_together
from autoprune.core.labels import MINUS
from autoprune.measure.table import to_csv
from autoprune.publish.latex import BOLD, Paper, latex_table

CSS = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #ffffff; --rule: #c9c9c9;
  --soft: #f3f4f6; --good: #10633b; --bad: #9b2c14; --open: #5c5c5c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --paper: #17191c; --rule: #464a50;
  --soft: #22262b; --good: #7fd6a5; --bad: #ffa38f; --open: #b5b5b5; } }
body { margin: 1.5rem; color: var(--ink); background: var(--paper);
  font: 13px/1.4 system-ui, sans-serif; }
h1 { font-size: 1.25rem; } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .55rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--rule); }
th { border-bottom: 2px solid var(--ink); background: var(--soft); white-space: nowrap; }
td { min-width: 4.5rem; max-width: 26rem; } td.long { min-width: 15rem; }
td.medium { min-width: 9rem; } td.number { text-align: right; white-space: nowrap; }
tr.group td { border-top: 2px solid var(--rule); }
td.holds { color: var(--good); font-weight: 600; }
td.does-not-hold { color: var(--bad); font-weight: 600; }
td.not-tested, td.not-resolved, td.depends-on-training-rounds,
td.not-tested-at-the-paper-s-size { color: var(--open); font-style: italic; }
p.note { max-width: 60rem; color: var(--open); margin: .4rem 0; }
""".strip()
VERDICTS = (
    *("holds", "does not hold", "not tested", "not resolved"),
    *("depends on training rounds", "not tested at the paper's size"),
)


def verdict_class(verdict: str) -> str:
    """The CSS class of a verdict."""
    return re.sub("[^a-z]+", "-", verdict)


def html_page(frame: pd.DataFrame, title: str, notes: Sequence[str], group: int = 1) -> str:
    """A self-contained HTML page with one table; a line is drawn where the first ``group``
    columns change."""

    def cell(value: str) -> str:
        css = ""
        bold = BOLD.fullmatch(value)
        plain = bold.group(1) if bold else value
        if value in VERDICTS:
            css = f' class="{verdict_class(value)}"'
        elif plain[:1].isdigit() or plain[:1] in ("+", MINUS, "–"):
            css = ' class="number"'
        elif len(value) > 14:  # a sentence gets room, so that rows stay low
            css = ' class="long"' if len(value) > 40 else ' class="medium"'
        text = f"<b>{html.escape(plain)}</b>" if bold else html.escape(value)
        return f"<td{css}>{text}</td>"

    rows, before = [], None
    for values in frame.itertuples(index=False):
        now = values[:group]
        css = ' class="group"' if before not in (None, now) else ""
        before = now
        rows.append(f"<tr{css}>{''.join(map(cell, values))}</tr>")
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in frame.columns)
    below = "\n".join(f'<p class="note">{html.escape(note)}</p>' for note in notes)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{CSS}\n</style>\n</head>\n<body>\n"
        f'<h1>{html.escape(title)}</h1>\n<div class="scroll"><table>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n" + "\n".join(rows) + "\n</tbody>\n"
        f"</table></div>\n{below}\n</body>\n</html>\n"
    )


def markdown_table(frame: pd.DataFrame, notes: Sequence[str]) -> str:
    """The same table in GitHub's Markdown, the notes below it."""
    # A bar would end the cell; numbers are text already and must stay as they are.
    cells = [
        [BOLD.sub(r"**\1**", value.replace("|", "\\|")) for value in row]
        for row in frame.itertuples(index=False)
    ]
    table = tabulate(cells, headers=list(frame.columns), tablefmt="github", disable_numparse=True)
    return table + "\n" + "".join(f"\n{note}\n" for note in notes)


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name the files of ``write_table``."""
    parser.add_argument("--csv", required=True, help="output: raw numbers")
    add_readable_flags(parser)


def add_readable_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name the files of ``readable_files``."""
    parser.add_argument("--html", required=True, help="output: readable, self-contained")
    parser.add_argument("--markdown", required=True, help="output: readable")
    parser.add_argument("--latex", required=True, help="output: for papers, to \\input")


def write_table(
    files: argparse.Namespace,
    raw: pd.DataFrame,
    readable: pd.DataFrame,
    title: str,
    notes: Sequence[str],
    *,
    group: int = 1,
    paper: Paper | None = None,
) -> None:
    """Write a table as the four files of ``add_table_flags``, all or none; see readable_files."""
    texts = readable_files(files, readable, title, notes, group=group, paper=paper)
    write_together({files.csv: to_csv(raw), **texts})


def readable_files(
    files: argparse.Namespace,
    readable: pd.DataFrame,
    title: str,
    notes: Sequence[str],
    *,
    group: int = 1,
    paper: Paper | None = None,
) -> dict[str, str]:
    """A table's texts for people, by the files of ``add_readable_flags``.

    ``readable`` holds text, in which <b></b> around a whole cell makes it bold.
    """
    return {
        files.html: html_page(readable, title, notes, group=group),
        files.markdown: markdown_table(readable, notes),
        files.latex: latex_table(readable, title, notes, paper),
    }
