"""Comparisons, ablations, kept filters and findings on runs that are known to the last digit."""

import json
import re

import pandas as pd
import pytest

from autoprune.errors import InputError
from autoprune.evidence.ablations import ablations
from autoprune.evidence.comparisons import (
    FAIRNESS,
    at_bytes,
    comparisons,
    differences,
    raw,
    readable,
    size_of,
)
from autoprune.findings import in_short, unsettled
from autoprune.findings import main as write_findings
from autoprune.kept import by_chance, jaccard, similarity, survivors
from autoprune.metrics import collect, read_metrics

REFERENCE = ("autoprune", "reinit")


@pytest.fixture
def metrics(run_folder, tmp_path):
    """Three seeds: dense far above the reference, found-widths as good, random ever below."""
    folders = []
    for seed, noise in ((1, 0.0), (2, 0.004), (3, -0.003)):
        for method, variant, accuracy in (
            ("dense", "fedavg", 0.9),
            ("autoprune", "reinit", 0.7 + noise),
            ("found-widths", "reinit", 0.7 + noise),
            ("random-filters", "reinit", 0.45),
        ):
            about = {"method": method, "variant": variant, "seed": seed}
            folders.append(run_folder(**about, test_accuracy=accuracy, share=0.99))
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    return read_metrics(tmp_path / "m.csv")


def test_differences_by_hand(metrics):
    found = {(r["method"], r["question"]): r for r in comparisons(metrics, REFERENCE, 1.0)}
    assert len(found) == 4 * 2
    dense = found["dense", "final"]
    assert dense["difference"].mean == pytest.approx(100 * (0.2 - 0.001 / 3))
    assert dense["comparisons"] == 3
    assert dense["p_holm"] == pytest.approx(2 * dense["p"])  # second smallest of three
    assert found["random-filters", "final"]["p_holm"] < 0.05
    same = found["found-widths", "final"]
    assert same["difference"].mean == pytest.approx(0)
    assert same["p_holm"] == 1
    assert same["p_equivalence"] == 0
    assert found["autoprune", "final"]["p"] is None
    assert found["autoprune", "final"]["share_of_budget"] == 1


def test_only_what_is_significant_is_bold(metrics):
    records = comparisons(metrics, REFERENCE, 1.0)
    shown = readable(records, bold="**{}**").set_index("method")["final, points"]
    assert [name for name, text in shown.items() if text.startswith("**")] == [
        "dense (FedAvg)",
        "random-filters/reinit",
    ]
    table = raw(records, 1.0)
    assert set(table[table["p_holm"] < 0.05]["method"]) >= {"dense", "random-filters"}


def test_equal_bytes_reads_the_line_between_two_evaluations():
    """Evaluated at 0, 20 and 40 bytes; after the last evaluation nothing is extrapolated."""
    rounds = pd.DataFrame(
        {
            "bytes_cumulative": [0, 10, 20, 30, 40, 50],
            "test_accuracy": [0.1, float("nan"), 0.3, float("nan"), 0.7, float("nan")],
        }
    )
    by_hand = {0: 0.1, 5: 0.15, 19: 0.29, 20: 0.3, 30: 0.5, 39: 0.68, 40: 0.7, 50: 0.7, 99: 0.7}
    assert {n: at_bytes(rounds, n) for n in by_hand} == pytest.approx(by_hand)
    assert at_bytes(rounds[::-1], 30) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no evaluation at or before 19 bytes; the first is at 20"):
        at_bytes(rounds[1:], 19)


def test_a_round_that_sent_nothing_replaces_the_evaluation_before_it():
    """Evaluated at 20 bytes twice: the later one counts, also as the end of a line."""
    rounds = rounds_of((0, 0.1), (20, 0.3), (20, 0.5), (40, 0.7))
    assert [at_bytes(rounds, n) for n in (10, 20, 30)] == pytest.approx([0.3, 0.5, 0.6])


def rounds_of(*rows):
    return pd.DataFrame(rows, columns=["bytes_cumulative", "test_accuracy"])


def run(method, bytes_total, accuracy, **more):
    """A row of final figures of seed 1."""
    identity = {"dataset": "d", "data_kind": "real", "stands_for": "", "model": "m", "seed": 1}
    about = {"method": method, "variant": "v", "bytes_total": bytes_total}
    scores = dict.fromkeys(("test_accuracy", *FAIRNESS), accuracy)
    return identity | about | scores | more


@pytest.mark.parametrize("cheaper", ["own", "reference"])
def test_equal_bytes_by_hand(cheaper):
    """Both are read at 60 bytes, the smaller total: one at its end, the other half-way from 40 to
    80 bytes, at 0.3 + 0.5 / 2."""
    rounds = {
        "dear": rounds_of((0, 0.1), (40, 0.3), (80, 0.8), (120, 0.9)),
        "cheap": rounds_of((0, 0.1), (20, 0.15), (40, 0.2), (60, 0.5)),
    }
    names = {"own": "cheap", "reference": "dear"} if cheaper == "own" else {
        "own": "dear", "reference": "cheap"
    }  # fmt: skip
    totals = {"dear": (120, 0.9), "cheap": (60, 0.5)}
    frames = {role: pd.DataFrame([run(name, *totals[name])]) for role, name in names.items()}
    keyed = {("d", "real", "", "m", name, "v", 1): rounds[name] for name in totals}
    found = differences(frames["own"], frames["reference"], keyed)
    sign = 1 if cheaper == "own" else -1
    assert found["equal bytes"].tolist() == pytest.approx([sign * (50 - 55)])
    assert found["final"].tolist() == pytest.approx([sign * (50 - 90)])


