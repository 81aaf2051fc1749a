"""The host proxy: how it measures, what the table says, what it refuses."""

import json
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import InputError
from autoprune.evidence.latency import read
from autoprune.evidence.tabulate import main as tabulate
from autoprune.measure import latency_host
from autoprune.measure.formats.onnx import export_fp32
from autoprune.measure.latency_host import compare, interleaved, speed_up
from autoprune.models import Architecture, new_network
from autoprune.publish.render_table import main as render

TIMES = st.lists(st.tuples(st.floats(0.01, 10), st.floats(0.01, 10)), min_size=2, max_size=12)


def test_measurements_alternate(monkeypatch):
    """A B B A in each round, after a warm-up of each; by a clock that only they move."""
    calls, now = [], [0]
    clock = {"perf_counter": lambda: now[0] / 1e9, "perf_counter_ns": lambda: now[0]}
    monkeypatch.setattr(latency_host, "time", SimpleNamespace(**clock))

    def side(name, nanoseconds):
        def run():
            if not calls or calls[-1] != name:
                calls.append(name)
            now[0] += nanoseconds

        return run

    found = interleaved(side("dense", 4_000_000), side("pruned", 2_000_000), 2)
    assert calls == ["dense", "pruned", "dense", "pruned", "dense", "pruned", "dense"]
    assert found == [pytest.approx((4, 2))] * 2


@given(TIMES)
def test_the_speed_up_lies_in_its_interval_and_turns_round(times):
    found = speed_up(times)
    assert found["low"] <= found["speed_up"] <= found["high"]
    same = speed_up([(a, a) for a, _ in times])
    assert same == {"speed_up": 1, "low": 1, "high": 1}
    faster = speed_up([(2 * b, b) for _, b in times])
    assert faster["low"] == pytest.approx(2) == faster["high"]


@pytest.fixture
def manifests(tmp_path):
    """Two exports of one precision, the second with a fifth of the MACs."""
    found = []
    for name, widths, macs in (("dense", (16, 32), 500), ("pruned", (4, 6), 100)):
        architecture = Architecture("cnn", widths, (1, 28, 28), 10)
        folder = tmp_path / name
        folder.mkdir()
        export_fp32(new_network(architecture, 0), architecture.input_shape, folder / "m.onnx")
        model = {
            "model_id": name, "file": "m.onnx", "sha256": "0" * 64, "format": "onnx",
            "precision": "fp32", "round_widths_to": None, "input_layout": "NCHW",
            "dataset": "g", "data_kind": "stand-in", "model": "cnn", "method": "autoprune",
            "run_variant": "reinit", "seed": 0, "widths": widths, "macs": macs,
            "input_shape": [1, 1, 28, 28], "test_accuracy": 0.5, "argmax_agreement": 1.0,
        }  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps({"models": [model]}))
        found.append(folder / "manifest.json")
    return found


def test_a_much_smaller_network_is_faster_here(manifests):
    found = compare(manifests[:1], manifests[1:], 3)
    assert found["kind"] == "host_proxy"
    assert found["threads"] == 1
    (measured,) = found["measured"]
    assert measured["speed_up"] > 1
    assert len(measured["rounds"]) == 3


def test_the_table_says_what_is_resolved(manifests, tmp_path):
    files = []
    for number, (speed, low, high) in enumerate(((2, 1.9, 2.1), (1.0, 0.9, 1.1), (0.8, 0.7, 0.9))):
        found = compare(manifests[:1], manifests[1:], 2)
        found["measured"][0] |= {"speed_up": speed, "low": low, "high": high}
        files.append(str(tmp_path / f"{number}.json"))
        (tmp_path / f"{number}.json").write_text(json.dumps(found))
    forms = {"csv": "csv", "html": "html", "markdown": "md", "latex": "tex"}
    out = [f"--{flag}={tmp_path}/t.{ending}" for flag, ending in forms.items()]
    tabulate(["latency", "--host", *files, out[0]])
    render(["latency", *out])
    text = (tmp_path / "t.md").read_text()
    rows = [line for line in text.splitlines() if "onnxruntime" in line]
    assert "2.00 [1.90, 2.10]" in rows[0]
    assert "resolved" not in rows[0]
    assert "not resolved" in rows[1]
    assert "slower with fewer MACs" in rows[2]
    assert all("g (stand-in)" in row and "| 5.00 " in row for row in rows)
    assert "HOST PROXY" in text


def test_what_is_no_host_measurement_is_refused(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[]")
    with pytest.raises(InputError, match="kind is missing"):
        read(str(path))
    keys = ("cpu", "instructions", "threads", "measured")
    path.write_text(json.dumps({"kind": "phone", **{key: [] for key in keys}}))
    with pytest.raises(InputError, match="kind is 'phone', expected 'host_proxy'"):
        read(str(path))
    path.write_text("{}")
    with pytest.raises(InputError, match="no manifest"):
        compare([path], [path], 3)
