"""The end of `make`: the verdicts on the abstract's claims, and which files to open."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from tabulate import tabulate

from autoprune.core.errors import InputError, run_main


def summary(claims: pd.DataFrame) -> str:
    """The abstract's claims as a plain table: published, ours, the verdict, and what ours says."""
    rows = claims[claims["source"] == "abstract"]
    return tabulate(
        [
            [row.claim, _variant(row), row.published, _ours(row), row.verdict, _here(row)]
            for row in rows.itertuples()
        ],
        headers=["claim", "variant", "published", "ours [95 % interval]", "verdict", "here"],
        tablefmt="simple",
        maxcolwidths=[36, None, None, None, 20, 36],
        disable_numparse=True,
    )


def _variant(row: Any) -> str:
    return "-" if pd.isna(row.variant) else row.variant  # a phone is given any network


def _here(row: Any) -> str:
    return "-" if pd.isna(row.answer) else row.answer.partition(";")[0]


def _ours(row: Any) -> str:
    if pd.isna(row.ours):
        return "-"
    if pd.isna(row.low):
        return f"{row.ours:.2f}"
    return f"{row.ours:.2f} [{row.low:.2f}, {row.high:.2f}]"


def main(argv: Sequence[str] | None) -> None:
    """Print the outcome of a finished study."""
    parser = argparse.ArgumentParser(prog="autoprune.publish.outcome", description=main.__doc__)
    parser.add_argument("--results", default="results", help="the study's results folder")
    folder = Path(parser.parse_args(argv).results)
    path = folder / "tables" / "claims.csv"
    if not path.exists():
        raise InputError(f"{path}: no such file; run `make` or `snakemake --cores all all` first")
    claims = pd.read_csv(path)
    print()
    print(summary(claims))
    stand_ins = claims["tested_on"].str.contains("stand-in", case=False, na=False).any()
    if stand_ins:
        print("\nSome of these numbers come from generated stand-in data: they test the software")
        print("and the method's mechanics, not the paper's accuracy on FEMNIST or CelebA.")
    print("\nOpen:")
    print(f"  {folder}/report/index.html     the report: claims, tables, figures, every run")
    print(f"  {folder}/tables/claims.html    every claim: published, ours, verdict, evidence")
    print(f"  {folder}/tables/results.html   dense against pruned")
    print(f"  {folder}/figures/              the figures as svg and pdf")
    print(f"  {folder}/report.html           Snakemake's report: with captions, jobs and code")


if __name__ == "__main__":
    run_main(main)
