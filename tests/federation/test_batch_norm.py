"""Batch-norm statistics refreshed before an evaluation: by hand, by law, and in whole runs."""

import csv
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.federation import batch_norm, client_app
from autoprune.federation.__main__ import CLIENT_APP, settings_of
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.run import Run
from autoprune.federation.strategy import TooFewClients
from autoprune.federation.training import predict, to_input
from autoprune.models import Architecture, build, load_state, new_network
from autoprune.models.weights import load_weights

RESNET = Architecture("resnet", (4, 5, 6), (1, 28, 28), 10)
FIRST = [f"stem_norm.{kind}" for kind in (batch_norm.MEAN, batch_norm.VARIANCE)]
LEARNS = {"model": "resnet", "widths": "8 8 8", "local-epochs": 2, "learning-rate": 0.005}


def images_of(number, seed=0):
    return torch.rand(number, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def history(folder):
    with (folder / "history.csv").open() as stream:
        return list(csv.DictReader(stream))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 99))
def test_pooled_are_those_of_all_the_numbers(sizes, seed):
    """Clients of any sizes whose values differ: as NumPy has it of the whole."""
    stream = np.random.default_rng(seed)
    values = [stream.normal(stream.normal(0, 5), 2, (n, 3)) for n in sizes]
    clients = []
    for own in values:
        moments = (torch.tensor(own.mean(0)).float(), torch.tensor(own.var(0)).float())
        clients.append((dict(zip(FIRST, moments, strict=True)), len(own)))
    mean, variance = batch_norm.pooled(clients).values()
    whole = np.concatenate(values)
    assert mean.numpy() == pytest.approx(whole.mean(0), rel=1e-5, abs=1e-5)
    assert variance.numpy() == pytest.approx(whole.var(0), rel=1e-4, abs=1e-5)


def test_one_batch_gives_what_evaluation_would_normalise_away():
    """With them, every batch norm's output in evaluation is that in training, bit of rounding."""
    network, images = new_network(RESNET, 0), images_of(60)
    found = batch_norm.statistics(network, images)
    assert list(found) == batch_norm.names(network)
    with torch.no_grad():
        trained = network.train()(images)
        load_state(network, network.state_dict() | found)
        assert torch.allclose(network.eval()(images), trained, atol=1e-5)


def test_more_images_than_a_batch_are_of_all_of_them(monkeypatch):
    """Of the first batch norm, to which no other's batches matter; batches of equal size."""
    network, images = new_network(RESNET, 0), images_of(61)
    whole = batch_norm.statistics(network, images)
    monkeypatch.setattr(batch_norm, "BATCH", 20)
    parted = batch_norm.statistics(network, images)
    for name in FIRST:
        assert torch.allclose(parted[name], whole[name], rtol=1e-5, atol=1e-6)
    assert not all(torch.allclose(parted[n], whole[n], rtol=1e-5) for n in parted)


def test_nothing_of_the_network_changes():
    network = new_network(RESNET, 0)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batch_norm.statistics(network, images_of(30))
    assert all(torch.equal(t, before[n]) for n, t in network.state_dict().items())


def evaluate(network, images, labels, pixel_range):
    """Accuracy and loss."""
    found, loss = predict(network, images, labels, pixel_range)
    return (found == labels).mean(), loss


def executed(words):
    """The run that these flags ask for, finished in this process."""
    settings, _ = settings_of(words)
    with LocalGrid(CLIENT_APP, 6, settings.run_config()) as grid:
        run = Run(settings, grid)
        run.execute()
    return run


def test_networks_without_batch_norm_have_none():
    for family, widths in (("cnn", (3, 4)), ("inception", (2,) * 9)):
        assert batch_norm.names(build(Architecture(family, widths, (1, 28, 28), 10))) == []


@pytest.fixture(scope="module")
def both(train, tmp_path_factory):
    """The folders of a ResNet's runs with refreshed and averaged statistics."""
    folders = {}
    for how in ("refreshed", "averaged"):
        folders[how] = tmp_path_factory.mktemp(how)
        more = LEARNS | {"rounds": 8, "evaluate-every": 2, "batch-norm": how}
        done = train(folders[how], "autoprune", "inherit", clients_per_round=6, k=1, **more)
        assert done.returncode == 0, done.stderr
    return folders


