"""Stage: what the tables say in plain answers, each a row of them; then a table a study."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json, write_text
from autoprune.core.labels import arm_label, dataset_label, decimal, label
from autoprune.core.tasks import ACCURACY, R2, worded
from autoprune.evidence.questions import QUESTIONS
from autoprune.evidence.readings import BYTES, ROUNDS, TRAINING
from autoprune.evidence.texts import remarks
from autoprune.measure.table import read_table
from autoprune.publish import tables

TITLE = """# Findings

Written by `python -m autoprune.publish.findings` from the tables of the studies named below: every
number is a cell of them. Differences are in points of accuracy on all held-out images, mean of the
last five evaluations, seed by seed over n seeds; intervals are simultaneous, 95 %, for all of that
data set and network; "at equal training" reads both when they had trained as long since their
architecture stood still. An answer is given when both readings, and the interval that draws the
held-out clients anew, settle it beyond the margin: what two equal networks differ by on as many
held-out images, so that yes says no more than that. It speaks for the processor that is named under
each heading.
"""
FIGURE, FRONT = "accuracy_by_round", "pareto"
DIFFERENCE = ("difference_points", "difference_low", "difference_high")
NEEDED = {
    "claims": [
        *("claim", "source", "variant", "data", "ours", "low", "high", "n", "verdict"),
        *("training_ours", "training_low", "training_high", "answer"),
    ],
    "comparisons": [
        *("dataset", "data_kind", "margin_points", "model", "method", "variant", "question", "n"),
        *("accuracy_percent", "accuracy_sd", "nonzeros", "trained_rounds", "still_rising"),
        *("dead_runs", "accuracy_n", "failed_replies"),
        *DIFFERENCE,
    ],
    "ablations": ["ablation", "n", *DIFFERENCE],
}


class Asked(NamedTuple):
    """A question as the page asks it: the claim and variant of its rows, words for a verdict."""

    question: str
    claim: str
    variant: str
    unsaid: str  # what the answer does not say


AS_GOOD, RANDOM, WIDTHS, NARROW, NORMS = (question.claim for question in QUESTIONS)
ASKED = (
    Asked(
        "Are fresh weights, the authors' code, as accurate as dense?", AS_GOOD, "reinit",
        "how it would be after the notebooks' 500 rounds of 50 clients",
    ),
    Asked(
        "Are kept weights, the paper's text, as accurate as dense?", AS_GOOD, "inherit",
        "that much was pruned: see the sizes in the tables",
    ),
    Asked(
        "Would filters chosen at random have done as well as those that the rule keeps?",
        RANDOM, "inherit", "anything of fresh weights, which keep no filter",
    ),
    Asked(
        "Would the widths that the search found do, trained from scratch?", WIDTHS, "reinit",
        "how one would know them without a search",
    ),
    Asked(
        "Would a uniformly narrow network of that size do?", NARROW, "reinit",
        "which size to choose",
    ),
    Asked(
        "Does the rule on filters that learnt nothing prune as much?", NORMS, "reinit",
        "which filters go, only how many",
    ),
)  # fmt: skip
WORDS = {
    "holds": "yes",
    "does not hold": "no",
    "not resolved": "not settled",
    "depends on training rounds": "it depends on how long both train",
}


def read(folder: Path, name: str) -> pd.DataFrame:
    """A table of a study; raises InputError when it is absent or lacks a column."""
    found = read_table(str(folder / "tables" / f"{name}.csv"), NEEDED[name])
    if name == "claims" and "score" in found:  # its claims are worded by its score
        asked = {worded(one.claim, R2): one.claim for one in ASKED}
        found["claim"] = found["claim"].replace(asked)
    return found


def interval(row: Mapping[str, Any], mean: str, low: str, high: str) -> str:
    """A difference in points with its interval, as the page writes it."""
    if pd.isna(row[mean]):
        return "–"
    text = decimal(row[mean], 1, sign=True)
    if pd.isna(row[low]):
        return text
    return f"{text} [{decimal(row[low], 1)}, {decimal(row[high], 1)}]"


def margins(comparisons: pd.DataFrame) -> dict[str, float]:
    """The margin of each data set and network in points, by their name in the claims table."""
    found = comparisons.drop_duplicates(["dataset", "data_kind", "model"])
    return {
        f"{dataset_label(row.dataset, row.data_kind)}/{label(row.model)}": float(row.margin_points)
        for row in found.itertuples()
    }


def answers(claims: Sequence[pd.DataFrame], margin: Mapping[str, float]) -> list[str]:
    """A bullet for each question that any study asks, then the sizes; at most eight.

    ``margin`` is that of each data set and network, as of ``margins``.
    """
    rows = pd.concat(claims, ignore_index=True)
    lines = []
    for asked in ASKED:
        mine = rows[(rows["claim"] == asked.claim) & (rows["variant"] == asked.variant)]
        mine = mine[mine["verdict"].isin(list(WORDS))]
        if not mine.empty:
            lines += [bullet(asked, mine, {} if asked.claim == NORMS else margin)]
    return [*lines, *sizes(rows)]


def bullet(asked: Asked, rows: pd.DataFrame, margin: Mapping[str, float]) -> str:
    """A question with its answer on each data set, and the margin that the answer keeps to."""
    parts = []
    for row in rows.to_dict("records"):
        known = margin.get(row["data"])
        within = "" if known is None else f" (margin {decimal(known, 1)})"
        text = f"{row['data']}{within}: **{WORDS[row['verdict']]}**, "
        text += f"{interval(row, 'ours', 'low', 'high')}"
        trained = interval(row, "training_ours", "training_low", "training_high")
        text += f", at equal training {trained}" if trained != "–" else ""
        parts.append(f"{text} (n = {row['n']:g})")
    return f"- **{asked.question}** {'; '.join(parts)}. It does not say {asked.unsaid}."


def sizes(rows: pd.DataFrame) -> list[str]:
    """The published sizes' place among networks that learn nothing, in one bullet."""
    mine = rows[rows["claim"].str.contains("needs training") & (rows["verdict"] != "not tested")]
    mine = mine.drop_duplicates("claim")
    if mine.empty:
        return []
    settled = mine["verdict"].value_counts()
    words = ", ".join(
        f"{WORDS[verdict]} {number} of {len(mine)}" for verdict, number in settled.items()
    )
    parts = "; ".join(f"{row.claim.split(',')[0][12:]}: {row.answer}" for row in mine.itertuples())
    return [
        f"- **Do the sizes that the notebooks print need training?** {words}. {parts}. It does not "
        "say that training leaves the size as it is."
    ]


