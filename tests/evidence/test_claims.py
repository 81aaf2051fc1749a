"""The claims table."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from autoprune.core.errors import InputError
from autoprune.evidence.claims import claims, read_counts, read_published
from autoprune.evidence.inference import Sample, simultaneous
from autoprune.evidence.statistics import binomial_margin
from autoprune.evidence.tabulate import main
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics
from autoprune.publish.page import VERDICTS
from made_studies import shown as shown_table

PUBLISHED = Path(__file__).parents[2] / "config" / "published.tsv"
SMALL = "not tested at the paper's size"


@pytest.fixture(scope="module")
def published():
    return read_published(str(PUBLISHED))


@pytest.fixture(scope="module")
def counts(published, tmp_path_factory):
    """Counts that agree with what is published, as the recount gives them."""
    records = {}
    for row in published:
        if row["widths"]:
            key = (row["dataset"], row["model"], row["widths"])
            record = records.setdefault(key, {"macs": 1, "parameters": 1, "flops_tf_profiler": 1})
            record |= {"dataset": key[0], "model": key[1], "widths": [*map(int, key[2].split())]}
            record.setdefault("parameters_with_statistics", 1)
            name = {"parameters": "parameters_with_statistics"}.get(row["metric"], row["metric"])
            record[name] = float(row["value"])
    path = tmp_path_factory.mktemp("counts") / "counts.json"
    path.write_text(json.dumps(list(records.values())))
    return path


def table_of(folders, tmp_path, published, counts, margin=1.0, **more):
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    metrics = read_metrics(tmp_path / "m.csv")
    return claims(metrics, published, read_counts(str(counts)), str(counts), margin, **more)


def rows_of(table, text, variant=None):
    found = table[table["claim"].str.contains(text, regex=False)]
    if variant is not None:
        found = found[found["variant"] == variant]
    return found.to_dict("records")


@pytest.fixture
def two_pairs(run_folder):
    """Dense and fresh-weights runs of two pairs and two seeds."""

    def make(accuracies, **settings):
        return [
            run_folder(
                dataset=dataset, stands_for=stands_for, model=model, classes=classes, seed=seed,
                method=method, variant=variant, test_accuracy=accuracy, **settings,
            )
            for dataset, stands_for, model, classes in (
                ("glyphs", "femnist", "cnn", 62),
                ("faces", "celeba", "resnet", 2),
            )
            for seed, pair in enumerate(accuracies, start=1)
            for (method, variant), accuracy in zip(
                (("dense", "fedavg"), ("autoprune", "reinit")), pair, strict=True
            )
        ]  # fmt: skip

    return make


@pytest.mark.parametrize("late", [0, 2])
def test_a_claim_on_runs_with_failures_says_so(two_pairs, tmp_path, published, counts, late):
    """Each that the runs answer, be they pruned or dense; two of five clients in 32 rounds."""
    table = table_of(two_pairs([(0.8, 0.79)] * 2, late=late), tmp_path, published, counts)
    answered = table[table["ours"].notna() & table["n"].notna()]["tested_on"]
    assert len(answered) > 4
    said = answered.str.contains(r"; \d+ of \d+ replies failed")
    assert said.all() if late else not said.any(), answered.to_string()
    (row,) = rows_of(table, "reduction of bytes")
    assert ("64 of 160 replies failed" in row["tested_on"]) == bool(late)


def test_the_abstract_by_hand(two_pairs, tmp_path, published, counts):
    folders = two_pairs([(0.80, 0.7961), (0.80, 0.7959)], share=0.5)
    table = table_of(folders, tmp_path, published, counts)
    figures = collect(folders)
    figures = figures[figures["round"] == ""].set_index(["dataset", "method", "seed", "metric"])

    def of(metric, dataset, method, seed):
        return float(figures.loc[(dataset, method, str(seed), metric), "value"])

    def mean(values):
        values = list(values)
        return sum(values) / len(values)

    def less(metric, dataset, seed):
        dense = of(metric, dataset, "dense", seed)
        return 100 * (dense - of(metric, dataset, "autoprune", seed)) / dense

    (row,) = rows_of(table, "reduction of parameters")
    by_pair = [
        [less("parameters_with_statistics", dataset, seed) for seed in (1, 2)]
        for dataset in ("faces", "glyphs")
    ]
    samples = [Sample(tuple(own), pool=name) for name, own in enumerate(by_pair)]
    (alone,) = simultaneous(samples, [{0: 0.5, 1: 0.5}])
    assert row["ours"] == pytest.approx(mean(map(mean, by_pair)))
    assert (row["low"], row["high"]) == pytest.approx((alone.low, alone.high))
    assert (row["n"], row["variant"], row["published"]) == (2, "reinit", "89 %")
    assert row["verdict"] == SMALL
    assert row["answer"] == "not resolved on faces (stand-in)/ResNet, glyphs (stand-in)/CNN"
    assert "STAND-IN DATA ONLY" in row["tested_on"]
    assert "4 rounds × 5 clients; seeds 1 2" in row["tested_on"]
    assert {Path(name).name for name in row["source_files"].split(";")} == {"complexity.json"}
    assert row["source_files"].count(";") == 7

    (row,) = rows_of(table, "bytes sent")
    factors = [
        mean([of("bytes_total", dataset, "dense", n) / of("bytes_total", dataset, "autoprune", n)
              for n in (1, 2)])
        for dataset in ("glyphs", "faces")
    ]  # fmt: skip
    assert row["ours"] == pytest.approx(max(factors))

    # -0.39 and -0.41 points on both pairs
    (row,) = rows_of(table, "accuracy comparable")
    assert row["ours"] == pytest.approx(-0.4)
    assert row["low"] < -0.41 < -0.39 < row["high"]
    assert row["training_ours"] == pytest.approx(-0.4)
    assert (row["verdict"], row["resolved"]) == (SMALL, "no")
    assert row["answer"].startswith("holds on faces (stand-in)/ResNet, glyphs (stand-in)/CNN; at")
    assert "≥ −1.00 points" in row["rule"]
    for margin, verdict in ((0.05, "does not hold"), (0.4, "not resolved")):
        table = table_of(folders, tmp_path, published, counts, margin=margin)
        (row,) = rows_of(table, "accuracy comparable")
        assert row["answer"].startswith(f"{verdict} on ")

    (row,) = rows_of(table, "Android")
    assert row["verdict"] == "not tested"
    assert "no session in resources/android" in row["tested_on"]


@pytest.mark.parametrize(
    ("cap", "verdict"), [(5, "not resolved"), (6, "does not hold"), (60, "does not hold")]
)
def test_a_search_that_was_cut_short_refutes_no_reduction(
    two_pairs, tmp_path, published, counts, cap, verdict
):
    """Searching in rounds 1 to 4 of 4: a cap of 5 rounds ended it, patience one of 6."""
    folders = two_pairs([(0.8, 0.5)] * 4, share=0.99, settings={"cap": cap})
    table = table_of(folders, tmp_path, published, counts)
    (reduced,) = rows_of(table, "reduction of parameters")
    assert reduced["answer"].startswith(f"{verdict} on ")
    assert ("searches cut at 5 rounds" in reduced["tested_on"]) == (cap == 5)


def test_averages_leave_out_a_pair_that_runs_for_an_ablation(
    run_folder, tmp_path, published, counts
):
    """Pruning costs 0.5 and 1.5 points on the study's pairs, 4 on the one of the ablation."""
    arms = {"dense": "fedavg", "autoprune": "reinit", "found-widths": "reinit"}
    losses = {"glyphs": (0, 0.5, 1.5), "faces": (0, 1.5, 2.5), "faces_male": (0, 4, 11)}
    folders = [
        run_folder(
            dataset=dataset, stands_for="femnist" if dataset == "glyphs" else "celeba",
            method=method, variant=variant, seed=seed, share=0.5,
            test_accuracy=0.8 - loss / 100,
        )
        for dataset, points in losses.items()
        for (method, variant), loss in zip(arms.items(), points, strict=True)
        for seed in (1, 2)
    ]  # fmt: skip
    collect(folders).to_csv(tmp_path / "m.csv", index=False)
    metrics, found = read_metrics(tmp_path / "m.csv"), read_counts(str(counts))

    def tested(ablations):
        table = claims(metrics, published, found, str(counts), 1.0, ablations=ablations)
        (accuracy,) = rows_of(table, "accuracy comparable")
        return accuracy, [row["data"] for row in rows_of(table, "simply the widths")]

    accidents = [
        (f"Male, {method}", *(f"{pair}-cnn/{method}/{variant}" for pair in ("faces_male", "faces")))
        for method, variant in arms.items()
    ]
    # a pair that one arm is missing from is one of the study
    for ablations, ours in (([], -2), (accidents[:-1], -2), (accidents, -1)):
        row, widths = tested(ablations)
        assert row["ours"] == pytest.approx(ours)
        assert ("faces Male (stand-in)/CNN" in row["tested_on"]) == (ours == -2)
        assert "glyphs (stand-in)/CNN" in row["tested_on"]
        assert ("faces_male" in row["source_files"]) == (ours == -2)
        assert ("faces Male (stand-in)/CNN" in widths) == (ours == -2)


