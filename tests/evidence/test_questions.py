"""The study's questions: answered when both readings and the seeds settle them."""

import json

import pytest

from autoprune.evidence.family import studies
from autoprune.evidence.questions import QUESTIONS, question_rows
from autoprune.evidence.statistics import final_figures
from autoprune.evidence.two_readings import both
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics

DENSE, RANDOM, WIDTHS, NARROW, NULL = (question.claim for question in QUESTIONS)
REFERENCE = ("autoprune", "reinit")


def answers(folders, tmp_path, margin=1.0):
    """Of each question and variant its row, of the only pair."""
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    metrics = read_metrics(tmp_path / "m.csv")
    values, sources = final_figures(metrics)
    rows = question_rows(studies(metrics, values, REFERENCE, margin), values, sources)
    return {(row["claim"], row["variant"]): row for row in rows}


def arms(run_folder, accuracies, seeds=(1, 2, 3), **settings):
    """Runs of several arms: (method, variant) -> accuracy of a seed."""
    return [
        run_folder(
            method=method, variant=variant, seed=seed, test_accuracy=of(seed), rounds=12, **settings
        )
        for (method, variant), of in accuracies.items()
        for seed in seeds
    ]


def steady(accuracy):
    """About this accuracy, a tenth of a point from seed to seed; how, is each arm's own."""
    place = round(1000 * accuracy)
    return lambda seed: accuracy + 0.001 * (seed * place % 3 - 1 if place % 3 else 0)


def test_each_question_is_answered_for_each_variant_that_has_the_control(run_folder, tmp_path):
    """Kept weights lose 1/2 point to dense, fresh ones 30; random filters are 10 points worse."""
    folders = arms(
        run_folder,
        {
            ("dense", "fedavg"): steady(0.9),
            REFERENCE: steady(0.6),
            ("autoprune", "inherit"): steady(0.895),
            ("random-filters", "inherit"): steady(0.795),
            ("found-widths", "reinit"): steady(0.7),
        },
    )
    found = answers(folders, tmp_path)
    said = {key: (row["verdict"], row["resolved"]) for key, row in found.items()}
    assert said == {
        (DENSE, "reinit"): ("does not hold", "yes"),
        (DENSE, "inherit"): ("holds", "yes"),
        (RANDOM, "inherit"): ("does not hold", "yes"),
        (WIDTHS, "reinit"): ("holds", "yes"),
        (NARROW, ""): ("not tested", "no"),
        (NULL, ""): ("not tested", "no"),
    }
    row = found[DENSE, "inherit"]
    assert (row["ours"], row["n"]) == (pytest.approx(-0.5), 3)
    assert row["low"] < -0.5 < row["high"]
    assert row["training_ours"] == pytest.approx(-0.5)
    assert row["training_rounds"] == 8  # pruned in rounds 2 to 5 of 12
    assert row["data"] == "glyphs (stand-in)/CNN"
    assert "STAND-IN DATA ONLY" in row["tested_on"]
    assert "autoprune, kept weights − dense (FedAvg) ≥ −1.00 points" in row["rule"]
    assert row["answer"].startswith("at equal rounds: holds; at equal training rounds (8): holds")
    assert {"history.csv", "evaluation.json"} == {
        name.rpartition("/")[2] for name in row["source_files"].split(";")
    }


def climbing(run_folder, method, variant, seed, start, total=40):
    """A run that ends at 80 % after 40 rounds of training, from round ``start`` on."""
    folder = run_folder(
        method=method, variant=variant, seed=seed, rounds=total, every=1,
        shrink_rounds=range(2, start + 1),
    )  # fmt: skip
    path = folder / "history.csv"
    head, *lines = path.read_text().splitlines()
    rows = [dict(zip(head.split(","), line.split(","), strict=True)) for line in lines]
    for at, row in enumerate(rows):
        trained = max(0, at - start + 1) + 0.05 * (seed % 3 if start > 1 else seed - 1)
        row["test_accuracy"] = row["validation_accuracy"] = str(0.8 * min(trained, 41) / 40)
    text = "\n".join(",".join(row.values()) for row in rows)
    path.write_text(f"{head}\n{text}\n")
    return folder


def test_an_answer_that_training_alone_gives_is_not_settled(run_folder, tmp_path):
    """Widths are found in round 20; who trains them from round 1 on has had 19 rounds more.

    At the end it is 38 points better; after 21 rounds of training each it is the same.
    """
    folders = [
        climbing(run_folder, *arm, seed, start)
        for arm, start in (
            (("dense", "fedavg"), 1),
            (REFERENCE, 20),
            (("found-widths", "reinit"), 1),
        )
        for seed in (1, 2, 3)
    ]
    row = answers(folders, tmp_path)[WIDTHS, "reinit"]
    assert row["ours"] == pytest.approx(38)
    assert (row["training_ours"], row["training_rounds"]) == (pytest.approx(0, abs=1e-9), 21)
    assert (row["verdict"], row["resolved"]) == ("holds", "yes")  # as well, at both
    dense = answers(folders, tmp_path)[DENSE, "reinit"]
    assert dense["ours"] == pytest.approx(-38)
    assert dense["verdict"] == "depends on training rounds"
    assert dense["resolved"] == "no"
    assert "at equal rounds: does not hold; at equal training rounds (21): holds" in dense["answer"]
    assert "still rising: autoprune, fresh weights" in dense["tested_on"]


