"""What runs for ablations alone: pairs that no average takes, arms that are no method."""

import zlib
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest

from autoprune.evidence.ablated import ablated_pairs, comparable, without_ablated
from autoprune.evidence.comparisons import comparisons
from autoprune.federation.settings import LATER, Arm, Training
from autoprune.measure.metrics import collect
from autoprune.measure.table import IN_NUMBERS, TRAINING, read_metrics
from autoprune.measure.table import SETTINGS as MEASURED
from autoprune.study.grid import read_config, runs_of

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
        ("mnist methods", set()),
        (
            "femnist-leaf methods femnist-ablations",
            {(f"femnist_{name}", "cnn") for name in ("cropped", "raw", "inverted")},
        ),
        # there the notebooks' own crop and attribute have the change, and are the study
        (
            "paper methods paper-controls",
            {
                *(("femnist_whole", "cnn"), ("femnist_standardised", "cnn")),
                ("celeba_smiling", "cnn"),
            },
        ),
    ],
)
def test_of_our_own_studies(files, left_out):
    paths = [CONFIG / f"{name}.yaml" for name in files.split()]
    config = read_config(paths, CONFIG / "config.yaml")
    ablations = [(name, a["with"], a["without"]) for name, a in config["ablations"].items()]
    assert ablated_pairs(pd.DataFrame(runs_of(config)), ablations) == left_out


SETTINGS = {
    "cohort": 10, "local_epochs": 2, "batch_size": 8, "learning_rate": 0.003, "epsilon": 1e-7,
    "precision": 32, "optimizer_carried": 0, "rounds": 40, "k": 2.0, "patience": 3, "cap": 8,
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_an_arm_of_another_training_or_rule_is_no_method(name):
    reference = pd.DataFrame([SETTINGS] * 2)
    assert comparable(reference, reference)
    assert not comparable(reference.assign(**{name: SETTINGS[name] + 1}), reference)
    one_seed = reference.copy()
    one_seed.loc[1, name] += 1
    assert not comparable(one_seed, reference)


def test_an_arm_without_the_rule_is_a_method_and_a_failed_client_changes_nothing():
    reference = pd.DataFrame([{**SETTINGS, "clients_per_round": 10}] * 2)
    without = dict.fromkeys(("k", "patience", "cap"), float("nan"))
    assert comparable(reference.assign(clients_per_round=9.9, **without), reference)
    assert not comparable(reference.assign(cohort=20, **without), reference)


def test_every_setting_of_training_that_decides_a_number_is_held_equal():
    """rounds are counted; the others hold failures, readings and checkpoints, not steps."""
    config = read_config([], CONFIG / "config.yaml")["training"]
    others = {"rounds", "min_clients", "evaluate_every", "checkpoint_every"}
    held = {name.replace("-", "_") for name in TRAINING.values()}
    assert held - set(LATER) == set(config) - others
    assert set(LATER) <= held


@pytest.mark.parametrize("name", LATER)
def test_arms_that_are_trained_otherwise_are_none_of_each_others_methods(name):
    """Whichever of the two has the row that only those have who set it."""
    plain = pd.DataFrame([SETTINGS] * 2).assign(**{name: float("nan")})
    chosen, other = plain.assign(**{name: 7}), plain.assign(**{name: 8})
    assert comparable(plain, plain)
    assert comparable(chosen, chosen)
    for one, reference in ((chosen, plain), (plain, chosen), (chosen, other)):
        assert not comparable(one, reference)


def test_a_choice_is_a_checksum_among_the_metrics(run_folder):
    sgd = '{"name":"SGD","momentum":0.9}'
    given = {"optimizer": sgd, "proximal-mu": 0.5, "start": "sha256:00", "start-partial": True}
    table = collect([run_folder(method="dense", variant="sgd", seed=1, settings=given)])
    final = table[table["round"] == ""].set_index("metric")
    found = {name: list(final.loc[name, ["value", "unit"]]) for name in final.index}
    assert found["optimizer"] == [str(zlib.crc32(sgd.encode())), "checksum"]
    assert found["proximal_mu"] == ["0.5", "number"]
    assert found["start"] == [str(zlib.crc32(b"sha256:00")), "checksum"]
    assert found["start_partial"] == ["1", "flag"]
    assert not {"server", "schedule", "augmentation"} & found.keys()


def test_the_family_holds_methods_and_their_options(run_folder, tmp_path):
    """Of nine arms, as config/controls.yaml has them, three are held against the reference.

    And of those two are variants of autoprune, held against dense as well.
    """
    usual = {
        "clients-per-round": 5, "local-epochs": 4, "batch-size": 32, "learning-rate": 0.005,
        "epsilon": 1e-7, "precision": "fp32", "optimizer-state": "fresh",
    }  # fmt: skip
    rule = {"k": 2.2, "patience": 3, "cap": 8, "tails": "both", "statistics": "layer"}
    arms = {
        ("dense", "fedavg"): usual,
        ("autoprune", "reinit"): usual | rule,
        ("autoprune", "pooled"): usual | rule | {"statistics": "pooled"},
        ("autoprune", "inherit-low"): usual | rule | {"tails": "low"},
        ("autoprune", "carried"): usual | rule | {"optimizer-state": "carried"},
        ("dense", "carried"): usual | {"optimizer-state": "carried"},
        ("autoprune", "clients-20"): usual | rule | {"clients-per-round": 20},
        ("autoprune", "k1.6-p3"): usual | rule | {"k": 1.6},
        ("autoprune", "k2.2-p1"): usual | rule | {"patience": 1},
        ("autoprune", "bf16"): usual | rule | {"precision": "bf16"},
    }
    folders = [
        run_folder(method=method, variant=variant, seed=seed, settings=settings)
        for (method, variant), settings in arms.items()
        for seed in (1, 2)
    ]
    table = collect(folders)
    carried = table[(table["variant"] == "carried") & (table["metric"] == "optimizer_carried")]
    assert set(carried["value"]) == {"1"}
    assert set(carried["unit"]) == {"flag"}
    table.to_csv(tmp_path / "m.csv", index=False)
    records = comparisons(read_metrics(tmp_path / "m.csv"), ("autoprune", "reinit"), 1.0)
    assert {(r["method"], r["variant"]) for r in records} == {
        ("dense", "fedavg"),
        ("autoprune", "reinit"),
        ("autoprune", "pooled"),
        ("autoprune", "inherit-low"),
    }
    assert {r["comparisons"] for r in records if not r["is_reference"]} == {5}


def test_the_words_of_settings_are_those_that_runs_know():
    words = [get_args(field.annotation) for field in Training.model_fields.values()]
    known = {word for of_field in words for word in of_field if isinstance(word, str)}
    known.remove("auto")  # no run has this device: it says what it came to
    task = Arm.model_fields["task"]
    assert set(IN_NUMBERS) == known | ({*get_args(task.annotation)} - {task.default})


def test_settings_keep_their_names_in_metrics():
    """Committed ones have them; the models say under which name a setting is measured."""
    metrics = read_metrics(CONFIG.parent / "docs/findings/unipen/metrics.csv.gz")
    later = {
        *LATER,
        "task",
        "gradients_compiled",
        *(name for name in MEASURED if name.startswith("target_")),
    }
    assert set(MEASURED) - later <= set(metrics["metric"])
    assert (IN_NUMBERS["bf16"], IN_NUMBERS["carried"], IN_NUMBERS["averaged"]) == (16, 1, 1)
    assert (MEASURED["cohort"], MEASURED["k"]) == ("clients-per-round", "k")
