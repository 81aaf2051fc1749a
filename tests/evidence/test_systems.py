"""The table of systems on runs and measurements that are known to the last digit."""

import json

import pytest

from autoprune.core.errors import InputError
from autoprune.evidence.systems import table
from autoprune.measure.metrics import collect
from autoprune.measure.table import read_metrics
from autoprune.publish import tables

SEEDS = (1, 2)
ABOUT = {"dataset": "glyphs", "data_kind": "stand-in", "model": "cnn", "seed": 1}


@pytest.fixture
def folders(run_folder):
    """Dense, the reference, and int8 of the same network, two seeds each."""
    made = {}
    for seed in SEEDS:
        for method, variant in (
            ("dense", "fedavg"),
            ("autoprune", "reinit"),
            ("l1-int8", "iterative"),
        ):
            folder = run_folder(method=method, variant=variant, seed=seed, test_accuracy=0.5)
            made[method, seed] = folder
            if method == "l1-int8":
                for name in ("history.csv", "evaluation.json", "complexity.json"):
                    (folder / name).write_bytes((made["autoprune", seed] / name).read_bytes())
            about = json.loads((folder / "evaluation.json").read_text())
            about |= {"bits": (8 if method == "l1-int8" else 32) * about["nonzeros"]}
            (folder / "evaluation.json").write_text(json.dumps(about))
    return made


@pytest.fixture
def metrics(folders, tmp_path):
    collect([*folders.values()]).to_csv(tmp_path / "metrics.csv", index=False)
    return read_metrics(tmp_path / "metrics.csv")


def measured(path, **times):
    """A measurement of the host, of the reference's network beside the dense one."""
    both = {
        which: {
            **ABOUT, "method": "autoprune", "run_variant": "reinit", "widths": [2, 2],
            "macs": macs, "model_id": which, "sha256": "0" * 64, "round_widths_to": multiple,
            "test_accuracy": 0.5, "argmax_agreement": 1.0,
        }
        for which, macs, multiple in (("dense", 40000, None), ("pruned", 20000, times.pop("to")))
    }  # fmt: skip
    one = {"engine": "onnxruntime", "engine_version": "1", "format": "onnx", **both, **times}
    about = {"kind": "host_proxy", "cpu": "a", "instructions": ["avx2"], "threads": 1}
    before = json.loads(path.read_text())["measured"] if path.exists() else []
    path.write_text(json.dumps(about | {"measured": [*before, one]}))


def test_every_figure_by_hand(metrics, tmp_path):
    path = tmp_path / "seed-1.json"
    spread = {"low": 1.9, "high": 2.1}
    measured(path, to=None, precision="fp32", dense_ms=0.5, pruned_ms=0.25, speed_up=2, **spread)
    measured(path, to=None, precision="int8", dense_ms=0.4, pruned_ms=0.1, speed_up=4, **spread)
    # of widths that were rounded, so not the network of the row
    measured(path, to=8, precision="fp32", dense_ms=0.5, pruned_ms=9, speed_up=0.05, **spread)
    found = table(metrics, "reinit", [str(path)])
    assert list(found["method"]) == ["dense", "autoprune", "l1-int8"]
    rows = {row["method"]: row for row in found.to_dict("records")}
    dense, rule, int8 = (rows[method] for method in rows)
    assert (rule["share_of_budget"], int8["share_of_budget"]) == (1, 0.25)
    assert dense["share_of_budget"] > 1
    assert [row["bits_per_weight"] for row in rows.values()] == [32, 32, 8]
    runs = metrics[(metrics["metric"] == "macs")].set_index(["method", "seed"])["value"]
    macs = sum(runs["autoprune", seed] / runs["dense", seed] for seed in SEEDS) / 2
    assert (dense["relative_bops"], rule["relative_bops"]) == (1, pytest.approx(macs))
    assert macs < 1
    assert int8["relative_bops"] == pytest.approx(macs / 4)
    assert (rule["fp32_ms"], rule["fp32_speed_up"]) == (0.25, 2)
    assert (rule["int8_ms"], rule["int8_speed_up"]) == (0.1, 4)
    assert (dense["fp32_ms"], dense["int8_ms"]) == (0.5, 0.4)
    assert dense["fp32_speed_up"] != dense["fp32_speed_up"]  # no number: it is what others are over
    assert int8["fp32_ms"] != int8["fp32_ms"]
    assert str(path) in rule["source_files"]
    assert str(path) not in int8["source_files"]
    found.to_csv(tmp_path / "systems.csv", index=False)
    module = tables.load("systems")
    shown = tables.readable(module, tables.read_rows(tmp_path / "systems.csv"))
    assert list(shown["BOPs, %"]) == ["100.0", f"{100 * macs:.1f}", f"{25 * macs:.1f}"]
    assert list(shown["latency, fp32, ms"]) == ["0.500", "0.250 (2.00x)", "–"]
    assert "not GETA's algorithm" in " ".join(
        module.notes(tables.read_rows(tmp_path / "systems.csv"))
    )


def test_nothing_measured_and_no_reference(metrics):
    assert table(metrics, "reinit")["fp32_ms"].isna().all()
    with pytest.raises(InputError, match="no run of autoprune/rewind, whose size is the budget"):
        table(metrics, "rewind")