def two_arms(run_folder, accuracies=(0.8, 0.79), seeds=(1, 2), **settings):
    """Dense and fresh-weights runs of one pair, a tenth of a point or two from seed to seed."""
    return [
        run_folder(
            method=method, variant=variant, seed=seed, share=0.5,
            test_accuracy=accuracy + seed / 1000 * (2 if method == "dense" else 1), **settings,
        )
        for (method, variant), accuracy in zip(
            (("dense", "fedavg"), ("autoprune", "reinit")), accuracies, strict=True
        )
        for seed in seeds
    ]  # fmt: skip


def test_real_data_are_judged_before_stand_ins_and_no_smaller_run_speaks_for_the_papers(
    run_folder, tmp_path, published, counts
):
    real = two_arms(run_folder, dataset="mnist", data_kind="real", stands_for="")
    table = table_of([*real, *two_arms(run_folder)], tmp_path, published, counts)
    abstract = table[(table["source"] == "abstract") & (table["variant"] != "")]
    assert set(abstract["verdict"]) == {SMALL}
    assert all(answer.partition(";")[0].endswith(" on MNIST/CNN") for answer in abstract["answer"])
    assert set(abstract["resolved"]) == {"no"}


PAPERS = [("femnist", "cnn", 10, 38742), ("celeba", "resnet", 50, 9930)]


