"""The server's optimizers: the numbers of Flower's own strategies, and a memory that is pruned."""

import csv
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as strategies
from test_optimizers import TOLD, Settings

from autoprune.core.errors import InputError
from autoprune.core.options import WrongValue, read
from autoprune.federation.average import Total, mean_of
from autoprune.federation.interruption import Interrupted
from autoprune.federation.local_grid import be_the_server
from autoprune.federation.messages import Update
from autoprune.federation.run import Run
from autoprune.federation.server_optimizer import (
    REFUSED,
    ROBUST,
    ServerOptimizer,
    kept_in,
    parameters,
)
from autoprune.federation.wire import Sparse, arrays, tensors
from autoprune.models import Architecture, build, load_state, new_network
from autoprune.models.attached import attach, folded
from autoprune.pruning.shrink import cut

CNN = Architecture("cnn", (3, 4), (1, 28, 28), 5)
RESNET = Architecture("resnet", (3, 4, 5), (1, 28, 28), 5)
GIVEN = {
    "FedAdam": {"eta": 0.02, "tau": 0.01, "beta_1": 0.8},
    "FedYogi": {"eta": 0.02},
    "FedAdagrad": {"eta": 0.05},
    "FedAvgM": {"server_momentum": 0.9, "server_learning_rate": 0.7},
    "QFedAvg": {"client_learning_rate": 0.1, "q": 0.5},
    "FedMedian": {},
    "FedTrimmedAvg": {"beta": 0.2},
    "Krum": {"num_malicious_nodes": 1},
    "MultiKrum": {"num_malicious_nodes": 1, "num_nodes_to_select": 3},
    "Bulyan": {"num_malicious_nodes": 1},
}
REMEMBER = ("FedAdam", "FedYogi", "FedAdagrad", "FedAvgM")


def updates_of(state, server_round, clients=7):
    """Replies that are some way from the state that was sent."""
    stream = torch.Generator().manual_seed(server_round)
    return [
        Update(
            client,
            {n: t + 0.1 * torch.rand(t.shape, generator=stream) for n, t in state.items()},
            10 + client,
            1.0 + client / 10,
        )
        for client in range(clients)
    ]


def message(update, names):
    content = RecordDict(
        {
            "arrays": arrays({name: update.state[name] for name in names}),
            "metrics": MetricRecord(
                {"num-examples": update.examples, "train_loss": update.train_loss}
            ),
        }
    )
    return Message(content, update.client + 1, "train")


class NoGrid:
    """Flower's strategies ask their grid for nodes; these have a fixed round of them."""

    def get_node_ids(self):
        return range(1, 8)


def flowers(name, architecture, state, rounds):
    """What Flower's strategy makes of the same replies, used as Flower's own loop uses it."""
    be_the_server()
    strategy = getattr(strategies, name)(**GIVEN[name])
    names = list(state) if name in ROBUST else parameters(architecture)
    states = []
    for server_round in range(1, rounds + 1):
        sent = arrays({n: state[n] for n in names})
        strategy.configure_train(server_round, sent, ConfigRecord(), NoGrid())
        replies = [message(u, names) for u in updates_of(state, server_round)]
        found, _ = strategy.aggregate_train(server_round, replies)
        state = state | {n: t.to(state[n].dtype) for n, t in tensors(found).items()}
        states.append(state)
    return states


@pytest.mark.parametrize("name", GIVEN)
def test_every_strategy_gives_flowers_own_numbers(name):
    """To the bit, round after round; Flower's own loop goes on from the strategy's weights."""
    be_the_server()
    state = dict(new_network(CNN, 0).state_dict())
    wanted = flowers(name, CNN, state, 4)
    server = ServerOptimizer({"strategy": name, **GIVEN[name]})
    for server_round in range(1, 5):
        state = server.aggregate(server_round, updates_of(state, server_round), state, CNN)
        assert all(torch.equal(state[n], t) for n, t in wanted[server_round - 1].items()), name
    assert bool(server.memory(CNN)) == (name in REMEMBER)


