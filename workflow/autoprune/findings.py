"""Stage: what the tables say, in sentences that are chosen and filled in by rule."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from autoprune.comparisons import LEVEL
from autoprune.errors import InputError, run_main
from autoprune.files import write_text
from autoprune.style import arm_label, dataset_label, decimal, label

PAIR = ["dataset", "data_kind", "model"]
TITLE = """# Findings

Written by `python -m autoprune.findings` from the tables of the studies named below: every number
is a cell of them, every sentence is chosen by a rule. Differences are paired by seed, in points of
test accuracy (mean of the last five evaluations), with the 95 % interval; "significantly" means
p < 0.05 by a paired t-test after Holm's correction, "equivalent" that two one-sided tests place the
difference within the margin. Where neither is so, these seeds do not settle it.
"""
SHORT = """## In short

What the abstract claims, and what it does not ask; columns are the studies below. Each cell is our
value with its 95 % interval and the verdict of the claims table's rule: in bold where the interval
settles it.
"""


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
    """An arm with its difference."""
    return f"{arm_label(row['method'], row['variant'])} ({difference(row)})"


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
    reference = mine[mine["difference_points"].isna()].iloc[0]
    others = mine[mine["difference_points"].notna()]
    margin = decimal(reference["margin_points"], 1)
    name = arm_label(reference["method"], reference["variant"])
    where = "When as many bytes have been sent"
    if question == "final":
        where = "In the end"
        name += f" ({decimal(reference['test_accuracy_percent'], 1)} %)"
    seeds = others["n"].max() if len(others) else 0
    groups = split(others)
    return [
        f"{where}, against {name}, arms: {len(others)}, seeds: {seeds}",
        "",
        f"- significantly better: {listed(groups['better'])}.",
        f"- significantly worse: {listed(groups['worse'])}.",
        f"- equivalent within {margin} points: {listed(groups['equivalent'])}.",
        f"- not settled: {unsettled(groups['open'])}.",
    ]


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
            lines += [*of_pair(rows, question), ""]
    lines += ["### Ablations", ""]
    for _, row in ablations.iterrows():
        lines.append(
            f"- {row['ablation']}: {difference(row)}, at most {decimal(row['largest_points'], 1)}."
        )
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
