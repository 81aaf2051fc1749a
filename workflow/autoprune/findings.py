"""Stage: what the tables say, in sentences that are chosen and filled in by rule."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from autoprune.errors import InputError, run_main
from autoprune.evidence.comparisons import BETTER, BUDGET_SLACK, EQUIVALENT, OPEN, WORSE
from autoprune.evidence.questions import QUESTIONS
from autoprune.evidence.readings import READINGS, ROUNDS
from autoprune.files import write_text
from autoprune.style import arm_label, dataset_label, decimal, label

PAIR = ["dataset", "data_kind", "model"]
TITLE = """# Findings

Written by `python -m autoprune.findings` from the tables of the studies named below: every number
is a cell of them, every sentence is chosen by a rule. Differences are in points of accuracy on
validation and test images together, with simultaneous 95 % intervals: at equal rounds, at equal
training rounds since the network stands still, and at equal bytes. An arm is better or worse where
its interval excludes 0, equivalent where it lies within the margin. Where neither is so, these
seeds do not settle it.
"""
SHORT_TITLE = "## In short"
SHORT = f"""{SHORT_TITLE}

What the abstract claims, and what it does not ask; columns are the studies below. Each cell is our
value with its 95 % interval and the verdict of the claims table's rule. Claims are of ours against
dense; questions are of the control minus autoprune, so that they hold where the control is not
worse. "Not resolved": the interval lies on both sides, or a search was cut shorter than the
authors'. Averages are over the pairs that the claims table names under "tested on".
"""
UNITS = {"accuracy": "points of accuracy", "reduction": "points of parameters removed"}


def read(folder: Path, table: str) -> pd.DataFrame:
    """A table of a study; raises InputError when it is not there."""
    path = folder / "tables" / f"{table}.csv"
    try:
        return pd.read_csv(path)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path}: not a table ({error}); run the study first") from None


def difference(row: pd.Series) -> str:
    """A difference with its interval."""
    if pd.isna(row["difference_points"]):
        return "not evaluated there"
    text = f"{decimal(row['difference_points'], 1, sign=True)} points"
    if pd.isna(row["difference_low"]):
        return f"{text} (n={row['n']})"
    low, high = (decimal(row[f"difference_{end}"], 1) for end in ("low", "high"))
    return f"{text} [{low}, {high}]"


def named(row: pd.Series) -> str:
    """An arm with its difference, and its size where that is not the reference's."""
    size = f"{row['size']}; " if row.get("size") else ""
    return f"{arm_label(row['method'], row['variant'])} ({size}{difference(row)})"


def sizes(rows: pd.DataFrame) -> pd.Series:
    """A word on each arm that holds more or less than the reference; "" within the slack."""
    whole = rows.loc[rows["method"] == "dense", "nonzeros"].max()
    share = rows["share_of_budget"]
    words = share.map(lambda of: f"{decimal(100 * of, 0)} % of the budget")
    words[(rows["nonzeros"] >= whole) & (rows["method"] != "dense")] = "nothing pruned"
    return words.where((share - 1).abs() > BUDGET_SLACK, "")


def listed(rows: pd.DataFrame) -> str:
    """Arms with their differences, best first; "none" for no row."""
    rows = rows.sort_values("difference_points", ascending=False, kind="stable")
    return "; ".join(named(row) for _, row in rows.iterrows()) or "none"


def unsettled(rows: pd.DataFrame) -> str:
    """How many arms nothing is settled about, and the ends of their range."""
    if len(rows) <= 2:
        return str(len(rows)) + (f", {listed(rows)}" if len(rows) else "")
    rows = rows.sort_values("difference_points", ascending=False, kind="stable")
    return f"{len(rows)}, from {named(rows.iloc[0])} to {named(rows.iloc[-1])}"


