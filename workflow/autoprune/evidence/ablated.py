"""What a study has for its ablations alone: pairs that no average takes, arms that are no method.

Ablations have a table of their own. In an average over pairs a changed one would count double, and
among the comparisons each arm more widens the intervals of all others.
"""

import argparse
from collections.abc import Iterable

import pandas as pd

from autoprune.federation.settings import LATER
from autoprune.measure.table import RULE, TRAINING

Ablation = tuple[str, str, str]  # its name, the arm with the change, the arm without
PairOf = tuple[str, str]  # data set, model
ALIKE = ("rounds", *TRAINING)  # what runs that train alike were asked to do
# what the arms of a comparison have in common; tails and statistics are options of the method
IN_COMMON = (*ALIKE, *RULE)


def add_ablation_flag(parser: argparse.ArgumentParser) -> None:
    """The flag ``--ablation``, once for each ablation of the configuration."""
    parser.add_argument(
        "--ablation", nargs=3, action="append", default=[], metavar=("NAME", "WITH", "WITHOUT"),
        help="two arms, each as dataset-model/method/variant",
    )  # fmt: skip


def split_arm(name: str) -> tuple[PairOf, tuple[str, str]]:
    """((data set, model), (method, variant)) of "dataset-model/method/variant"."""
    pair, _, arm = name.partition("/")
    dataset, _, model = pair.rpartition("-")
    method, _, variant = arm.partition("/")
    return (dataset, model), (method, variant)


def ablated_pairs(runs: pd.DataFrame, ablations: Iterable[Ablation]) -> set[PairOf]:
    """The pairs that run for ablations alone.

    Of such a pair every arm among ``runs`` (columns dataset, model, method, variant) is held
    against an arm of another pair. Where that is so on both sides, it is the one with the change.
    """
    arms: dict[PairOf, set[tuple[str, str]]] = {}
    for run in runs[["dataset", "model", "method", "variant"]].itertuples(index=False):
        arms.setdefault((run.dataset, run.model), set()).add((run.method, run.variant))
    sides = [(split_arm(one), split_arm(other)) for _, one, other in ablations]
    sides = [(one, other) for one, other in sides if one[0] != other[0]]
    named = [*(one for one, _ in sides), *(other for _, other in sides)]
    only = {pair for pair, own in arms.items() if own <= {arm for of, arm in named if of == pair}}
    changed = {one[0] for one, _ in sides}
    changed |= {other[0] for one, other in sides if one[0] not in only}
    return only & changed


def without_ablated(runs: pd.DataFrame, ablations: Iterable[Ablation]) -> pd.DataFrame:
    """The rows of ``runs`` whose pair does not run for ablations alone."""
    left_out = ablated_pairs(runs, ablations)
    pairs = zip(runs["dataset"], runs["model"], strict=True)
    return runs[[pair not in left_out for pair in pairs]].reset_index(drop=True)


def comparable(
    own: pd.DataFrame, reference: pd.DataFrame, names: Iterable[str] = IN_COMMON
) -> bool:
    """Whether an arm is a method to hold against the reference: both frames with a row per run.

    It trains as the reference does and, if it has the rule, with the reference's k, patience and
    cap (IN_COMMON, as recorded with each run). Other cohorts or a carried optimizer are accidents
    of the notebooks and have the table of ablations, another k or patience has the map, for whose
    cells ``names`` is ALIKE.
    """
    for name in set(names) & set(own.columns):
        found, wanted = set(own[name].dropna()), set(reference[name].dropna())
        # a choice that a run does not make is Adam, FedAvg or none, a rule that it has not is none
        if (found or name in LATER) and found != wanted:
            return False
    return True