def test_equal_bytes_count_bytes_and_not_rounds():
    """A network that shrinks sends ever less: 85 of 100 bytes lie in the third of four rounds.

    Evaluated after the fourth round only: 0.1 + 0.85 * 0.8 = 0.78, against 0.6 at the other's end.
    """
    nothing = float("nan")
    shrinking = [(0, 0.1), (40, nothing), (70, nothing), (90, nothing), (100, 0.9)]
    rounds = {
        ("d", "real", "", "m", "a", "v", 1): rounds_of(*shrinking),
        ("d", "real", "", "m", "b", "v", 1): rounds_of((0, 0.2), (85, 0.6)),
    }
    own, reference = pd.DataFrame([run("a", 100, 0.9)]), pd.DataFrame([run("b", 85, 0.6)])
    found = differences(own, reference, rounds)
    assert found["equal bytes"].tolist() == pytest.approx([78 - 60])


def test_the_share_of_the_budget_is_one_of_bits_where_numbers_are_shorter():
    reference = pd.DataFrame([run("a", 1, 0, nonzeros=100, bits=3200)])
    reference["parameters_with_statistics"] = 100
    for nonzeros, bits, share in ((100, 3200, 1), (50, 1600, 0.5), (200, 1600, 0.5)):
        own = pd.DataFrame([run("b", 1, 0, nonzeros=nonzeros, bits=bits)])
        own["parameters_with_statistics"] = nonzeros
        assert size_of(own, reference)["share_of_budget"] == share


def test_classes_and_worst_clients_are_paired_by_seed_too(metrics):
    """The made-up runs' worst decile is half of their accuracy."""
    found = raw(comparisons(metrics, REFERENCE, 1.0), 1.0).set_index(["method", "question"])
    dense = found.loc[("dense", "final")]
    assert dense["test_macro_accuracy_difference_points"] == pytest.approx(20 - 0.1 / 3)
    decile = "test_accuracy_worst_decile_difference"
    assert dense[f"{decile}_points"] == pytest.approx((20 - 0.1 / 3) / 2)
    assert dense[f"{decile}_low"] > 0
    assert pd.isna(found.loc[("autoprune", "final"), f"{decile}_points"])


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
    assert last["difference"].n == 2
    assert last["difference"].mean == pytest.approx(4)
    assert last["difference"].sd == pytest.approx(8**0.5)  # of 2 and 6, not of 1, 3, 5 and 7
    assert last["largest"] == pytest.approx(7)


def test_ablations_pair_by_seed_and_name_what_is_missing(metrics):
    first, last = ablations(
        metrics, [("as printed", "glyphs-cnn/autoprune/reinit", "glyphs-cnn/dense/fedavg")]
    )
    assert first["difference"].mean == pytest.approx(-100 * (0.2 - 0.001 / 3))
    assert first["difference"].n == 3
    assert last["difference"].mean == 0  # these runs end where their mean is
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
    """Every arm is named once a question; the numbers are cells; an absent table is one line."""
    (tmp_path / "tables").mkdir()
    flags = ("--metrics", "m.csv")
    for name, more in (
        ("comparisons", ("--reference", "reinit", "--margin", 1)),
        ("ablations", ()),
    ):
        out = [f"tables/{name}.{ending}" for ending in ("csv", "html", "md", "tex")]
        files = ("--csv", out[0], "--html", out[1], "--markdown", out[2], "--latex", out[3])
        done = stage(f"evidence.{name}", *flags, *more, *files, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    write = ["--study", "Made up", str(tmp_path), "--output", str(tmp_path / "f.md")]
    with pytest.raises(InputError, match=r"claims\.csv: not a table"):
        write_findings(write)
    claims = "claim,published,source,variant,ours,low,high,n,verdict,resolved,tested_on\n"
    claims += "it is so,not asked,control,reinit,1.5,1,2,3,holds,yes,glyphs\n"
    claims += "it shrinks,89 %,abstract,reinit,50,40,95,3,does not hold,no,glyphs\n"
    (tmp_path / "tables/claims.csv").write_text(claims)
    write_findings(write)
    text = (tmp_path / "f.md").read_text()
    assert "significantly better: dense (FedAvg) (+20.0 points" in text
    assert "significantly worse: random-filters/reinit (−25.0 points" in text
    assert "equivalent within 1.0 points: found widths, from scratch (0.0 points" in text
    rows = [re.sub(" +", " ", line) for line in text.splitlines() if line.startswith("| it ")]
    assert rows == [
        "| it is so | reinit | points of accuracy | 1.50 [1.00, 2.00]: **holds** |",
        "| it shrinks; published: 89 % | reinit | % | 50.00 [40.00, 95.00]: does not hold |",
    ]
    assert len(re.findall("found widths, from scratch", text)) == 2
    assert "When as many bytes have been sent, against autoprune" in text


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
            "4, from a/x (+9.0 points [−1.0, 19.0]) to c/x (−4.0 points [−5.0, −3.0]); before the "
            "correction 2 of these intervals lie above 0 and 1 below",
        ),
    ],
)
def test_what_is_not_settled_is_a_range_and_how_it_leans(arms, said):
    names = ["method", "difference_points", "difference_low", "difference_high"]
    assert unsettled(pd.DataFrame(arms, columns=names).assign(variant="x", n=3)) == said
