"""What the paper does not ask: would random filters, or simply these widths, have done as well?"""

from typing import Any, NamedTuple

import pandas as pd

from autoprune.evidence.statistics import Summary, files_behind, is_baseline, judge, summarise
from autoprune.evidence.verdicts import complete_seeds, row
from autoprune.style import decimal, tested_on

PAIRED = ["dataset", "model", "seed"]
SIZE = "parameters_with_statistics"


class Question(NamedTuple):
    """A control beside the run it is held against, and the figure that decides."""

    claim: str
    control: str  # method; its variant is that of the autoprune run, or a fixed one
    figure: str
    counted: str  # the metric it rests on
    unit: str


QUESTIONS = (
    Question(
        "as many filters, chosen at random, would have done as well",
        "random-filters",
        "accuracy",
        "test_accuracy",
        " points",
    ),
    Question(
        "simply the widths that were found, trained from scratch, would have done as well",
        "found-widths",
        "accuracy",
        "test_accuracy",
        " points",
    ),
    Question(
        "a uniformly narrow network of as many parameters would have done as well",
        "narrow",
        "accuracy",
        "test_accuracy",
        " points",
    ),
    Question(
        "the rule on random norms prunes at least as much",
        "null-norms",
        "reduction",
        SIZE,
        " % of parameters",
    ),
)


def question_rows(
    values: pd.DataFrame, sources: pd.DataFrame, margin: float
) -> list[dict[str, Any]]:
    """A row of the claims table for each question and variant of autoprune that has the control.

    ``values`` and ``sources`` as of ``final_figures``; ``margin``: points (accuracy, or per cent
    of the dense network's parameters) that still count as well.
    """
    rows = []
    own = values[values["method"] == "autoprune"]
    for question in QUESTIONS:
        controls = values[values["method"] == question.control]
        variants = sorted(set(controls["variant"]) & set(own["variant"]))
        for variant in variants:
            rows.append(answer(question, variant, values, sources, margin))
        if not variants:
            rows.append(row(_about(question, "", margin), f"nothing: no run of {question.control}"))
    return rows


def answer(
    question: Question, variant: str, values: pd.DataFrame, sources: pd.DataFrame, margin: float
) -> dict[str, Any]:
    """One row: control minus autoprune of the same variant, paired by data, model and seed."""
    arm = values["variant"] == variant
    own = values[arm & (values["method"] == "autoprune")]
    control = values[arm & (values["method"] == question.control)]
    both = control.merge(own, on=PAIRED, suffixes=("", "_own"))
    about = _about(question, variant, margin)
    dense = values[is_baseline(values)][[*PAIRED, SIZE]].rename(columns={SIZE: "whole"})
    # a reduction is a share of the dense network; accuracies need none beside them
    reduced = question.figure == "reduction"
    both = both.merge(dense, on=PAIRED, how="inner" if reduced else "left")
    if reduced:
        change = both[f"{question.counted}_own"] - both[question.counted]
        both["difference"] = 100 * change / both["whole"]
    else:
        both["difference"] = 100 * (both[question.counted] - both[f"{question.counted}_own"])
        whole = both[f"{SIZE}_own"] >= both["whole"]
        if len(both) and whole.all():
            return row(about, "nothing: autoprune removed no filter, so there was none to choose")
        both = both[~whole]
    usable, dropped = complete_seeds(both)
    if usable.empty:
        return row(about, "nothing: no seed ran both on every pair")
    found: Summary = summarise(usable.groupby("seed")["difference"].mean())
    files = files_behind(sources, [question.counted], usable, own)
    verdict = judge(found, -margin)
    return row(about, tested_on(usable) + dropped, found, **verdict, source_files=files)


def _about(question: Question, variant: str, margin: float) -> dict[str, str]:
    rule = f"control − autoprune ≥ {decimal(-margin)}{question.unit}, mean over data/model pairs"
    if question.figure == "reduction":
        rule = (
            f"reduction by the control − by autoprune ≥ {decimal(-margin)} points, mean over pairs"
        )
    return {
        "claim": question.claim,
        "published": "not asked",
        "source": "control",
        "variant": variant,
        "rule": rule,
        "unit": " points",
    }