@pytest.mark.parametrize(
    ("smaller", "judged"),
    [({}, True), ({"clients": 9}, False), ({"rounds": 499}, False), ({"test_examples": 9}, False)],
)
def test_a_verdict_on_the_abstract_needs_both_data_sets_at_the_notebooks_size(
    run_folder, tmp_path, published, counts, smaller, judged
):
    """The notebook of pruned FEMNIST has 50 clients a round, the others as in PAPERS."""
    folders = []
    for dataset, model, clients, images in PAPERS:
        for method in ("dense", "autoprune"):
            size = {"rounds": 500, "clients": clients, "test_examples": images}
            if (dataset, method) == ("femnist", "autoprune"):
                size["clients"] = 50
            if dataset == "celeba":
                size |= smaller
            variant = "fedavg" if method == "dense" else "reinit"
            about = {"dataset": dataset, "data_kind": "real", "stands_for": dataset, "model": model}
            folders += [
                run_folder(
                    **about, method=method, variant=variant, seed=seed, every=100, share=0.999,
                    test_accuracy=0.9 + 0.0001 * (seed if method == "dense" else seed**2 % 5),
                    **size,
                )
                for seed in (1, 2, 3)
            ]  # fmt: skip
    table = table_of(folders, tmp_path, published, counts)
    (accuracy,) = rows_of(table, "accuracy comparable")
    assert accuracy["verdict"] == ("holds" if judged else SMALL)
    assert accuracy["resolved"] == ("yes" if judged else "no")
    assert accuracy["answer"].startswith("holds on CelebA/ResNet, FEMNIST/CNN")
    if not judged:
        return
    # one data set alone is not what the abstract is about
    half = [folder for folder in folders if "femnist" in folder.parts]
    (accuracy,) = rows_of(table_of(half, tmp_path, published, counts), "accuracy comparable")
    assert accuracy["verdict"] == SMALL