def tradeoffs(rows: pd.DataFrame) -> list[str]:
    """How much goes and at what accuracy, in one bullet: the searched arms of every pair."""
    mine = rows[(rows["question"] == ROUNDS) & (rows["method"].isin(["autoprune", "dense"]))]
    parts = []
    for pair, own in mine.groupby(["dataset", "data_kind", "model"]):
        dense = own[own["method"] == "dense"]
        if dense.empty:
            continue
        whole = dense.iloc[0]
        found = [
            f"{arm_label(row.method, row.variant)} {100 * (1 - row.nonzeros / whole.nonzeros):.0f}"
            f" % fewer parameters at {decimal(row.accuracy_percent, 1)} %"
            for row in own[own["method"] == "autoprune"].itertuples()
        ]
        text = f"{dataset_label(pair[0], pair[1])}/{label(pair[2])}: {', '.join(found)}"
        parts.append(f"{text}, dense {decimal(whole.accuracy_percent, 1)} %")
    if not parts:
        return []
    return [
        f"- **How much goes, and at what accuracy?** {'; '.join(parts)}. The abstract says 89 %. "
        "It does not say what FEMNIST and CelebA at the notebooks' scale would give."
    ]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """One pair's arms: accuracy, size, rounds trained, difference from the reference."""
    keys = ["method", "variant"]
    by = {name: part.set_index(keys) for name, part in rows.groupby("question")}
    shown = []
    for key, row in by[ROUNDS].iterrows():
        known = remarks(
            row["still_rising"],
            int(row["dead_runs"]),
            int(row["accuracy_n"]),
            "" if pd.isna(row["failed_replies"]) else row["failed_replies"],
        )
        spread = "" if pd.isna(row["accuracy_sd"]) else f" ± {decimal(row['accuracy_sd'], 1)}"
        cells = {
            "method": arm_label(*key),
            "n": f"{row['accuracy_n']:g}",
            "accuracy, %": f"{decimal(row['accuracy_percent'], 1)}{spread}{known}",
            "numbers sent": decimal(row["nonzeros"], 0),
            "rounds trained": decimal(row["trained_rounds"], 0),
        }
        for reading in (ROUNDS, TRAINING, BYTES):
            there = reading in by and key in by[reading].index
            cells[reading] = interval(by[reading].loc[key], *DIFFERENCE) if there else "–"
        shown.append(cells)
    return pd.DataFrame(shown)


