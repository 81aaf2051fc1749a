"""Bit operations: MACs times bits times bits, against the dense network at 32 bits."""

import json

import pytest

from autoprune.measure.bops import bops, relative_bops
from autoprune.measure.complexity import complexity, macs, macs_by_layer
from autoprune.models import Architecture, build
from stages import run_here

BASE = Architecture("cnn", (32, 64), (1, 28, 28), 62)
NETWORKS = [
    BASE,
    Architecture("resnet", (12, 14, 16), (3, 84, 84), 2),
    Architecture("cnn1d", (4, 5, 6), (1, 40, 64), 20),
]


def test_a_layer_without_bits_and_an_activation_have_32():
    assert bops({"a": 10, "b": 100}, {"a": 4}) == 10 * 4 * 32 + 100 * 32 * 32
    assert bops({"a": 10}, {"a": 8}, 8) == 640
    assert relative_bops(bops({"a": 10}, {}), 10) == 1


@pytest.mark.parametrize("architecture", NETWORKS, ids=lambda one: one.family)
def test_the_macs_of_the_layers_are_those_of_the_network(architecture):
    network = build(architecture)
    by_layer = macs_by_layer(network, architecture.input_shape)
    assert sum(by_layer.values()) == macs(network, architecture.input_shape)
    weights = [n for n, t in network.state_dict().items() if t.dim() > 1]
    assert [f"{name}.weight" for name in by_layer] == weights


def test_the_stage_counts_them_of_a_quantised_network_alone(tmp_path):
    """By hand, of the paper's CNN at half its widths: 460,800 / 2, 3,276,800 / 4, 3,968 / 2."""
    path, output = tmp_path / "architecture.json", tmp_path / "complexity.json"
    smaller = BASE.with_widths([16, 32])
    bits = {"conv1": 8, "conv2": 4, "linear": 6}
    quantised = {"base_widths": list(BASE.widths), "weight_bits": bits}
    path.write_text(json.dumps({**smaller.to_json(), "quantised": quantised}))
    run_here("autoprune.measure.complexity", "--architecture", path, "--output", output)
    found = json.loads(output.read_text())
    assert found["bops"] == 32 * (230_400 * 8 + 819_200 * 4 + 1_984 * 6)
    assert found["relative_bops"] == found["bops"] / (3_741_568 * 32 * 32)
    plain = complexity(smaller)
    assert {**plain, "bops": found["bops"], "relative_bops": found["relative_bops"]} == found
    assert not {"bops", "relative_bops"} & set(plain)