@pytest.mark.parametrize("name", GIVEN)
def test_the_mean_stands_for_all_where_the_strategy_needs_no_more(name):
    """Flower averages in float32, our mean is rounded once: they differ by less than that."""
    be_the_server()
    state = dict(new_network(CNN, 0).state_dict())
    updates, total = updates_of(state, 1), Total()
    for update in updates:
        total.add(update)
    server = ServerOptimizer({"strategy": name, **GIVEN[name]})
    assert server.each == (name not in REMEMBER)
    if not server.each:
        found = server.aggregate(1, [total.mean()], state, CNN)
        again = ServerOptimizer({"strategy": name, **GIVEN[name]})
        wanted = again.aggregate(1, updates, state, CNN)
        moved = max(float((wanted[n] - t).abs().max()) for n, t in state.items())
        for n in wanted:
            assert float((found[n] - wanted[n]).abs().max()) < 1e-4 * moved


@pytest.mark.parametrize("name", ["FedAdam", "FedMedian"])
def test_batch_norm_statistics_are_averaged_or_robust_and_never_stepped(name):
    """A variance that a step of Adam takes below 0 would end the run."""
    be_the_server()
    state = dict(new_network(RESNET, 0).state_dict())
    statistics = [n for n in state if n not in parameters(RESNET)]
    assert any(n.endswith("running_var") for n in statistics)
    updates = updates_of(state, 1)
    found = ServerOptimizer({"strategy": name}).aggregate(1, updates, state, RESNET)
    assert list(found.keys() ^ state.keys()) == []
    for statistic in statistics:
        of_clients = [(update.state, update.examples) for update in updates]
        wanted = mean_of(of_clients)[statistic]
        if name == "FedMedian":
            stacked = np.stack([update.state[statistic].numpy() for update in updates])
            wanted = torch.from_numpy(np.median(stacked, axis=0))
        assert torch.equal(found[statistic], wanted)


@pytest.mark.parametrize("name", REMEMBER)
def test_the_memory_comes_back_to_the_bit(name):
    be_the_server()
    states = []
    for stop in (None, 2):
        state = dict(new_network(CNN, 0).state_dict())
        server = ServerOptimizer({"strategy": name, **GIVEN[name]})
        for server_round in range(1, 5):
            state = server.aggregate(server_round, updates_of(state, server_round), state, CNN)
            if server_round == stop:
                memory = dict(sorted(server.memory(CNN).items(), reverse=True))
                server = ServerOptimizer({"strategy": name, **GIVEN[name]})
                server.restore(memory, CNN)
        states.append(state)
    assert all(torch.equal(states[0][n], t) for n, t in states[1].items())


def after_two_rounds(name, architecture=CNN):
    be_the_server()
    state = dict(new_network(architecture, 0).state_dict())
    server = ServerOptimizer({"strategy": name, **GIVEN[name]})
    for server_round in (1, 2):
        state = server.aggregate(server_round, updates_of(state, server_round), state, architecture)
    return server, state


@pytest.mark.parametrize("name", REMEMBER)
@pytest.mark.parametrize("architecture", [CNN, RESNET])
def test_where_filters_go_their_memory_goes(name, architecture):
    """What is left is what stood at the places of the filters that stay."""
    server, state = after_two_rounds(name, architecture)
    before = server.memory(architecture)
    kept = tuple(tuple(range(0, width, 2)) for width in architecture.widths)
    smaller, network = cut(architecture, state, kept)
    after = smaller, network.state_dict()
    server.follow(3, (architecture, state), after, kept)
    memory = server.memory(smaller)
    assert memory.keys() == before.keys()
    assert int(memory["began"]) == 1
    places, own = build(architecture).places, parameters(architecture)
    for field in {n.partition("/")[0] for n in memory} - {"began"}:
        sliced = places.cut(state | {n: before[f"{field}/{n}"] for n in own}, kept)
        assert all(torch.equal(memory[f"{field}/{n}"], sliced[n]) for n in own)
    new = server.aggregate(3, updates_of(after[1], 3), after[1], smaller)
    assert {n: t.shape for n, t in new.items()} == {n: t.shape for n, t in after[1].items()}


