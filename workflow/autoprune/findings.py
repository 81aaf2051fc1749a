"""Stage: what the tables say, in sentences that are chosen and filled in by rule."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from autoprune.errors import InputError, run_main
from autoprune.evidence.comparisons import ACCURACIES, BUDGET_SLACK, FAIRNESS, LEVEL
from autoprune.evidence.questions import QUESTIONS
from autoprune.files import write_text
from autoprune.style import arm_label, dataset_label, decimal, label

PAIR = ["dataset", "data_kind", "model"]
TITLE = """# Findings

Written by `python -m autoprune.findings` from the tables of the studies named below: every number
is a cell of them, every sentence is chosen by a rule. Differences are paired by seed, in points of
test accuracy, with the 95 % interval: "in the end" of the mean of the last five evaluations, "when
as many bytes have been sent" linear in bytes between two evaluations. "Significantly" means
p < 0.05 by a paired t-test after Holm's correction over all arms, "equivalent" that two one-sided
tests place the difference within the margin. Where neither is so, these seeds do not settle it.
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
    """How many arms nothing is settled about, the ends of their range, and what they lean to."""
    if len(rows) <= 2:
        return str(len(rows)) + (f", {listed(rows)}" if len(rows) else "")
    rows = rows.sort_values("difference_points", ascending=False, kind="stable")
    above, below = (rows["difference_low"] > 0).sum(), (rows["difference_high"] < 0).sum()
    return (
        f"{len(rows)}, from {named(rows.iloc[0])} to {named(rows.iloc[-1])}; before the "
        f"correction {above or 'none'} of these intervals lie above 0 and {below or 'none'} below"
    )


def split(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The arms that are better, worse, equivalent, and those that nothing is settled about."""
    differs = rows["p_holm"] < LEVEL
    equivalent = ~differs & (rows["p_equivalence"] < LEVEL)
    return {
        "better": rows[differs & (rows["difference_points"] > 0)],
        "worse": rows[differs & (rows["difference_points"] < 0)],
        "equivalent": rows[equivalent],
        "open": rows[~differs & ~equivalent],
    }


def of_pair(rows: pd.DataFrame, question: str) -> list[str]:
    """What the arms of one pair come to at equal parameters or at equal bytes."""
    mine = rows[rows["question"] == question]
    mine = mine.assign(size=sizes(mine))
    reference = mine[mine["difference_points"].isna()].iloc[0]
    others = mine[mine["difference_points"].notna()]
    margin = decimal(reference["margin_points"], 1)
    name = arm_label(reference["method"], reference["variant"])
    seeds = others["n"].max() if len(others) else 0
    if question == "final":
        name += f" ({decimal(reference['test_accuracy_percent'], 1)} %)"
        parts = {
            f"In the end, against {name}, at its size within {100 * BUDGET_SLACK:.0f} %": others[
                others["size"] == ""
            ],
            f"In the end, against {name}, at other sizes": others[others["size"] != ""],
        }
    else:
        parts = {f"When as many bytes have been sent, against {name}": others}
    lines = []
    for heading, part in parts.items():
        if part.empty:
            continue
        groups = split(part)
        lines += [
            f"{heading}, arms: {len(part)}, seeds: {seeds}",
            "",
            f"- significantly better: {listed(groups['better'])}.",
            f"- significantly worse: {listed(groups['worse'])}.",
            f"- equivalent within {margin} points: {listed(groups['equivalent'])}.",
            f"- not settled: {unsettled(groups['open'])}.",
            "",
        ]
    return lines + (fairness(others) if question == "final" else [])


def fairness(others: pd.DataFrame) -> list[str]:
    """Who gains and who loses, by classes and among the worst served clients."""
    lines = []
    for name in FAIRNESS:
        if f"{name}_difference_points" not in others:
            continue
        ends = ("points", "low", "high")
        own = {f"difference_{end}": others[f"{name}_difference_{end}"] for end in ends}
        rows = others.assign(**own)
        above, below = rows[rows["difference_low"] > 0], rows[rows["difference_high"] < 0]
        lines.append(f"- {ACCURACIES[name]}: better: {listed(above)}; worse: {listed(below)}.")
    heading = "By classes and by clients, in the end, where the interval (not corrected) excludes 0"
    return [heading, "", *lines, ""] if lines else []


def asked(claims: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Of a study's claims the cells of the table in short, by claim and variant ("" for none)."""
    cells = {}
    for _, row in claims[claims["source"].isin(["abstract", "control"])].iterrows():
        claim = row["claim"]
        if row["source"] == "abstract":
            claim = f"{claim}; published: {row['published']}"
        key = (claim, "" if pd.isna(row["variant"]) else row["variant"])
        if row["verdict"] == "not tested":
            cells[key] = "not tested"
            continue
        interval = ""
        if not pd.isna(row["low"]):
            interval = f" [{decimal(row['low'])}, {decimal(row['high'])}]"
        verdict = f"**{row['verdict']}**" if row["resolved"] == "yes" else row["verdict"]
        cells[key] = f"{decimal(row['ours'])}{interval}: {verdict}"
    return cells


def unit_of(claim: str) -> str:
    """What a row of the table in short is counted in."""
    asked_units = {question.claim: UNITS[question.figure] for question in QUESTIONS}
    if claim in asked_units:
        return asked_units[claim]
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
        for question in ("final", "equal bytes"):
            lines += of_pair(rows, question)
    lines += ["### Ablations", ""]
    for _, row in ablations.iterrows():
        p = "" if pd.isna(row["p_holm"]) else f", p {row['p_holm']:.3f}"
        most = f"at most {decimal(row['largest_points'], 1)}"
        lines.append(f"- {row['ablation']}: {difference(row)}{p}, {most}.")
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
