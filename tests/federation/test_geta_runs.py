"""GETA's runs: both targets met, what travels, what is saved, what is counted."""

import csv
import json

import pytest
import torch
from safetensors import safe_open

import autoprune
from autoprune.data.store import ClientStore
from autoprune.evidence.filter_survival import survivors
from autoprune.federation.training import predict
from autoprune.measure.complexity import complexity
from autoprune.models import Architecture, build, cost, new_network
from autoprune.models.layers import to_channels_last
from autoprune.models.weights import load_network, load_weights, save_weights
from stages import run_here

BITS = 4


@pytest.fixture(scope="module")
def run(follow, train, tmp_path_factory):
    """The folder of a finished run of ten rounds."""
    folder = tmp_path_factory.mktemp("geta") / "run"
    done = train(folder, "geta", "joint", rounds=10, bits=BITS, **follow("geta"))
    assert done.returncode == 0, done.stderr
    return folder


def read(path):
    return json.loads(path.read_text())


def test_both_targets_are_met_and_neither_half_alone_meets_them(run):
    plan, about = read(run / "plan.json"), read(run / "architecture.json")
    base, small = (Architecture.from_json(value) for value in (plan["base"], about))
    bits = about["quantised"]["weight_bits"]
    weights = {name: build(small).get_parameter(f"{name}.weight").numel() for name in bits}
    used = sum(bits[name] * weights[name] for name in bits)
    assert cost(small) <= plan["budget"] < cost(base)
    assert BITS - 1 < used / sum(weights.values()) <= BITS
    assert list(bits.values()) == plan["layer_bits"]
    others = 32 * (cost(small) - sum(weights.values()))
    both = BITS * plan["budget"] + others  # biases stay as they are
    assert used + others <= both
    assert 32 * cost(small) > both  # pruned alone
    dense = sum(tensor.numel() for tensor in build(base).state_dict().values())
    assert BITS * dense > both  # in few bits alone


def test_what_travels_shrinks_with_bits_and_filters(run):
    """At 16 bits half of dense, and at the end less than the bits and the parameters alone."""
    with (run / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))[1:]
    payload = [int(row["payload_down"]) / int(row["clients"]) for row in rows]
    dense = 4 * int(rows[0]["parameters"])
    assert dense / 2 < payload[0] < 0.55 * dense
    last = read(run / "evaluation.json")["bits"] / 8
    assert payload[-1] == last < BITS / 32 * dense
    assert payload == sorted(payload, reverse=True)
    assert int(rows[-1]["nonzeros"]) == int(rows[-1]["parameters"]) < int(rows[0]["parameters"])


def test_saved_weights_are_packed_and_load_as_they_were_evaluated(run, tiny):
    about = read(run / "architecture.json")
    bits = about["quantised"]["weight_bits"]
    with safe_open(run / "weights.safetensors", framework="pt") as stream:
        for name, n in bits.items():
            found = stream.get_tensor(f"{name}.weight")
            assert found.dtype == torch.uint8
            weight = autoprune.load(run).get_parameter(f"{name}.weight")
            assert len(found) == -(-n * weight.numel() // 8)
            assert len(weight.unique()) <= 2**n - 1
    architecture, state, notes = load_weights(run / "weights.safetensors")
    assert (architecture, notes) == (Architecture.from_json(about), {})
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    _, network = load_network(run / "weights.safetensors")
    store = ClientStore.open(tiny / "store")
    rows = store.rows("test")
    labels = store.labels[rows, store.target_column("character")]
    found = predict(to_channels_last(network), store.images[rows], labels, store.pixel_range)[1]
    assert found == pytest.approx(read(run / "evaluation.json")["test_loss"], rel=1e-6)


def rounds_of(folder):
    with (folder / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_a_run_begins_with_packed_weights(run, train, tmp_path):
    """Unpacked: its round 0 answers as the quantised network did in the end."""
    widths = read(run / "architecture.json")["widths"]
    done = train(tmp_path / "run", rounds=1, widths=widths, start=str(run))
    assert done.returncode == 0, done.stderr
    before, after = rounds_of(run)[-1], rounds_of(tmp_path / "run")[0]
    assert float(after["validation_loss"]) == pytest.approx(
        float(before["validation_loss"]), rel=1e-6
    )


def test_it_begins_with_a_start_on_grids_of_16_bits(train, follow, tmp_path):
    assert train(tmp_path / "before", rounds=1).returncode == 0
    more = {"start": str(tmp_path / "before"), **follow("geta")}
    done = train(tmp_path / "run", "geta", "joint", bits=BITS, **more)
    assert done.returncode == 0, done.stderr
    assert "start:" not in done.stderr
    before, after = rounds_of(tmp_path / "before")[-1], rounds_of(tmp_path / "run")[0]
    assert float(after["validation_loss"]) == pytest.approx(
        float(before["validation_loss"]), rel=1e-3
    )


def test_bit_operations_are_counted_of_the_finished_run(run, tmp_path):
    about, output = read(run / "architecture.json"), tmp_path / "complexity.json"
    flags = ("--architecture", run / "architecture.json", "--output", output)
    done = run_here("autoprune.measure.complexity", *flags)
    assert done.returncode == 0, done.stderr
    found, base = read(output), about["quantised"]["base_widths"]
    dense = complexity(Architecture.from_json(about).with_widths(base))
    assert found["bops"] <= 32 * (BITS + 2) * found["macs"]
    assert found["relative_bops"] == found["bops"] / (1024 * dense["macs"])


def test_the_plan_replays_on_the_base_network(run, tmp_path):
    plan = read(run / "plan.json")
    base = Architecture.from_json(plan["base"])
    state = new_network(base, 3).state_dict()
    save_weights(tmp_path / "base.safetensors", base, state)
    flags = ("--weights", tmp_path / "base.safetensors", "--output", tmp_path / "small.safetensors")
    done = run_here("autoprune.pruning", "--plan", run / "plan.json", *flags)
    assert done.returncode == 0, done.stderr
    small, found, _ = load_weights(tmp_path / "small.safetensors")
    assert small == Architecture.from_json(read(run / "architecture.json"))
    for kept in survivors(plan)[:1]:
        assert torch.equal(found["conv1.weight"], state["conv1.weight"][list(kept)])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"bits": 1}, "bits: found 1, expected at least 2"),
        ({"rounds": 2}, "rounds: found 2, of which warm-up, projection and joint stage take 2"),
    ],
)
def test_what_cannot_be_is_one_line(train, follow, tmp_path, more, message):
    done = train(tmp_path / "out", "geta", "joint", **more, **follow("geta"))
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