@pytest.mark.parametrize("name", REMEMBER)
@pytest.mark.parametrize("widths", [(3, 4), (2, 3)])
def test_where_weights_are_drawn_anew_the_memory_begins_anew(name, widths):
    """As a strategy that sees its first round: Adam's count of steps is one again too."""
    server, state = after_two_rounds(name)
    other = CNN.with_widths(widths)
    fresh = dict(new_network(other, 9).state_dict())
    kept = tuple(tuple(range(width)) for width in widths) if widths != (3, 4) else None
    server.follow(3, (CNN, state), (other, fresh), kept)
    assert not server.memory(other)
    found = server.aggregate(3, updates_of(fresh, 3), fresh, other)
    first = ServerOptimizer({"strategy": name, **GIVEN[name]})
    wanted = first.aggregate(1, updates_of(fresh, 3), fresh, other)
    assert all(torch.equal(found[n], t) for n, t in wanted.items())
    assert int(server.memory(other)["began"]) == 3


def test_where_something_is_attached_or_folded_away_the_memory_begins_anew():
    """Also where gates are wide open, so that no weight changes."""
    be_the_server()
    server = ServerOptimizer({"strategy": "FedAdam"})
    network = new_network(CNN, 0)
    state = server.aggregate(1, updates_of(network.state_dict(), 1), network.state_dict(), CNN)
    load_state(network, state)
    gated, with_gates = attach(CNN, network, "gates")
    with_gates.attached.open(rate=1.0, closed=1e-9)
    now = with_gates.state_dict()
    assert server.memory(CNN)
    server.follow(2, (CNN, state), (gated, now), None)
    assert not server.memory(gated)
    assert server.aggregate(2, updates_of(now, 2), now, gated).keys() == now.keys()
    _, plain = folded(gated, with_gates)
    server.follow(3, (gated, now), (CNN, plain.state_dict()), ((0, 1, 2), (0, 1, 2, 3)))
    assert not server.memory(CNN)


def test_weights_that_a_mask_sets_to_zero_keep_their_memory_and_stay_zero():
    server, state = after_two_rounds("FedAdam")
    masks = {n: torch.arange(t.numel()).reshape(t.shape) % 2 == 0 for n, t in state.items()}
    masks = {n: mask for n, mask in masks.items() if state[n].dim() > 1}
    masked = {n: t * masks[n] if n in masks else t for n, t in state.items()}
    before = server.memory(CNN)
    server.follow(3, (CNN, state), (CNN, masked), None)
    assert server.memory(CNN).keys() == before.keys()
    wire = Sparse()
    wire.use(masks, 3)
    updates = [
        Update(u.client, wire.within(u.state), u.examples, u.train_loss)
        for u in updates_of(masked, 3)
    ]
    stepped = server.aggregate(3, updates, masked, CNN)
    assert any(bool((stepped[n][~mask] != 0).any()) for n, mask in masks.items())  # by momentum
    assert all(not bool(wire.within(stepped)[n][~mask].any()) for n, mask in masks.items())


def test_the_filters_that_were_kept_are_those_of_the_round():
    memory = {"shrinks": [{"round": 2, "layers": [{"kept": [0, 2]}, {"kept": [1]}]}]}
    assert kept_in(memory, 2) == ((0, 2), (1,))
    assert kept_in(memory, 3) is None
    assert kept_in({}, 2) is None


@pytest.mark.parametrize("server", ["FedAdam", "FedAvgM", "Krum"])
def test_whole_runs_give_the_same_bytes_with_workers_and_after_a_stop(
    server, train, tmp_path, contents, monkeypatch
):
    """Of a search that cuts filters while the server remembers."""
    chosen = {"strategy": server, **GIVEN[server]}
    chosen = chosen | ({"num_malicious_nodes": 0} if server == "Krum" else {})
    more = {"server": chosen, "rounds": 5, "min_clients": 3}
    done = train(tmp_path / "one", "autoprune", "inherit", **more)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "one/history.csv").open() as stream:
        assert len({row["widths"] for row in csv.DictReader(stream)}) > 1  # it did shrink
    about = json.loads((tmp_path / "one/run.json").read_text())
    assert json.loads(about["settings"]["server"]) == chosen
    done = train(tmp_path / "two", "autoprune", "inherit", workers=2, **more)
    assert done.returncode == 0, done.stderr
    step = Run.round

    def stopping(self, server_round):
        if server_round == 4:
            raise Interrupted("SIGTERM")
        return step(self, server_round)

    with monkeypatch.context() as patched:
        patched.setattr(Run, "round", stopping)
        done = train(tmp_path / "stopped", "autoprune", "inherit", **more)
    assert "written after round 3" in done.stderr
    done = train(tmp_path / "stopped", "autoprune", "inherit", **more)
    assert "going on after round 3" in done.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "stopped")
    plain = train(tmp_path / "plain", "autoprune", "inherit", rounds=5, min_clients=3)
    assert plain.returncode == 0
    assert contents(tmp_path / "plain")["history.csv"] != contents(tmp_path / "one")["history.csv"]