def study(name: str, folder: Path, output: Path, *, timed: bool) -> list[str]:
    """One study's section: its figure, a table a pair, its ablations, and what was ``timed``."""
    lines = [f"## {name}", ""]
    if (folder / ENVIRONMENT).is_file():
        made = read_json(folder / ENVIRONMENT)
        torch = made["versions"]["torch"]
        lines += [f"Seen on: {made['machine']['cpu']}, torch {torch}.", ""]
    if figure := picture(folder, FIGURE):
        place = Path(os.path.relpath(figure, output.parent)).as_posix()
        lines += [f"![Accuracy by round]({place})", ""]
    for pair, rows in read(folder, "comparisons").groupby(["dataset", "data_kind", "model"]):
        lines += [
            f"{dataset_label(pair[0], pair[1])}, {label(pair[2])}; last columns: points against "
            "the arm that has none, by where both are read",
            "",
            table(rows).to_markdown(index=False, disable_numparse=True),
            "",
        ]
    for row in read(folder, "ablations").to_dict("records"):
        found = interval(row, *DIFFERENCE)
        lines.append(f"- {row['ablation']}: {found} points (n = {row['n']:g})")
    measured = whole(folder, "systems", "Systems: what each gives and costs") if timed else []
    return [*lines, *measured, *targets(folder, output), ""]


def targets(folder: Path, output: Path) -> list[str]:
    """Of a study that has targets their table and its figure."""
    lines = whole(
        folder, "targets", "Targets in place of k: what was asked for and what came of it"
    )
    if figure := picture(folder, FRONT):
        place = Path(os.path.relpath(figure, output.parent)).as_posix()
        lines += [f"![Accuracy against cost]({place})", ""]
    return lines


def whole(folder: Path, name: str, lead: str) -> list[str]:
    """A table of a study as it is published, with its notes; nothing where there is none."""
    path = folder / "tables" / f"{name}.csv"
    if not path.is_file():
        return []
    shown, rows = tables.load(name), tables.read_rows(path)
    cells = tables.readable(shown, rows).to_markdown(index=False, disable_numparse=True)
    return ["", lead, "", cells, "", *(line for note in shown.notes(rows) for line in (note, ""))]


def picture(folder: Path, name: str) -> Path | None:
    """A figure of a study, as it is drawn there or committed; None where it is not."""
    places = (folder / f"figures/{name}.svg", folder / f"{name}.png")
    return next((place for place in places if place.is_file()), None)


ENVIRONMENT = "environment.json"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line: see ``--help``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--study", nargs=2, action="append", required=True, metavar=("NAME", "DIR"),
        help="a heading, and a results folder with tables/{comparisons,claims,ablations}.csv",
    )  # fmt: skip
    parser.add_argument("--output", required=True, help="Markdown")
    parser.add_argument("--timed", action="store_true", help="with the table of systems")
    arguments = parser.parse_args(argv)
    folders = {name: Path(folder) for name, folder in arguments.study}
    compared = pd.concat([read(folder, "comparisons") for folder in folders.values()])
    found = answers([read(folder, "claims") for folder in folders.values()], margins(compared))
    found += tradeoffs(compared)
    if not found:
        raise InputError(f"{arguments.output}: no study here asks any of the questions; add arms")
    output, timed = Path(arguments.output), arguments.timed
    sections = [study(name, folder, output, timed=timed) for name, folder in folders.items()]
    lines = [TITLE, "## Answers", "", *found, "", *(line for part in sections for line in part)]
    score = R2 if "score" in compared and compared["score"].eq(R2).all() else ACCURACY
    write_text(arguments.output, worded("\n".join(lines).rstrip() + "\n", score))


if __name__ == "__main__":
    run_main(main)
