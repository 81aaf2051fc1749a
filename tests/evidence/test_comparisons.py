"""Comparisons, ablations and kept filters on runs that are known to the last digit."""

import json

import pandas as pd
import pytest

from autoprune.core.errors import InputError
from autoprune.evidence.ablations import ablations
from autoprune.evidence.comparisons import answer, comparisons, raw
from autoprune.evidence.filter_survival import by_chance, jaccard, similarity, survivors
from autoprune.evidence.inference import Estimate
from autoprune.evidence.readings import READINGS, ROUNDS, TRAINING
from autoprune.evidence.statistics import size_of
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics
from made_studies import shown as shown_table

REFERENCE = ("autoprune", "reinit")
NOISE = {1: 0.0, 2: 0.004, 3: -0.003}


@pytest.fixture
def metrics(run_folder, tmp_path):
    """Three seeds: dense far above the reference, found-widths about as good, random far below.

    narrow is found-widths over again in seeds 1 and 2, l1-uniform the reference in all.
    """
    folders = []
    for seed, noise in NOISE.items():
        for method, variant, accuracy in (
            ("dense", "fedavg", 0.9 + noise / 2),
            ("autoprune", "reinit", 0.7 + noise),
            ("found-widths", "reinit", 0.7 - noise),
            ("random-filters", "reinit", 0.45),
        ):
            about = {"method": method, "variant": variant, "seed": seed}
            folders.append(run_folder(**about, test_accuracy=accuracy, share=0.99))
    for method, of, seeds in (
        ("narrow", "found-widths", (1, 2)),
        ("l1-uniform", "autoprune", NOISE),
    ):
        for seed in NOISE:
            own = {"method": method, "variant": "reinit", "seed": seed, "share": 0.99}
            folder = run_folder(**own, test_accuracy=0.7 + NOISE[seed] / 3)
            if seed in seeds:
                for name in ("history.csv", "evaluation.json", "complexity.json"):
                    twin = folder.parents[2] / of / "reinit" / folder.name / name
                    (folder / name).write_bytes(twin.read_bytes())
            folders.append(folder)
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    return read_metrics(tmp_path / "m.csv")


def by_arm(records, question=ROUNDS):
    return {record["method"]: record for record in records if record["question"] == question}


def test_differences_by_hand(metrics):
    records = comparisons(metrics, REFERENCE, 6)
    found = by_arm(records)
    assert len(records) == 5 * len(READINGS)
    assert "l1-uniform" not in found  # the reference itself
    dense = found["dense"]
    assert dense["difference"].seeds.mean == pytest.approx(20 - 0.1 / 6)
    assert dense["comparisons"] == 4  # four arms against the reference; one of them is dense
    assert {name: one["answer"] for name, one in found.items() if not one["is_reference"]} == {
        "dense": "better",
        "random-filters": "worse",
        "found-widths": "equivalent",
        "narrow": "equivalent",
    }
    assert found["found-widths"]["difference"].seeds.mean == pytest.approx(-0.2 / 3)
    assert found["autoprune"]["difference"].seeds.mean is None
    assert found["autoprune"]["share_of_budget"] == 1
    assert by_arm(comparisons(metrics, REFERENCE, 0.1))["found-widths"]["answer"] == "open"
    assert found["dense"]["trained_rounds"] == 4
    assert found["autoprune"]["trained_rounds"] == 3  # it shrinks in round 2 of 4


def shown_of(records):
    return shown_table("comparisons", raw(records))


def test_runs_that_are_the_same_stand_once_and_are_named(metrics):
    records = comparisons(metrics, REFERENCE)
    found = by_arm(records)
    assert found["autoprune"]["same_runs"] == [("l1-uniform", "reinit")]
    assert found["found-widths"]["partly_same"] == {("narrow", "reinit"): (2, 3)}
    table = raw(records).set_index(["method", "question"])
    assert table.loc[("narrow", ROUNDS), "partly_same"] == "found-widths/reinit 2 of 3"
    assert table.loc[("autoprune", ROUNDS), "same_runs"] == "l1-uniform/reinit"
    shown = shown_of(records)["method"].tolist()
    assert "autoprune, fresh weights = l1-uniform/reinit" in shown
    assert "narrow, from scratch (same as found widths, from scratch in 2 of 3 seeds)" in shown