def test_statistics_change_evaluations_and_no_weight(both):
    found = {how: load_weights(folder / "weights.safetensors") for how, folder in both.items()}
    (architecture, ours, _), (other, theirs, _) = found["refreshed"], found["averaged"]
    assert architecture == other
    statistics = batch_norm.names(build(architecture))
    assert not any(torch.equal(ours[name], theirs[name]) for name in statistics)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() - set(statistics))
    plans = [(folder / "plan.json").read_bytes() for folder in both.values()]
    assert plans[0] == plans[1]
    rows = [history(folder) for folder in both.values()]
    assert any(row["shrunk"] == "1" for row in rows[0])
    for name in ("train_loss", "parameters", "widths", "failures"):
        assert [row[name] for row in rows[0]] == [row[name] for row in rows[1]]
    assert rows[0][0]["test_accuracy"] == rows[1][0]["test_accuracy"]  # nothing was trained yet


def test_bytes_of_both_directions_are_charged_where_it_is_evaluated(both):
    refreshed, averaged = (history(both[how]) for how in ("refreshed", "averaged"))
    for ours, theirs in zip(refreshed[1:], averaged[1:], strict=True):
        down, up = (int(ours[n]) - int(theirs[n]) for n in ("bytes_down", "bytes_up"))
        if not ours["test_accuracy"]:
            assert (down, up) == (0, 0)
            continue
        assert down == int(theirs["bytes_down"])  # the same message once more
        statistics = int(ours["parameters_with_statistics"]) - int(ours["parameters"])
        clients = int(ours["clients"])
        assert 4 * statistics * clients < up < (4 * statistics + 500) * clients


def test_refreshed_is_as_good_as_a_full_pass_and_better_than_averages(flags, tmp_path):
    """On the images of the cohort; a full pass is all of them at once, on the network saved."""
    found = {}
    for how in ("refreshed", "averaged"):
        more = LEARNS | {"local-epochs": 4, "rounds": 4, "evaluate-every": 4, "batch-norm": how}
        run = executed(flags(tmp_path / how, clients_per_round=6, **more))
        rows = np.concatenate([run.partition.indices(client) for client in range(6)])
        labels = run.store.labels[rows, run.store.target_column("character")]
        network, given = run.deployed(), (run.store.images[rows], labels, run.store.pixel_range)
        found[how] = evaluate(network, *given)
    images = to_input(run.store.images[rows], run.store.pixel_range)
    load_state(network, network.state_dict() | batch_norm.statistics(network, images))
    accuracy, loss = evaluate(network, *given)
    assert found["refreshed"][0] > accuracy - 0.02
    assert found["refreshed"][1] < loss + 0.02
    assert found["averaged"][0] < accuracy - 0.2
    assert found["averaged"][1] > loss + 1


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_give_the_same_bytes(train, both, tmp_path, workers, contents):
    more = LEARNS | {"rounds": 8, "evaluate-every": 2, "workers": workers}
    done = train(tmp_path, "autoprune", "inherit", clients_per_round=6, k=1, **more)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(both["refreshed"])


@pytest.mark.skipif(
    os.environ.get("AUTOPRUNE_TEST_RAY") != "1",
    reason="starts Ray, which can hang; set AUTOPRUNE_TEST_RAY=1 to run it",
)
def test_flowers_simulation_gives_the_same_bytes(train, both, tmp_path, contents):
    more = LEARNS | {"rounds": 8, "evaluate-every": 2, "workers": 2, "backend": "simulation"}
    done = train(tmp_path, "autoprune", "inherit", clients_per_round=6, k=1, **more)
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path) == contents(both["refreshed"])


class Stopped(RuntimeError):
    """A run that ends before its last round."""