def of_pair(rows: pd.DataFrame, question: str) -> list[str]:
    """What the arms of one pair come to at one of the readings."""
    mine = rows[rows["question"] == question]
    mine = mine.assign(size=sizes(mine))
    is_reference = mine["answer"].isna()
    reference, others = mine[is_reference].iloc[0], mine[~is_reference]
    margin = decimal(reference["margin_points"], 1)
    name = arm_label(reference["method"], reference["variant"])
    seeds = others["n"].max() if len(others) else 0
    if question == ROUNDS:
        name += f" ({decimal(reference['accuracy_percent'], 1)} %)"
    if others.empty:
        return []
    groups = {word: others[others["answer"] == word] for word in (BETTER, WORSE, EQUIVALENT, OPEN)}
    return [
        f"At {question}, against {name}, arms: {len(others)}, seeds: {seeds}",
        "",
        f"- better: {listed(groups[BETTER])}.",
        f"- worse: {listed(groups[WORSE])}.",
        f"- equivalent within {margin} points: {listed(groups[EQUIVALENT])}.",
        f"- not settled: {unsettled(groups[OPEN])}.",
        "",
    ]


def asked(claims: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Of a study's claims the cells of the table in short, by claim and variant ("" for none)."""
    cells = {}
    for _, row in claims[claims["source"].isin(["abstract", "control"])].iterrows():
        claim = row["claim"]
        if not pd.isna(row.get("data", "")) and row.get("data"):
            claim += f" ({row['data']})"
        if row["source"] == "abstract":
            claim = f"{claim}; published: {row['published']}"
        key = (claim, "" if pd.isna(row["variant"]) else row["variant"])
        if row["verdict"] == "not tested" or pd.isna(row["ours"]):
            cells[key] = row["verdict"]
            continue
        interval = ""
        if not pd.isna(row["low"]):
            interval = f" [{decimal(row['low'])}, {decimal(row['high'])}]"
        verdict = f"**{row['verdict']}**" if row["resolved"] == "yes" else row["verdict"]
        cells[key] = f"{decimal(row['ours'])}{interval}: {verdict}"
    return cells


def unit_of(claim: str) -> str:
    """What a row of the table in short is counted in."""
    for question in QUESTIONS:
        if claim.startswith(question.claim):
            return UNITS[question.figure]
    published = claim.rpartition("; published: ")[2]
    return next((sign for sign in ("%", "×") if sign in published), UNITS["accuracy"])


def in_short(studies: Mapping[str, pd.DataFrame]) -> str:
    """Claims and questions by study: of each (its heading) the claims table."""
    columns = {name.split(":")[0]: asked(claims) for name, claims in studies.items()}
    keys = list(dict.fromkeys(key for cells in columns.values() for key in cells))
    # a claim that one study tests by variant and another not at all has the variants' rows
    by_variant = {claim for claim, variant in keys if variant}
    rows = [key for key in keys if key[1] or key[0] not in by_variant]
    rows.sort(key=lambda key: [claim for claim, _ in keys].index(key[0]))
    table = pd.DataFrame(
        {
            "claim or question": [claim for claim, _ in rows],
            "variant": [variant or "–" for _, variant in rows],
            "in": [unit_of(claim) for claim, _ in rows],
        }
    )
    for name, cells in columns.items():
        table[name] = [cells.get(key, cells.get((key[0], ""), "–")) for key in rows]
    return f"{SHORT}\n{table.to_markdown(index=False, disable_numparse=True)}\n"


def study(name: str, folder: Path) -> str:
    """One study's section."""
    comparisons, ablations = read(folder, "comparisons"), read(folder, "ablations")
    lines = [f"## {name}", ""]
    for pair, rows in comparisons.groupby(PAIR):
        lines += [f"### {dataset_label(pair[0], pair[1])}, {label(pair[2])}", ""]
        for question in READINGS:
            lines += of_pair(rows, question)
    lines += ["### Ablations", ""]
    for _, row in ablations.iterrows():
        lines.append(f"- {row['ablation']}: {difference(row)}.")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--study", nargs=2, action="append", required=True, metavar=("NAME", "DIR"),
        help="a heading, and a results folder with tables/{comparisons,claims,ablations}.csv",
    )  # fmt: skip
    parser.add_argument("--output", required=True, help="Markdown")
    arguments = parser.parse_args(argv)
    short = in_short({name: read(Path(folder), "claims") for name, folder in arguments.study})
    sections = [study(name, Path(folder)) for name, folder in arguments.study]
    write_text(arguments.output, "\n".join([TITLE, short, *sections]))


if __name__ == "__main__":
    run_main(main)