def test_a_run_in_which_no_filter_of_a_layer_fires_is_counted_as_dead(metrics):
    """Dead in the end counts, not on the way; of dense it is one seed of three."""
    about = metrics[(metrics["method"] == "dense") & metrics["round"].notna()].iloc[0]
    rows = [
        about.to_dict() | {"metric": metric, "round": n, "seed": seed, "value": live}
        for seed, last in ((1, 0.0), (2, 0.25), (3, 1.0))
        for n, of in ((2, (1.0, 0.0)), (4, (1.0, last)))
        for metric, live in zip(("live_1", "live_2"), of, strict=True)
    ]
    records = comparisons(pd.concat([metrics, pd.DataFrame(rows)]), REFERENCE, 6)
    table = raw(records).set_index(["method", "question"])
    assert table.loc[("dense", ROUNDS), "dead_runs"] == 1
    assert table.loc[("autoprune", ROUNDS), "dead_runs"] == 0
    shown = shown_of(records).set_index("method")["accuracy, %"]
    assert shown["dense (FedAvg)"].endswith("(1 of 3 dead)")
    assert "dead" not in shown["autoprune, fresh weights = l1-uniform/reinit"]


def test_only_what_the_interval_excludes_is_bold(metrics):
    records = comparisons(metrics, REFERENCE, 6)
    shown = shown_of(records).set_index("method")[f"{ROUNDS}, points"]
    assert [name for name, text in shown.items() if text.startswith("<b>")] == [
        "dense (FedAvg)",
        "random-filters/reinit",
    ]
    table = raw(records)
    settled = table["difference_low"].gt(0) | table["difference_high"].lt(0)
    assert ((table["p_adjusted"] <= 0.05) == settled).all()
    assert set(table[table["answer"].isin(["better", "worse"])].index) == set(table[settled].index)


def test_at_equal_training_rounds_both_are_read_after_the_shorter_training(metrics):
    """The reference trains three of four rounds; evaluations stand in rounds 2 and 4."""
    records = by_arm(comparisons(metrics, REFERENCE, 6), TRAINING)
    assert records["dense"]["difference"].at == 3
    shown = shown_of(comparisons(metrics, REFERENCE, 6)).set_index("method")
    assert shown.loc["dense (FedAvg)", f"{TRAINING}, points"].endswith("at 3</b>")
    assert shown.loc["dense (FedAvg)", "equal bytes, points"].endswith(" MB</b>")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.1, 3, "better"),
        (-3, -0.1, "worse"),
        (-0.9, 0.9, "equivalent"),
        (-1.1, 0.9, "open"),
        (0.1, 0.9, "better"),
        (None, None, "open"),
    ],
)
def test_answers_follow_from_the_interval(low, high, said):
    assert answer(Estimate(3, 0.0, low, high), 1) == said


def sized(**figures):
    """A row of final figures of seed 1."""
    identity = {"dataset": "d", "data_kind": "real", "stands_for": "", "model": "m", "seed": 1}
    return pd.DataFrame([identity | {"bytes_total": 1} | figures])


def test_the_share_of_the_budget_is_one_of_bits_where_numbers_are_shorter():
    reference = sized(nonzeros=100, bits=3200, parameters_with_statistics=100)
    for nonzeros, bits, share in ((100, 3200, 1), (50, 1600, 0.5), (200, 1600, 0.5)):
        own = sized(nonzeros=nonzeros, bits=bits, parameters_with_statistics=nonzeros)
        assert size_of(own, reference)["share_of_budget"] == share
        other_seed = own.assign(seed=2)
        assert size_of(other_seed, reference)["share_of_budget"] == share


def test_accuracies_of_test_images_alone_stand_beside_the_held_out_one(metrics):
    """The made-up runs' worst decile is half of their accuracy."""
    found = raw(comparisons(metrics, REFERENCE, 1.0)).set_index(["method", "question"])
    dense = found.loc[("dense", ROUNDS)]
    assert dense["accuracy_percent"] == pytest.approx(90 + 0.1 / 6)
    assert dense["test_accuracy_worst_decile_percent"] == pytest.approx(45 + 0.1 / 12)