def test_without_a_margin_it_is_that_of_the_held_out_images(
    run_folder, tmp_path, published, counts
):
    """800 held-out images and an accuracy of 0.80: 3.9 points, which a loss of 1 lies within."""
    folders = two_arms(run_folder, seeds=(1, 2, 3))
    for margin, verdict in ((None, "holds"), (0.5, "does not hold")):
        table = table_of(folders, tmp_path, published, counts, margin=margin)
        (row,) = rows_of(table, "as accurate as dense")
        assert row["verdict"] == verdict
        points = binomial_margin(0.804, 800) if margin is None else 0.5
        assert f"≥ −{points:.2f} points" in row["rule"]


def test_the_question_and_the_abstract_have_one_interval_where_there_is_one_pair(
    run_folder, tmp_path, published, counts
):
    table = table_of(two_arms(run_folder), tmp_path, published, counts, reference="reinit")
    (claim,) = rows_of(table, "accuracy comparable")
    (question,) = rows_of(table, "as accurate as dense")
    for name in ("ours", "low", "high", "training_low", "training_high"):
        assert claim[name] == question[name]


def test_dense_alone_tests_no_claim(run_folder, tmp_path, published, counts):
    table = table_of([run_folder()], tmp_path, published, counts)
    abstract = table[table["source"] == "abstract"]
    assert len(abstract) == 5
    assert set(abstract["verdict"]) == {"not tested"}
    assert "no autoprune run" in rows_of(table, "bytes sent")[0]["tested_on"]
    assert "nan" not in shown_table("claims", table).to_string().lower()


def test_counts_must_be_equal_exactly(run_folder, tmp_path, published, counts):
    records = json.loads(counts.read_text())
    wrong = next(r for r in records if r["model"] == "resnet" and r["widths"] == [9, 11, 22])
    wrong["parameters_with_statistics"] += 1
    path = tmp_path / "counts.json"
    path.write_text(json.dumps(records))
    table = table_of([run_folder()], tmp_path, published, path)
    tested = table[table["claim"].str.contains("^parameters of|^FLOPs of")]
    assert len(tested) == 11 + 10  # one published network has no FLOPs
    failed = tested[tested["verdict"] != "holds"]
    assert failed["claim"].tolist() == ["parameters of ResNet on CelebA, autoprune"]
    assert failed["ours"].item() == 6792
    assert set(tested["resolved"]) == {"yes"}


def test_unknown_widths_are_not_tested(run_folder, tmp_path, published, counts):
    rows = [dict(row, widths="") for row in published if row["metric"] == "parameters"]
    table = table_of([run_folder()], tmp_path, rows, counts)
    assert set(table["verdict"]) == {"not tested"}
    counted = table[table["source"] == "notebook"]
    assert set(counted["tested_on"]) == {"nothing: the widths are not published"}


def real_femnist(run_folder, **settings):
    size = {"rounds": 500, "clients": 10, "test_examples": 38742, "every": 100} | settings
    return run_folder(dataset="femnist", data_kind="real", stands_for="femnist", **size)


@pytest.mark.parametrize(
    ("settings", "verdict", "says"),
    [
        ({"test_accuracy": (0.7400, 0.7402)}, "holds", "500 rounds × 10 clients; seeds 1 2"),
        ({"test_accuracy": (0.7600, 0.7602)}, "does not hold", "FEMNIST/CNN"),
        ({"test_accuracy": (0.7300, 0.7500)}, "not resolved", "FEMNIST/CNN"),
        ({"test_accuracy": 0.7400}, "not resolved", "seeds 1"),  # one seed settles nothing
        (
            {"test_accuracy": 0.7400, "rounds": 20},
            "not tested",
            "too small a run; ours, on FEMNIST",
        ),
        ({"test_accuracy": 0.7400, "clients": 9}, "not tested", "500 rounds × 9 clients"),
        ({"test_accuracy": 0.7400, "test_examples": 99}, "not tested", "99 test examples: 74.00 %"),
    ],
)
def test_published_accuracy_is_judged_at_the_papers_size(
    run_folder, tmp_path, published, counts, settings, verdict, says
):
    accuracies = np.atleast_1d(settings["test_accuracy"])
    folders = [
        real_femnist(run_folder, **settings | {"test_accuracy": accuracy, "seed": seed})
        for seed, accuracy in enumerate(accuracies.tolist(), start=1)
    ]
    table = table_of(folders, tmp_path, published, counts)
    (row,) = rows_of(table, "test accuracy of CNN on FEMNIST, dense")
    assert row["verdict"] == verdict
    assert row["resolved"] == ("yes" if "hold" in verdict else "no")
    assert says in row["tested_on"]
    assert row["published"] == "74.78 %"


