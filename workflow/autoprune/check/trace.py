"""The chain of files behind a cell of a table: who computed it, from which runs, on which data.

A cell is a column and enough of its row to tell it from the others, as KEY=VALUE words:

    python -m autoprune.check.trace results test_accuracy_mean \\
        dataset=glyphs model=cnn method=autoprune variant=reinit

or the number of the row, counted from 1, and the column: `results 3:test_accuracy_mean`.
A statistic may be left out of the name (`test_accuracy`), the mean is meant.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from autoprune.check.chain import Link, chain, receipt_link
from autoprune.core.errors import InputError, run_main
from autoprune.core.labels import decimal
from autoprune.publish.items import items
from autoprune.study.grid import CONFIG, place, read_config

SHOWN = 5  # of what a row could have been instead


def table_path(name: str, results: Path) -> Path:
    """The CSV of a table given by its name, or by the path of any of its files."""
    path = (
        results / "tables" / f"{name}.csv"
        if name in items("tables")
        else Path(name).with_suffix(".csv")
    )
    if path.stem not in items("tables"):
        known = ", ".join(items("tables"))
        raise InputError(f"{name}: no table that can be traced; known are {known}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the study first, or name its --results")
    return path


def find(path: Path, words: Sequence[str]) -> tuple[pd.Series, int, str]:
    """The row, its number from 1 and the column that ``words`` name.

    Raises InputError, saying what there is, when they name none or more than one.
    """
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    rows["row"] = [str(number) for number in range(1, len(rows) + 1)]
    wanted, column = {}, ""
    for word in words:
        key, equals, value = word.partition("=")
        number, colon, name = word.partition(":")
        if colon and number.isdigit():
            wanted["row"], column = number, name
        elif equals:
            wanted[key] = value
        else:
            column = word
    column = next((name for name in (column, f"{column}_mean") if name in rows), column)
    if unknown := [name for name in (column, *wanted) if name not in rows]:
        raise InputError(f"{path}: no column {unknown[0]!r}; columns are {', '.join(rows)}")
    left = rows
    for key, value in wanted.items():
        kept = left[left[key] == value]
        if kept.empty:
            known = ", ".join(list(dict.fromkeys(left[key]))[: 4 * SHOWN])
            raise InputError(f"{path}: no row with {key}={value}; there is {known}")
        left = kept
    found = left.drop(columns="row")
    if len(left) > 1:
        raise InputError(f"{path}: {len(left)} rows fit; add {told_apart_by(found)}")
    return found.iloc[0], int(left.index[0]) + 1, column


def told_apart_by(rows: pd.DataFrame) -> str:
    """Words that would choose among rows: a column of few values in which they differ."""
    differing = [
        name
        for name in rows
        if len(set(rows[name])) > 1 and name != "source_files" and rows[name].map(len).max() < 60
    ]
    naming = [name for name in differing if not _is_float(rows[name]) and all(rows[name])]
    words = [f"{name}={rows[name].iloc[0]}" for name in naming]
    return " or ".join(words[:SHOWN]) or f"the row's number, as row={rows.index[0] + 1}"


def _is_float(values: pd.Series) -> bool:
    return bool(pd.to_numeric(values, errors="coerce").notna().any()) and values.name != "seed"


def add_downloads(link: Link, overlays: Sequence[str]) -> None:
    """Below each data set, the receipts of the files that it was downloaded from."""
    config = read_config(overlays)
    for part in link.behind[0].behind:
        kind, _, dataset = part.name.rpartition(" ")
        names = config["datasets"].get(dataset, {}).get("downloads", []) if kind else []
        for name in names:
            receipt = place(config, "resources") / "downloads" / f"{name}.json"
            known = receipt_link(receipt) if receipt.exists() else Link(f"{receipt}: not here")
            part.behind.append(known)


def tree(link: Link, root: Tree | None = None) -> Tree:
    """The chain as a tree to print."""
    words = [f"{key}: {shown(value)}" for key, value in link.facts.items()]
    # what has nothing behind it is one line, however long
    text = "\n".join([link.name, *words]) if link.behind else f"{link.name}  {'; '.join(words)}"
    text = escape(text)
    branch = Tree(text) if root is None else root.add(text)
    for part in link.behind:
        tree(part, branch)
    return branch


def shown(value: object) -> str:
    """A fact in one line."""
    if isinstance(value, int) and not isinstance(value, bool):
        return decimal(value, 0)
    if isinstance(value, dict):
        return " ".join(f"{key}={part}" for key, part in value.items())
    return str(value)


def differences(link: Link) -> list[str]:
    """What in the chain is no longer what was recorded."""
    mine = [f"{link.name}: {text}" for text in map(str, link.facts.values()) if "DIFFERS" in text]
    return mine + [text for part in link.behind for text in differences(part)]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the chain; exit code 1 when a file of it is no longer what its run recorded."""
    parser = argparse.ArgumentParser(
        prog="python -m autoprune.check.trace",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "table", help=f"{', '.join(items('tables'))}, or the path of a table's file"
    )
    parser.add_argument("cell", nargs="+", help="COLUMN KEY=VALUE ..., or ROW:COLUMN")
    parser.add_argument("--results", default="results", type=Path, help="the study's results")
    parser.add_argument(
        "--configfile", nargs="*", action="extend", default=[], metavar="FILE",
        help="the study's, as Snakemake was given them: says which downloads a data set is from",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.add_argument(
        "--check-data", action="store_true", help="also read the data's arrays and check them"
    )
    arguments = parser.parse_intermixed_args(argv)  # words of a cell may follow an option
    path = table_path(arguments.table, arguments.results)
    row, number, column = find(path, arguments.cell)
    link = chain(path, row, number, column, arguments.check_data)
    if Path(CONFIG).exists():  # an archive may have been taken apart
        add_downloads(link, arguments.configfile)
    if arguments.json:
        print(json.dumps(link.to_json(), indent=1, ensure_ascii=False))
    else:
        terminal = sys.stdout.isatty()
        Console(width=None if terminal else 160, highlight=False).print(tree(link))
    if changed := differences(link):
        raise InputError(f"no longer what was recorded: {'; '.join(changed)}")


if __name__ == "__main__":
    run_main(main)
