"""Comparisons, ablations, kept filters and findings on runs that are known to the last digit."""

import json
import re

import pandas as pd
import pytest

from autoprune.errors import InputError
from autoprune.evidence.ablations import ablations
from autoprune.evidence.comparisons import answer, comparisons, raw, readable, size_of
from autoprune.evidence.inference import Estimate
from autoprune.evidence.readings import READINGS, ROUNDS, TRAINING
from autoprune.findings import in_short, unsettled
from autoprune.findings import main as write_findings
from autoprune.kept import by_chance, jaccard, similarity, survivors
from autoprune.measure.table import read_metrics
from autoprune.metrics import collect

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
    records = comparisons(metrics, REFERENCE, 1.5)
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


def test_runs_that_are_the_same_stand_once_and_are_named(metrics):
    records = comparisons(metrics, REFERENCE)
    found = by_arm(records)
    assert found["autoprune"]["same_runs"] == [("l1-uniform", "reinit")]
    assert found["found-widths"]["partly_same"] == {("narrow", "reinit"): (2, 3)}
    table = raw(records).set_index(["method", "question"])
    assert table.loc[("narrow", ROUNDS), "partly_same"] == "found-widths/reinit 2 of 3"
    assert table.loc[("autoprune", ROUNDS), "same_runs"] == "l1-uniform/reinit"
    shown = readable(records)["method"].tolist()
    assert "autoprune, fresh weights = l1-uniform/reinit" in shown
    assert "narrow, from scratch (same as found widths, from scratch in 2 of 3 seeds)" in shown


def test_only_what_the_interval_excludes_is_bold(metrics):
    records = comparisons(metrics, REFERENCE, 1.5)
    shown = readable(records, bold="**{}**").set_index("method")[f"{ROUNDS}, points"]
    assert [name for name, text in shown.items() if text.startswith("**")] == [
        "dense (FedAvg)",
        "random-filters/reinit",
    ]
    table = raw(records)
    settled = table["difference_low"].gt(0) | table["difference_high"].lt(0)
    assert ((table["p_adjusted"] <= 0.05) == settled).all()
    assert set(table[table["answer"].isin(["better", "worse"])].index) == set(table[settled].index)


def test_at_equal_training_rounds_both_are_read_after_the_shorter_training(metrics):
    """The reference trains three of four rounds; evaluations stand in rounds 2 and 4."""
    records = by_arm(comparisons(metrics, REFERENCE, 1.5), TRAINING)
    assert records["dense"]["difference"].at == 3
    shown = readable(comparisons(metrics, REFERENCE, 1.5)).set_index("method")
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
    assert both[0]["difference"].critical > 1.05 * first["difference"].critical
    with pytest.raises(InputError, match="no run of 'glyphs-cnn/dense/none'"):
        ablations(metrics, [("x", "glyphs-cnn/dense/none", "glyphs-cnn/dense/fedavg")])


def plan(*shrinks, widths=(4, 3), weights="inherit"):
    layers = [{"round": n, "layers": [{"kept": k} for k in kept]} for n, kept in enumerate(shrinks)]
    return {"base": {"widths": list(widths)}, "weights": weights, "shrinks": layers}


def test_survivors_are_traced_to_the_base():
    """Keep 0, 2, 3 of 4, then the last two of these: 2 and 3."""
    assert survivors(plan([[0, 2, 3], [0, 1, 2]], [[1, 2], [2]])) == [(2, 3), (2,)]
    with pytest.raises(InputError, match="not there"):
        survivors(plan([[0], [0]], [[1], [0]]))


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


def test_findings_are_the_tables(metrics, tmp_path, stage):
    """Every arm is named once a reading; the numbers are cells; an absent table is one line."""
    (tmp_path / "tables").mkdir()
    flags = ("--metrics", "m.csv")
    for name, more in (
        ("comparisons", ("--reference", "reinit", "--margin", 1.5)),
        ("ablations", ()),
    ):
        out = [f"tables/{name}.{ending}" for ending in ("csv", "html", "md", "tex")]
        files = ("--csv", out[0], "--html", out[1], "--markdown", out[2], "--latex", out[3])
        done = stage(f"evidence.{name}", *flags, *more, *files, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    write = ["--study", "Made up", str(tmp_path), "--output", str(tmp_path / "f.md")]
    with pytest.raises(InputError, match=r"claims\.csv: not a table"):
        write_findings(write)
    claims = "claim,published,source,variant,data,ours,low,high,n,verdict,resolved,tested_on\n"
    claims += "it is so,not asked,control,reinit,,1.5,1,2,3,holds,yes,glyphs\n"
    claims += "it shrinks,89 %,abstract,reinit,,50,40,95,3,does not hold,no,glyphs\n"
    (tmp_path / "tables/claims.csv").write_text(claims)
    write_findings(write)
    text = (tmp_path / "f.md").read_text()
    assert "- better: dense (FedAvg) (+20.0 points [" in text
    assert "- worse: random-filters/reinit (" in text
    assert re.search("equivalent within 1.5 points: .*narrow, from scratch \\(", text)
    rows = [re.sub(" +", " ", line) for line in text.splitlines() if line.startswith("| it ")]
    assert rows == [
        "| it is so | reinit | points of accuracy | 1.50 [1.00, 2.00]: **holds** |",
        "| it shrinks; published: 89 % | reinit | % | 50.00 [40.00, 95.00]: does not hold |",
    ]
    assert len(re.findall("found widths, from scratch", text)) == len(READINGS)
    assert "At equal bytes, against autoprune" in text


def test_a_note_stands_below_the_table(metrics, tmp_path, stage):
    files = [f"--{flag}={flag}" for flag in ("csv", "html", "markdown", "latex")]
    more = ["--reference", "reinit", "--note", "As its authors have it, but for one thing."]
    done = stage("evidence.comparisons", "--metrics", "m.csv", *more, *files, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "markdown").read_text().endswith("but for one thing.\n")


def test_a_claim_stands_once_where_one_study_tests_it_by_variant_and_another_not_at_all():
    about = {"claim": "it shrinks", "published": "89 %", "source": "abstract"}
    untested = about | {"variant": None, "verdict": "not tested"}
    by_variant = [
        about | {"variant": name, "verdict": "holds", "resolved": "yes", "ours": 90, "low": None}
        for name in ("reinit", "inherit")
    ]
    text = in_short({"One: a": pd.DataFrame([untested]), "Two: b": pd.DataFrame(by_variant)})
    rows = [re.sub(" +", " ", line) for line in text.splitlines() if line.startswith("| it ")]
    assert rows == [
        f"| it shrinks; published: 89 % | {name} | % | not tested | 90.00: **holds** |"
        for name in ("reinit", "inherit")
    ]


@pytest.mark.parametrize(
    ("arms", "said"),
    [
        ([], "0"),
        ([("dense", 2, -1, 5)], "1, dense/x (+2.0 points [−1.0, 5.0])"),
        (
            [("b", 2, 1, 3), ("a", 9, -1, 19), ("c", -4, -5, -3), ("d", 1, 0.5, 1.5)],
            "4, from a/x (+9.0 points [−1.0, 19.0]) to c/x (−4.0 points [−5.0, −3.0])",
        ),
    ],
)
def test_what_is_not_settled_is_a_range(arms, said):
    names = ["method", "difference_points", "difference_low", "difference_high"]
    assert unsettled(pd.DataFrame(arms, columns=names).assign(variant="x", n=3)) == said