def test_published_accuracy_shows_the_stand_in(run_folder, tmp_path, published, counts):
    table = table_of([run_folder(test_accuracy=0.5)], tmp_path, published, counts)
    (row,) = rows_of(table, "test accuracy of CNN on FEMNIST, dense")
    assert row["verdict"] == "not tested"
    assert "STAND-IN DATA ONLY: glyphs (stand-in)/CNN" in row["tested_on"]
    assert "50.00 % (n=1)" in row["tested_on"]


def test_the_command(study, tmp_path, counts, stage):
    flags = [
        *("--metrics", study / "metrics.csv", "--published", PUBLISHED, "--counts", counts),
        *("--margin", 1, "--csv", "c.csv"),
    ]
    for arm in ("dense/fedavg", "autoprune/reinit", "autoprune/inherit"):
        flags += ["--ablation", arm, f"faces-cnn/{arm}", f"faces-resnet/{arm}"]
    done = stage("evidence.tabulate", "claims", *flags, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    files = ["--csv", "c.csv", "--html", "c.html", "--markdown", "c.md", "--latex", "c.tex"]
    done = stage("publish.render_table", "claims", *files, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    with (tmp_path / "c.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert ",".join(rows[0]) == (
        "claim,published,source,variant,data,ours,low,high,n,clients_low,clients_high,"
        "training_ours,training_low,training_high,training_rounds,unit,verdict,resolved,answer,"
        "tested_on,rule,source_files"
    )
    # two variants; Android; accuracies; counts; as good as dense, of four pairs; four controls
    assert len(rows) == 2 * 4 + 1 + 11 + 21 + 2 * 4 + 4
    assert {row["verdict"] for row in rows} <= set(VERDICTS)
    comparable = [row["tested_on"] for row in rows if "accuracy comparable" in row["claim"]]
    assert all("MNIST/CNN" in text for text in comparable)  # the real one
    asked = {row["data"] for row in rows if "as accurate as dense" in row["claim"]}
    assert "faces (stand-in)/ResNet" in asked
    assert "faces (stand-in)/CNN" not in asked
    of_abstract = {row["variant"] for row in rows if row["source"] == "abstract"}
    assert of_abstract == {"reinit", "inherit", ""}  # Android: once, whatever the variants
    assert all(row["rule"] and row["tested_on"] for row in rows)
    assert '<td class="not-tested-at-the-paper-s-size">' in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("claim\tsource\n", "column dataset is missing"),
        (PUBLISHED.read_text().replace("0.7478", "most"), "line 7: value: found 'most'"),
        (PUBLISHED.read_text().replace("\tnotebook\t", "\trumour\t", 1), "line 7: expected"),
        (PUBLISHED.read_text().replace("flops_reduction", "joules"), "unknown 'joules'"),
        (PUBLISHED.read_text().replace("17 43\t", "17 44\t"), "no counts of femnist cnn 17 44"),
    ],
)
def test_wrong_input_is_one_line_and_no_file(study, tmp_path, counts, text, message, monkeypatch):
    (tmp_path / "p.tsv").write_text(text)
    monkeypatch.chdir(tmp_path)
    flags = ["--metrics", str(study / "metrics.csv"), "--published", "p.tsv", "--counts"]
    flags += [str(counts), "--margin", "1"]
    flags += ["--csv", "c.csv"]
    with pytest.raises(InputError, match=message):
        main(["claims", *flags])
    assert [path.name for path in tmp_path.iterdir()] == ["p.tsv"]


def test_wrong_counts_and_margin(study, tmp_path, counts, stage):
    for text, message in (("{}", "list"), ('[{"model": "cnn"}]', "entry 0: dataset is missing")):
        (tmp_path / "n.json").write_text(text)
        with pytest.raises(InputError, match=message):
            read_counts(str(tmp_path / "n.json"))
    flags = [
        *("--metrics", study / "metrics.csv", "--published", PUBLISHED, "--counts", counts),
        *("--margin", -1, "--csv", "c.csv"),
    ]
    done = stage("evidence.tabulate", "claims", *flags, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: --margin: found '-1', expected 0 to 100 points\n"
    assert not (tmp_path / "c.csv").exists()
