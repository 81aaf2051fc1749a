"""Stage: what the tables say, in sentences that are chosen and filled in by rule."""

import argparse
from collections.abc import Sequence
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
test accuracy (mean of the last five evaluations), with the 95 % interval; "differs" means p < 0.05
by a paired t-test after Holm's correction, "equivalent" that two one-sided tests place the
difference within the margin. Where neither is so, these seeds do not settle it.
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


def listed(rows: pd.DataFrame) -> str:
    """Arms with their differences, best first; "none" for no row."""
    rows = rows.sort_values("difference_points", ascending=False, kind="stable")
    found = [
        f"{arm_label(row['method'], row['variant'])} ({difference(row)})"
        for _, row in rows.iterrows()
    ]
    return "; ".join(found) or "none"


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
    seeds = others["n"].max() if len(others) else 0
    where = "In the end" if question == "final" else "When as many bytes have been sent"
    groups = split(others)
    lines = [
        f"{where}, over {seeds} seeds, against {name}"
        + (f" ({decimal(reference['test_accuracy_percent'], 1)} %)" if question == "final" else "")
        + f", {len(others)} comparisons:"
    ]
    for key, words in (
        ("better", "significantly better"),
        ("worse", "significantly worse"),
        ("equivalent", f"equivalent within {margin} points"),
    ):
        lines.append(f"- {words}: {listed(groups[key])}.")
    count = len(groups["open"])
    lines.append(f"- not settled: {count}" + (f", {listed(groups['open'])}." if count else "."))
    return lines


def answers(claims: pd.DataFrame) -> list[str]:
    """The claims of the abstract and the questions it does not ask, one line each."""
    lines = []
    for _, row in claims[claims["source"].isin(["abstract", "control"])].iterrows():
        if row["verdict"] == "not tested":
            lines.append(f"- {row['claim']}: not tested, {row['tested_on']}.")
            continue
        variant = "" if pd.isna(row["variant"]) else f" ({row['variant']})"
        asked = f", published {row['published']}" if row["source"] == "abstract" else ""
        interval = ""
        if not pd.isna(row["low"]):
            interval = f" [{decimal(row['low'])}, {decimal(row['high'])}]"
        settled = "" if row["resolved"] == "yes" else ", but the interval does not settle it"
        lines.append(
            f"- {row['claim']}{variant}{asked}: ours {decimal(row['ours'])}{interval}: "
            f"**{row['verdict']}**{settled if row['verdict'] != 'not resolved' else ''}."
        )
    return lines


def study(name: str, folder: Path) -> str:
    """One study's section."""
    comparisons, claims = read(folder, "comparisons"), read(folder, "claims")
    ablations = read(folder, "ablations")
    lines = [f"## {name}", ""]
    for pair, rows in comparisons.groupby(PAIR):
        lines += [f"### {dataset_label(pair[0], pair[1])}, {label(pair[2])}", ""]
        for question in ("final", "equal bytes"):
            lines += [*of_pair(rows, question), ""]
    lines += ["### Claims and questions", "", *answers(claims), "", "### Ablations", ""]
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
    sections = [study(name, Path(folder)) for name, folder in arguments.study]
    write_text(arguments.output, "\n".join([TITLE, *sections]))


if __name__ == "__main__":
    run_main(main)