def test_last_rounds_are_averaged_within_a_seed_first(metrics):
    """Two arms whose last round lies 1 and 3 points above in one seed, 5 and 7 in the other."""
    gaps = {("dense", 1): 1, ("autoprune", 1): 3, ("dense", 2): 5, ("autoprune", 2): 7}
    rows = metrics[metrics["seed"].isin([1, 2]) & metrics["method"].isin(["dense", "autoprune"])]
    rows = rows.copy()
    for (method, seed), gap in gaps.items():
        own = (rows["method"] == method) & (rows["seed"] == seed) & rows["round"].isna()
        mean = rows.loc[own & (rows["metric"] == "test_accuracy"), "value"].item()
        rows.loc[own & (rows["metric"] == "test_accuracy_last"), "value"] = mean + gap / 100
    (last,) = ablations(rows, [])
    found = last["difference"]
    assert (found.n, found.mean) == (2, pytest.approx(4))
    # of 2 and 6, not of 1, 3, 5 and 7: t(0.975, 1) * sqrt(8 / 2)
    assert found.high - found.mean == pytest.approx(12.7062047 * 2)
    assert last["largest"] == pytest.approx(7)


def test_ablations_are_a_family_and_name_what_is_missing(metrics):
    named = ("as printed", "glyphs-cnn/autoprune/reinit", "glyphs-cnn/dense/fedavg")
    other = ("random", "glyphs-cnn/random-filters/reinit", "glyphs-cnn/dense/fedavg")
    first, last = ablations(metrics, [named])
    assert first["difference"].mean == pytest.approx(-20 + 0.1 / 6)
    assert first["difference"].n == 3
    assert last["difference"].mean == pytest.approx(0)  # these runs end where their mean is
    both = ablations(metrics, [named, other])
    one, among = (found[0]["difference"] for found in ([first], both))
    assert among.half_width != pytest.approx(one.half_width)
    with pytest.raises(InputError, match="no run of 'glyphs-cnn/dense/none'"):
        ablations(metrics, [("x", "glyphs-cnn/dense/none", "glyphs-cnn/dense/fedavg")])


def plan(*shrinks, widths=(4, 3), weights="inherit"):
    cuts = [
        {"round": n, "layers": [{"kept": k} for k in kept], "widths": [*map(len, kept)]}
        for n, kept in enumerate(shrinks, start=1)
    ]
    return {"base": {"widths": list(widths)}, "weights": weights, "shrinks": cuts}


def test_survivors_are_traced_to_the_base():
    """Keep 0, 2, 3 of 4, then the last two of these: 2 and 3."""
    assert survivors(plan([[0, 2, 3], [0, 1, 2]], [[1, 2], [2]])) == [(2, 3), (2,)]


def test_similarity_by_hand(tmp_path):
    """{0, 1} and {1, 2} of 4 share one of three; by chance none, one or both, 1:4:1."""
    assert jaccard([0, 1], [1, 2]) == pytest.approx(1 / 3)
    assert by_chance(4, 2, 2) == pytest.approx((0 + 4 / 3 + 1) / 6)
    assert by_chance(5, 5, 5) == 1
    for seed, kept in enumerate(([0, 1], [1, 2])):
        folder = tmp_path / str(seed)
        folder.mkdir()
        about = {"dataset": "d", "model": "m", "method": "a", "variant": "v", "seed": seed}
        (folder / "run.json").write_text(json.dumps(about))
        (folder / "plan.json").write_text(json.dumps(plan([kept, [0, 1, 2]])))
    table = similarity([tmp_path / "0", tmp_path / "1"])
    assert table["jaccard"].tolist() == pytest.approx([1 / 3, 1])
    assert table["chance"].tolist() == pytest.approx([(0 + 4 / 3 + 1) / 6, 1])
    (tmp_path / "1/plan.json").write_text(json.dumps(plan([[0], [0]], weights="reinit")))
    assert similarity([tmp_path / "0", tmp_path / "1"]).empty