@pytest.mark.parametrize(
    ("end", "trained", "verdict", "resolved"),
    [
        ("holds", "holds", "holds", "yes"),
        ("does not hold", "does not hold", "does not hold", "yes"),
        ("holds", "does not hold", "depends on training rounds", "no"),
        ("holds", "not resolved", "not resolved", "no"),
        ("not resolved", "does not hold", "not resolved", "no"),
        ("not resolved", "not resolved", "not resolved", "no"),
    ],
)
def test_one_verdict_of_two(end, trained, verdict, resolved):
    one, other = (
        {"verdict": word, "resolved": "no" if word == "not resolved" else "yes"}
        for word in (end, trained)
    )
    assert both(one, other) == {"verdict": verdict, "resolved": resolved}


def test_what_seeds_leave_open_is_not_resolved(run_folder, tmp_path):
    """Found widths swing by 20 points around the reference."""
    folders = arms(
        run_folder,
        {
            ("dense", "fedavg"): steady(0.9),
            REFERENCE: steady(0.7),
            ("found-widths", "reinit"): {1: 0.8, 2: 0.6, 3: 0.7}.get,
        },
    )
    row = answers(folders, tmp_path)[WIDTHS, "reinit"]
    assert (row["verdict"], row["resolved"]) == ("not resolved", "no")


def test_random_norms_that_prune_more(run_folder, tmp_path):
    """The null ends smaller than autoprune by hand, in points of the dense network."""
    folders, sizes = [], {}
    for seed in (1, 2, 3):
        for method, variant, shrinks in (
            ("dense", "fedavg", ()),
            ("autoprune", "reinit", (2,)),
            ("null-norms", "reinit", (2, 3, 4)),
        ):
            about = {"method": method, "variant": variant, "seed": seed}
            folder = run_folder(**about, shrink_rounds=shrinks)
            counted = json.loads((folder / "complexity.json").read_text())
            sizes[method, seed] = counted["parameters_with_statistics"]
            folders.append(folder)
    row = answers(folders, tmp_path)[NULL, "reinit"]
    by_hand = [
        100 * (sizes["autoprune", n] - sizes["null-norms", n]) / sizes["dense", n]
        for n in (1, 2, 3)
    ]
    assert row["ours"] == pytest.approx(sum(by_hand) / 3)
    assert row["ours"] > 0
    assert row["training_ours"] is None
    assert "≥ −1.00 points of the dense network's parameters" in row["rule"]


def test_where_nothing_was_pruned_there_is_nothing_to_choose_at_random(run_folder, tmp_path):
    """Then all are the dense runs, byte for byte."""
    folders = []
    for method, variant in (
        ("dense", "fedavg"),
        ("autoprune", "inherit-low"),
        ("random-filters", "inherit-low"),
    ):
        for seed in (1, 2):
            about = {"method": method, "variant": variant, "seed": seed, "shrink_rounds": ()}
            folders.append(run_folder(**about, test_accuracy=0.8 + seed / 100))
            dense = folders[seed - 1] / "history.csv"
            (folders[-1] / "history.csv").write_bytes(dense.read_bytes())
    found = answers(folders, tmp_path)
    for claim in (DENSE, RANDOM):
        row = found[claim, "inherit-low"]
        assert row["verdict"] == "not tested"
        assert "are the same runs" in row["tested_on"]


def test_runs_that_coincide_in_some_seeds_are_told(run_folder, tmp_path):
    folders = arms(run_folder, {("dense", "fedavg"): steady(0.9), REFERENCE: steady(0.7)})
    for seed in (1, 2, 3):
        own = run_folder(
            method="found-widths", variant="reinit", seed=seed, rounds=12, test_accuracy=0.69
        )
        if seed == 2:
            twin = own.parents[2] / "autoprune" / "reinit" / own.name / "history.csv"
            (own / "history.csv").write_bytes(twin.read_bytes())
            for name in ("complexity.json", "evaluation.json"):
                (own / name).write_bytes((twin.parent / name).read_bytes())
        folders.append(own)
    row = answers(folders, tmp_path)[WIDTHS, "reinit"]
    assert row["tested_on"].endswith("; the same run in 1 of 3 seeds")
