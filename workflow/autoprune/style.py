"""How results are named and written: labels, numbers, tables as CSV, HTML, Markdown and LaTeX."""

import argparse
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
from tabulate import tabulate

from autoprune.evidence.statistics import Summary
from autoprune.files import whole_file
from autoprune.latex import BOLD, Paper, latex_table

# One lookup for every table and figure. What is not listed is shown under its own name, so a
# new method or data set needs no entry here.
LABELS = {
    "femnist": "FEMNIST",
    "femnist_cropped": "FEMNIST cropped",
    "femnist_inverted": "FEMNIST light on dark",
    "femnist_raw": "FEMNIST raw pixels",
    "femnist_standardised": "FEMNIST standardised",
    "femnist_whole": "FEMNIST whole",
    "celeba": "CelebA",
    "celeba_smiling": "CelebA Smiling",
    "faces_male": "faces Male",
    "mnist": "MNIST",
    "unipen": "UNIPEN",
    "cnn": "CNN",
    "resnet": "ResNet",
    "inception": "Inception",
    "dense/fedavg": "dense (FedAvg)",
    "autoprune/reinit": "autoprune, fresh weights",
    "autoprune/inherit": "autoprune, kept weights",
    "autoprune/reinit-once": "autoprune, fresh at the end",
    "autoprune/rewind": "autoprune, initial weights",
    "autoprune/rewind-once": "autoprune, initial at the end",
    "autoprune/inherit-low": "autoprune, kept weights, low tail",
    "found-widths/reinit": "found widths, from scratch",
    "found-widths/inherit": "kept weights' widths from scratch",
    "narrow/reinit": "narrow, from scratch",
    "narrow/inherit": "narrow, kept weights' size",
    "null-norms/reinit": "random norms, fresh weights",
    "null-norms/inherit": "random norms, kept weights",
    "random-filters/inherit": "random filters, kept weights",
    "random-filters/inherit-low": "random filters, low tail's widths",
    "l1-uniform/one-shot": "L1 norm, one shot",
    "l1-uniform/classical": "L1 norm, trained then pruned",
    "l1-uniform/iterative": "L1 norm, iterative",
    "fpgm/one-shot": "FPGM, one shot",
    "fpgm/classical": "FPGM, trained then pruned",
    "fpgm/iterative": "FPGM, iterative",
    "slimming/one-shot": "slimming, one shot",
    "slimming/classical": "slimming, trained then pruned",
    "slimming/iterative": "slimming, iterative",
    "taylor/one-shot": "Taylor, one shot",
    "taylor/classical": "Taylor, trained then pruned",
    "taylor/iterative": "Taylor, iterative",
    "fedmap/global": "FedMap-like",
    "prunefl/adaptive": "PruneFL-like",
    "ssfl/one-shot": "SSFL",
    "l1-int8/iterative": "L1 norm and int8",
    # one change at a time, behind what is compared
    "autoprune/pooled": "autoprune, all layers pooled",
    "autoprune/carried": "autoprune, Adam carried",
    "dense/carried": "dense, Adam carried",
    **{f"autoprune/clients-{n}": f"autoprune, {n} clients" for n in (10, 20)},
    **{f"dense/clients-{n}": f"dense, {n} clients" for n in (10, 20)},
    **{
        f"autoprune/k{k}-p{patience}": f"autoprune, k {k}, patience {patience}"
        for k in (1.6, 2.2, 2.8)
        for patience in (1, 3, 5)
    },
}
MINUS = "\N{MINUS SIGN}"
STAND_IN = " (stand-in)"  # beside the name of a data set that stands in for another


def label(name: str) -> str:
    """The readable form of a data set, model or ``method/variant``; the name itself if unknown."""
    return LABELS.get(name, name)


def arm_label(method: str, variant: str) -> str:
    """The readable form of a method and its variant."""
    return label(f"{method}/{variant}" if variant else method)


def dataset_label(dataset: str, data_kind: str) -> str:
    """The readable form of a data set, which says when it is a stand-in."""
    return label(dataset) + (STAND_IN if data_kind == "stand-in" else "")