@pytest.mark.parametrize(
    ("method", "variant"),
    [("autoprune", "inherit"), ("fedmap", "global"), ("l1-int8", "iterative"), ("geta", "joint")],
)
def test_a_resumed_run_ends_in_the_same_bytes(
    both, follow, flags, tmp_path, contents, monkeypatch, method, variant
):
    """Also under masks and int8, whose networks travel as for training."""
    more = LEARNS | {"rounds": 4, "evaluate-every": 1}
    plan = {"plan": both["refreshed"] / "plan.json"}
    more |= {"k": 1} if method == "autoprune" else follow(method) | plan
    for name, stops in (("whole", None), ("broken", 3)):
        settings, _ = settings_of(flags(tmp_path / name, method, variant, **more))
        (tmp_path / name).mkdir()
        for last in ([stops] if stops else []) + [None]:
            with LocalGrid(CLIENT_APP, 6, settings.run_config()) as grid:
                run = Run(settings, grid)
                if last:
                    step = run.round
                    monkeypatch.setattr(run, "round", stopping(step, last))
                    with pytest.raises(Stopped):
                        run.execute()
                else:
                    run.execute()
        (tmp_path / name / "progress.json").unlink(missing_ok=True)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    rows = history(tmp_path / "whole")
    assert all(row["test_accuracy"] for row in rows)
    assert all(row["failures"] == "" for row in rows)


def stopping(step, last):
    def stop(server_round):
        if server_round == last:
            raise Stopped
        return step(server_round)

    return stop


def statistics_that(misbehave):
    """``batch_norm.statistics`` that does something else at each third client it is asked of."""
    calls = []

    def statistics(network, images):
        calls.append(1)
        found = original(network, images)
        return misbehave(found) if len(calls) % 3 == 0 else found

    original = batch_norm.statistics
    return statistics


def raising(found):
    raise ValueError("no images here")


BAD = {
    "ValueError: no images here": raising,
    "statistics: not finite": lambda found: {n: t / 0 for n, t in found.items()},
    "statistics: a variance below 0": lambda found: {n: t - 9 for n, t in found.items()},
    "statistics: a variance below 0, or numbers beyond": lambda found: {
        n: t + 1e30 for n, t in found.items()
    },
    "statistics: found float32 of shape": lambda found: dict(list(found.items())[1:]),
}


@pytest.mark.parametrize("words", BAD)
def test_a_client_that_fails_then_is_left_out_and_recorded(flags, tmp_path, monkeypatch, words):
    monkeypatch.setattr(batch_norm, "statistics", statistics_that(BAD[words]))
    executed(flags(tmp_path, **LEARNS | {"rounds": 2, "evaluate-every": 1}))
    rows = history(tmp_path)[1:]
    assert all(f"refresh: {words}" in row["failures"] for row in rows)
    assert all(len(row["failures"].split("; ")) == 1 for row in rows)


def test_a_state_that_nobody_can_train_on_is_no_checkpoint(flags, tmp_path, monkeypatch, capsys):
    """Finite weights whose answers are not: round 3 fails, and the run can go on after round 1."""
    original, rounds = client_app.answered, []

    def poisoned(content, *others):
        sent = original(content, *others)
        rounds.append(content.config_records["config"]["server-round"])
        return torch.full_like(sent, 3e38) if rounds[-1] == 2 else sent

    monkeypatch.setattr(client_app, "answered", poisoned)
    words = flags(tmp_path, rounds=4, checkpoint_every=1)
    with pytest.raises(TooFewClients, match="round 3: 0 usable replies of 3"):
        executed(words)
    assert "not written after round 2: the network's answers are not finite" in (
        capsys.readouterr().err
    )
    monkeypatch.setattr(client_app, "answered", original)
    executed(words)
    assert "going on after round 1" in capsys.readouterr().err
    assert [row["usable"] for row in history(tmp_path)] == ["0", "3", "3", "3", "3"]


def test_where_none_answers_the_averages_stay(flags, tmp_path, monkeypatch):
    monkeypatch.setattr(client_app.batch_norm, "statistics", lambda network, images: raising({}))
    weights = []
    for how in ("refreshed", "averaged"):
        more = LEARNS | {"rounds": 2, "batch-norm": how}
        executed(flags(tmp_path / how, **more))
        weights.append((tmp_path / how / "weights.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert history(tmp_path / "refreshed")[2]["failures"].count("refresh: ValueError") == 3


def test_networks_without_batch_norm_are_as_before(flags, tmp_path):
    files = []
    for how in ("refreshed", "averaged"):
        executed(flags(tmp_path / how, **{"batch-norm": how}))
        files.append(
            [
                (tmp_path / how / name).read_bytes()
                for name in ("history.csv", "weights.safetensors")
            ]
        )
    assert files[0] == files[1]
    settings = json.loads((tmp_path / "averaged/run.json").read_text())["settings"]
    assert settings["batch-norm"] == "averaged"
