"""Targets beside the plain rule: what was reached by another count, which arm is nearest."""

import json

import matplotlib.pyplot as plt
import pytest

from autoprune.core.errors import InputError
from autoprune.evidence.latency import table as latency_table
from autoprune.evidence.targets import table
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics, to_csv
from autoprune.publish.draw import figure
from autoprune.publish.figures.pareto import front
from autoprune.publish.tables import latency
from made_studies import rows_of, shown


@pytest.fixture
def aimed(run_folder, tmp_path):
    """Metrics of a dense arm, the rule at two k, a target of parameters and one of a latency."""
    folders = []

    def run(variant, seed, settings, reached=None, method="autoprune", **more):
        folder = run_folder(method=method, variant=variant, seed=seed, settings=settings, **more)
        path = folder / "evaluation.json"
        evaluation = json.loads(path.read_text())
        if reached:
            evaluation |= {"target_reached": reached(evaluation), "target_dense": 40_000}
        path.write_text(json.dumps(evaluation))
        folders.append(folder)
        return evaluation["nonzeros"]

    sizes = {}
    for seed in (1, 2):
        run("fedavg", seed, {}, method="dense")
        run("inherit", seed, {"k": 2.2}, shrink_rounds=(2,), share=0.95)
        run("k1.2", seed, {"k": 1.2}, shrink_rounds=(2, 3, 4), share=0.5, test_accuracy=0.5)
        near = {"shrink_rounds": (2, 3, 4), "share": 0.5, "test_accuracy": 0.75}
        of = {"target-parameters": 10_000.0}
        sizes[seed] = run("mine", seed, of, reached=lambda e: e["nonzeros"], **near)
        run("fast", seed, {"target-latency-ms": 2.0}, reached=lambda e: 1.9, **near)
        run("mine", seed, {}, method="narrow", **near)
    path = tmp_path / "metrics.csv"
    path.write_text(to_csv(collect(folders)))
    return read_metrics(path), sizes


def test_reached_is_counted_and_the_nearest_arm_is_beside_it(aimed):
    metrics, sizes = aimed
    rows = table(metrics).set_index("variant")
    assert list(rows.index) == ["fast", "mine"]
    mine = rows.loc["mine"]
    assert (mine["target_of"], mine["target"], mine["n"]) == ("parameters", 10_000, 2)
    assert mine["reached"] == pytest.approx(sum(sizes.values()) / 2)
    errors = [100 * (size / 10_000 - 1) for size in sizes.values()]
    assert mine["error_percent"] == pytest.approx(sum(errors) / 2)
    assert mine["largest_error_percent"] == pytest.approx(max(errors, key=abs))
    assert mine["plain_variant"] == "k1.2"
    assert mine["plain_difference_points"] == pytest.approx(25)
    assert mine["narrow_variant"] == "mine"
    assert mine["narrow_difference_points"] == pytest.approx(0)
    assert rows.loc["fast"]["error_percent"] == pytest.approx(-5)
    assert rows.loc["fast"]["narrow_variant"] == ""
    readable = shown("targets", table(metrics))
    assert readable["target"].tolist() == ["2.0000 ms", "10,000 parameters"]
    assert readable["against narrow, points"].tolist()[0] == "–"


def test_a_run_without_what_it_reached_is_refused(aimed):
    metrics, _ = aimed
    with pytest.raises(InputError, match="target_reached"):
        table(metrics[metrics["metric"] != "target_reached"])


def test_the_figure_tells_targets_from_the_rule(aimed):
    metrics, _ = aimed
    drawn = figure("pareto", metrics=metrics)
    texts = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert texts == ["dense", "rule, a k each", "narrow", "target: parameters", "target: latency"]
    assert [ax.get_xlabel() for ax in drawn.axes] == ["multiply-adds", "parameters"]
    plt.close("all")


def test_a_front_has_what_no_other_beats_in_both():
    points = [(1, 0.5), (2, 0.4), (2, 0.7), (3, 0.7), (4, 0.9)]
    assert front(points) == [(1, 0.5), (2, 0.7), (4, 0.9)]


def test_what_a_table_told_stands_beside_what_was_measured(aimed, tmp_path):
    metrics, _ = aimed
    network = {
        "dataset": "glyphs", "data_kind": "stand-in", "model": "cnn", "method": "autoprune",
        "run_variant": "fast", "seed": 1, "macs": 100, "model_id": "m", "test_accuracy": 0.7,
        "argmax_agreement": 1.0, "round_widths_to": None, "widths": [3, 4], "sha256": "0" * 64,
    }  # fmt: skip
    measured = {
        "format": "onnx", "precision": "fp32", "dense_ms": 4.0, "pruned_ms": 2.0, "speed_up": 2.0,
        "low": 1.9, "high": 2.1, "engine": "onnxruntime", "engine_version": "1",
        "dense": network | {"method": "dense", "macs": 200}, "pruned": network,
    }  # fmt: skip
    found = {"kind": "host_proxy", "cpu": "C", "instructions": [], "threads": 1}
    rounded = measured | {"pruned": network | {"round_widths_to": 8}}
    found["measured"] = [measured, measured | {"precision": "int8"}, rounded]
    (tmp_path / "host.json").write_text(json.dumps(found))
    raw = latency_table([str(tmp_path / "host.json")], metrics=metrics)
    assert raw["aimed_ms"].notna().tolist() == [True, False, False]
    (note,) = [note for note in latency.notes(rows_of(raw)) if note.startswith("AIMED")]
    assert "1.9000 ms by the table, 2.0000 measured (−5.0 %)" in note
    assert "times as fast as dense by the table, 2.00 measured" in note