def arm_order(arms: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Distinct (method, variant) pairs: those of LABELS in its order, then the others sorted."""
    known = list(LABELS)

    def rank(arm: tuple[str, str]) -> tuple[int, tuple[str, str]]:
        name = "/".join(arm)
        return (known.index(name) if name in known else len(known), arm)

    return sorted(set(arms), key=rank)


def decimal(value: float | None, places: int = 2, sign: bool = False) -> str:
    """A number with thousands separators and a true minus; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:{'+' if sign else ''},.{places}f}"
    if float(text.replace(",", "")) == 0:  # never "-0.00"
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def by_layer(fractions: str) -> str:
    """Fractions by layer to read, "1.00 0.34" of "1.0000 0.3412"; a dash for none."""
    return " ".join(decimal(float(part)) for part in fractions.split()) or "–"


def with_interval(summary: Summary, places: int = 2, unit: str = "", sign: bool = False) -> str:
    """``mean [low, high]`` of a summary; ``mean (n=1)`` for one seed, a dash for none."""
    if summary.mean is None:
        return "–"
    mean = decimal(summary.mean, places, sign) + unit
    if summary.low is None or summary.high is None:
        return f"{mean} (n={summary.n})"
    low, high = decimal(summary.low, places, sign), decimal(summary.high, places, sign)
    return f"{mean} [{low}, {high}]"


def with_spread(summary: Summary, places: int = 2, unit: str = "") -> str:
    """``mean ± sd (n=3)`` of a summary; without the spread for one seed, a dash for none."""
    if summary.mean is None:
        return "–"
    spread = "" if summary.sd is None else f" ± {decimal(summary.sd, places)}"
    return f"{decimal(summary.mean, places)}{spread}{unit} (n={summary.n})"


def tested_on(runs: pd.DataFrame) -> str:
    """What runs are made of: data set/model pairs, seeds, rounds and clients; loud on stand-ins."""
    size = [
        f"{rounds:.4g} rounds × {clients:.4g} clients"
        for rounds, clients in zip(runs["rounds"], runs["clients_per_round"], strict=True)
    ]
    parts = []
    for (dataset, kind, model), some in runs.assign(size=size).groupby(
        ["dataset", "data_kind", "model"]
    ):
        own = f" ({', '.join(sorted(set(some['size'])))})" if len(set(size)) > 1 else ""
        parts.append(f"{dataset_label(dataset, kind)}/{label(model)}{own}")
    common = f"; {size[0]}" if len(set(size)) == 1 else ""
    text = f"{', '.join(parts)}{common}; seeds {' '.join(map(str, sorted(set(runs['seed']))))}"
    kinds = set(runs["data_kind"])
    if kinds == {"stand-in"}:
        return f"STAND-IN DATA ONLY: {text}"
    return text if kinds == {"real"} else f"PARTLY STAND-IN DATA: {text}"


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


def write_together(texts: Mapping[str | Path, str]) -> None:
    """Write several text files so that an error while writing leaves none of them behind."""
    with ExitStack() as stack:
        for path, text in texts.items():
            stack.enter_context(whole_file(path)).write_bytes(text.encode())


def to_csv(frame: pd.DataFrame) -> str:
    """CSV text of a raw table: empty cells for what does not exist, floats that round-trip."""
    return frame.to_csv(index=False, lineterminator="\n")


def add_table_flags(parser: argparse.ArgumentParser) -> None:
    """The flags that name the files of ``write_table``."""
    parser.add_argument("--csv", required=True, help="output: raw numbers")
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
    """Write a table as the four files of ``add_table_flags``, all or none.

    ``readable`` holds text, in which <b></b> around a whole cell makes it bold.
    """
    write_together(
        {
            files.csv: to_csv(raw),
            files.html: html_page(readable, title, notes, group=group),
            files.markdown: markdown_table(readable, notes),
            files.latex: latex_table(readable, title, notes, paper),
        }
    )
