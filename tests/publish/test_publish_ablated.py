"""What runs for ablations alone: pairs that no average takes, arms that are no method."""

from pathlib import Path

import pandas as pd
import pytest

from autoprune.ablated import ablated_pairs, without_ablated
from autoprune.study import read_config, runs_of

CONFIG = Path(__file__).parents[2] / "config"
DENSE, OURS = "dense/fedavg", "autoprune/reinit"


def runs(**pairs):
    """Runs of seed 1: pair (its dash as _) -> arms as method/variant."""
    rows = [(*pair.split("_"), *arm.split("/"), 1) for pair, arms in pairs.items() for arm in arms]
    return pd.DataFrame(rows, columns=["dataset", "model", "method", "variant", "seed"])


def against(one, other, *arms):
    """An ablation of each arm, the first pair with the change."""
    return [(f"{one} {arm}", f"{one}/{arm}", f"{other}/{arm}") for arm in arms]


@pytest.mark.parametrize(
    ("pairs", "ablations", "left_out"),
    [
        # nothing is ablated
        ({"a_cnn": [DENSE, OURS], "b_cnn": [DENSE, OURS]}, [], set()),
        # b has nothing but the ablation's two arms
        (
            {"a_cnn": [DENSE, OURS, "narrow/x"], "b_cnn": [DENSE, OURS]},
            against("b-cnn", "a-cnn", DENSE, OURS),
            {("b", "cnn")},
        ),
        # whichever side it stands on
        (
            {"a_cnn": [DENSE, OURS, "narrow/x"], "b_cnn": [DENSE, OURS]},
            against("a-cnn", "b-cnn", DENSE, OURS),
            {("b", "cnn")},
        ),
        # one arm more, and the pair has a purpose of its own
        (
            {"a_cnn": [DENSE, OURS, "narrow/x"], "b_cnn": [DENSE, OURS, "narrow/x"]},
            against("b-cnn", "a-cnn", DENSE, OURS),
            set(),
        ),
        # both have nothing else: the one with the change
        (
            {"a_cnn": [DENSE, OURS], "b_cnn": [DENSE, OURS]},
            against("b-cnn", "a-cnn", DENSE, OURS),
            {("b", "cnn")},
        ),
        # an arm that is named of other pairs is not named of this one
        (
            {"a_cnn": [DENSE, OURS, "narrow/x"], "b_cnn": [DENSE, OURS], "c_cnn": [OURS]},
            against("b-cnn", "a-cnn", DENSE) + against("c-cnn", "a-cnn", OURS),
            {("c", "cnn")},
        ),
        # an ablation within a pair makes no pair one
        (
            {"a_cnn": [DENSE, OURS]},
            [("as printed", f"a-cnn/{OURS}", f"a-cnn/{DENSE}")],
            set(),
        ),
        # another model of the same data is another pair
        (
            {"a_cnn": [DENSE, OURS, "narrow/x"], "b_cnn": [DENSE], "b_resnet": [DENSE]},
            against("b-cnn", "a-cnn", DENSE),
            {("b", "cnn")},
        ),
    ],
)
def test_a_pair_runs_for_ablations_alone_when_each_arm_is_held_against_another_pair(
    pairs, ablations, left_out
):
    assert ablated_pairs(runs(**pairs), ablations) == left_out
    kept = without_ablated(runs(**pairs), ablations)
    names = {tuple(pair.split("_")) for pair in pairs}
    assert set(zip(kept["dataset"], kept["model"], strict=True)) == names - left_out


@pytest.mark.parametrize(
    ("files", "left_out"),
    [
        ("controls", {("faces_male", "resnet")}),
        ("mnist methods mnist-controls", set()),
        (
            "femnist-leaf methods femnist-ablations",
            {("femnist_cropped", "cnn"), ("femnist_inverted", "cnn")},
        ),
        # there the notebooks' own crop and attribute have the change, and are the study
        (
            "paper methods paper-controls",
            {("femnist_whole", "cnn"), ("celeba_smiling", "cnn")},
        ),
    ],
)
def test_of_our_own_studies(files, left_out):
    paths = [CONFIG / f"{name}.yaml" for name in files.split()]
    config = read_config(paths, CONFIG / "config.yaml")
    ablations = [(name, a["with"], a["without"]) for name, a in config["ablations"].items()]
    assert ablated_pairs(pd.DataFrame(runs_of(config)), ablations) == left_out
