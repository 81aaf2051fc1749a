"""A conformer through whole runs: heads, hidden units and gated channels go by every method."""

import json

import pytest
import torch

import autoprune
from autoprune.models.weights import load_weights
from autoprune.study.methods import follows_dense

OWN = {"model": "conformer", "widths": [9, 12, 8, 10, 11], "rounds": 4}


@pytest.fixture(scope="module")
def searched(train, tmp_path_factory):
    """A finished run that kept weights, its dense history written by hand: flags to follow it."""
    folder = tmp_path_factory.mktemp("searched")
    done = train(folder, "autoprune", "inherit", **OWN, k=1.1)
    assert done.returncode == 0, done.stderr
    history = tmp_path_factory.mktemp("dense") / "history.csv"
    rows = [f"{server_round},0.5" for server_round in range(1, 5)]
    history.write_text("\n".join(["round,validation_accuracy", *rows]) + "\n")
    return {"plan": folder / "plan.json", "dense": history, "prune-at": 0.9}


def test_the_rule_takes_heads_by_the_norms_of_their_rows(searched):
    first = json.loads(searched["plan"].read_text())["shrinks"][0]
    of_heads = first["layers"][2]
    assert of_heads["layer"] == "blocks.0.attention"
    assert len(of_heads["scores"]) == 8
    assert 0 < len(of_heads["kept"]) < 8
    network = autoprune.load(searched["plan"].parent)
    architecture = load_weights(searched["plan"].parent / "weights.safetensors")[0]
    attention = network.blocks[0].attention
    assert attention.num_heads == architecture.widths[2] < 8
    assert attention.qkv.weight.shape == (24 * attention.num_heads, 64)
    assert network(torch.zeros(2, *architecture.input_shape)).shape == (2, architecture.classes)


@pytest.mark.parametrize(
    ("method", "variant"),
    [
        ("taylor", "one-shot"),
        ("fpgm", "classical"),
        ("l0-gates", "joint"),
        pytest.param("geta", "joint", marks=pytest.mark.long),
        pytest.param("l1-uniform", "iterative", marks=pytest.mark.long),
        pytest.param("l1-int8", "one-shot", marks=pytest.mark.long),
        pytest.param("random-filters", "inherit", marks=pytest.mark.long),
        pytest.param("found-widths", "reinit", marks=pytest.mark.long),
        pytest.param("narrow", "reinit", marks=pytest.mark.long),
        pytest.param("prunefl", "adaptive", marks=pytest.mark.long),
        pytest.param("ssfl", "one-shot", marks=pytest.mark.long),
        pytest.param("fedmap", "global", marks=pytest.mark.long),
    ],
)
def test_every_method_runs_on_it(searched, train, tmp_path, method, variant):
    more = searched if follows_dense(method) else {"plan": searched["plan"]}
    done = train(tmp_path / "run", method, variant, **OWN, **more)
    assert done.returncode == 0, done.stderr
    assert autoprune.load(tmp_path / "run")(torch.zeros(1, 1, 28, 28)).isfinite().all()


def test_slimming_which_needs_a_norm_behind_every_layer_refuses_by_name(searched, train, tmp_path):
    done = train(tmp_path / "run", "slimming", "one-shot", **OWN, **searched)
    assert done.returncode == 1
    assert (
        "method slimming: network conformer has no batch norm behind every prunable" in done.stderr
    )
    assert done.stderr.count("\n") == 1