def test_fedavg_by_name_is_the_default(train, tmp_path, contents):
    done = [
        train(tmp_path / name, rounds=2, **more)
        for name, more in (("plain", {}), ("named", {"server": {"strategy": "FedAvg"}}))
    ]
    assert [d.returncode for d in done] == [0, 0]
    assert contents(tmp_path / "plain") == contents(tmp_path / "named")


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_cannot_work_here_is_refused_by_name(name):
    with pytest.raises(WrongValue, match=f"server: strategy {name}: "):
        read(Settings, TOLD | {"server": {"strategy": name}})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "FedAdam"}, "key 'strategy' is missing"),
        ({"strategy": "FedSGD"}, "unknown strategy 'FedSGD'; known are Bulyan, FedAdagrad"),
        ({"strategy": "FedAdam", "fraction_train": 0.5}, "cohorts and messages are not its own"),
        ({"strategy": "FedAdam", "eta_l": 0.5}, "Flower's server does not use it"),
        ({"strategy": "FedAdam", "beta1": 0.5}, "did you mean 'beta_1'?"),
        ({"strategy": "FedAdam", "beta_1": 1.0}, "beta_1: found 1, expected at least 0 and below"),
        ({"strategy": "FedAdam", "tau": 0}, "tau: found 0, expected a number above 0"),
        ({"strategy": "FedAdam", "eta": "x"}, "eta: found 'x', expected a number"),
        ({"strategy": "FedTrimmedAvg", "beta": 0.5}, "FedTrimmedAvg: `beta` must be in the range"),
        ({"strategy": "MultiKrum", "num_nodes_to_select": 1.5}, "expected a whole number"),
        ({"strategy": "QFedAvg"}, "QFedAvg: argument 'client_learning_rate' is missing"),
    ],
)
def test_arguments_are_held_against_the_class(given, words):
    with pytest.raises(WrongValue) as refused:
        read(Settings, TOLD | {"server": given})
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_strategy_that_needs_more_replies_than_a_round_has_to_have_is_refused(train, tmp_path):
    bulyan = {"strategy": "Bulyan", "num_malicious_nodes": 1}
    done = train(tmp_path / "run", server=bulyan, min_clients=3)
    assert done.returncode == 1
    assert "needs 7 replies in each round; found min_clients 3, set it to 7 or more" in done.stderr
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="MultiKrum"):
        ServerOptimizer({"strategy": "MultiKrum", **GIVEN["MultiKrum"]}).require(4)
    ServerOptimizer({"strategy": "MultiKrum", **GIVEN["MultiKrum"]}).require(5)


@pytest.mark.parametrize(("method", "variant"), [("fedmap", "global"), ("l1-int8", "one-shot")])
def test_it_works_on_every_wire(method, variant, train, follow, tmp_path, contents):
    """Under masks that change, and with updates in int8."""
    more = {"server": {"strategy": "FedAdam", "eta": 0.02}, **follow(method)}
    for folder, workers in (("one", 1), ("two", 2)):
        done = train(tmp_path / folder, method, variant, workers=workers, **more)
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.skipif(
    os.environ.get("AUTOPRUNE_TEST_RAY") != "1",
    reason="starts Ray, which can hang; set AUTOPRUNE_TEST_RAY=1 to run it",
)
def test_flowers_simulation_gives_the_same_bytes_for_all_of_it_together(flags, tmp_path, contents):
    """As processes: Ray warns of its future, which is an error in this one."""
    more = {
        "server": {"strategy": "FedAdam", "eta": 0.02},
        "optimizer": {"name": "SGD", "momentum": 0.9},
        "schedule": {"name": "CosineAnnealingLR", "T_max": 5},
        "augmentation": [{"RandomCrop": {"size": 28, "padding": 2}}],
        "proximal_mu": 0.1,
        "workers": 2,
    }
    for backend in ("local", "simulation"):
        words = flags(tmp_path / backend, "autoprune", "inherit", backend=backend, **more)
        command = [sys.executable, "-m", "autoprune.federation", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "local") == contents(tmp_path / "simulation")
