"""The ClientApp itself: when it takes importances, and what it does with weights under a mask."""

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord

from autoprune.core.seeds import generator
from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation import client_app
from autoprune.federation import strategy as strategies
from autoprune.federation.__main__ import CLIENT_APP, settings_of
from autoprune.federation.client_app import SQUARED_GRADIENTS
from autoprune.federation.importance import importance
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.strategy import SeededFedAvg, TooFewClients
from autoprune.federation.training import to_input, train, workspace
from autoprune.federation.wire import Dense, Sparse, arrays
from autoprune.models import Architecture, load_state, new_network
from autoprune.models.state import flat, maskable

CLIENTS = 6


def architecture_of(model, tiny):
    widths = {"cnn": (6, 7), "conformer": (4, 5, 2, 6, 3)}.get(model, (4, 5, 6))
    classes = len(ClientStore.open(str(tiny / "store")).classes("character"))
    return Architecture(model, widths, (1, 28, 28), classes)


def trained(flags, tiny, architecture, state, ask, wire):
    """The update of one client of the first round, and its (images, labels), batch size."""
    settings, _ = settings_of(flags("", model=architecture.family))
    strategy = SeededFedAvg(architecture, 1, 1, settings.seed, wire)
    strategy.ask = ask
    with LocalGrid(CLIENT_APP, CLIENTS, settings.run_config()) as grid:
        messages = strategy.configure_train(2, arrays(state), ConfigRecord(), grid)
        replies = list(grid.send_and_receive(messages))
    assert not replies[0].has_error(), replies[0].error.reason
    update = strategy.read(replies[0].content)
    store = ClientStore.open(settings.store)
    rows = Partition.open(settings.partition).indices(update.client)
    labels = store.labels[rows, store.target_column("character")].astype(np.int64)
    data = to_input(store.images[rows], store.pixel_range), torch.from_numpy(labels)
    return update, data, settings.batch_size


def same(found, expected):
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_importance_is_that_of_the_weights_after_training(flags, tiny, model):
    """To the bit, by ``importance`` on the client's data, of what goes back."""
    architecture = architecture_of(model, tiny)
    state = new_network(architecture, 1).state_dict()
    ask = {"importance": "sensitivity"}
    update, data, batch_size = trained(flags, tiny, architecture, state, ask, Dense())
    network = workspace(architecture)
    load_state(network, update.state)
    assert same(update.answers, importance("sensitivity", network, *data, batch_size))
    load_state(network, state)
    before = importance("sensitivity", network, *data, batch_size)
    assert not any(torch.equal(update.answers[name], before[name]) for name in before)


@pytest.mark.parametrize("model", ["cnn", "resnet", "cnn1d", "conformer"])
def test_squared_gradients_are_those_of_the_training_itself(flags, tiny, model):
    """The square of their sum over the steps, and asking changes nothing of the training."""
    architecture = architecture_of(model, tiny)
    state = new_network(architecture, 1).state_dict()
    ask = {"importance": SQUARED_GRADIENTS}
    update, (images, labels), batch_size = trained(flags, tiny, architecture, state, ask, Dense())
    plain, *_ = trained(flags, tiny, architecture, state, {}, Dense())
    assert same(update.state, plain.state)
    settings, _ = settings_of(flags("", model=architecture.family))
    network, total = workspace(architecture), {}
    load_state(network, state)
    train(
        network,
        images,
        labels,
        epochs=settings.local_epochs,
        batch_size=batch_size,
        learning_rate=settings.learning_rate,
        epsilon=settings.epsilon,
        precision=settings.precision,
        shuffle=generator(settings.seed, "client", 2, update.client),
        gradients=total,
    )
    assert same(update.answers, {name: tensor.square() for name, tensor in total.items()})


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_all_clients_are_asked_and_count_alike(flags, tiny, model, monkeypatch):
    """The plain mean of every client's sensitivity of the weights that were sent, and its bytes."""
    monkeypatch.setattr(strategies, "AT_A_TIME", 4)  # of six
    architecture = architecture_of(model, tiny)
    state = new_network(architecture, 1).state_dict()
    settings, _ = settings_of(flags("", model=architecture.family))
    with LocalGrid(CLIENT_APP, CLIENTS, settings.run_config()) as grid:
        strategy = SeededFedAvg(architecture, 1, CLIENTS, settings.seed)
        mean = strategy.ask_all(1, "sensitivity", state, grid)
    store, partition = ClientStore.open(settings.store), Partition.open(settings.partition)
    network, total = workspace(architecture), {}
    for client in range(CLIENTS):
        rows = partition.indices(client)
        labels = store.labels[rows, store.target_column("character")].astype(np.int64)
        load_state(network, state)
        data = to_input(store.images[rows], store.pixel_range), torch.from_numpy(labels)
        for name, score in importance("sensitivity", network, *data, settings.batch_size).items():
            total[name] = total.get(name, 0) + score.double()
    assert strategy.failures == {}
    assert same(mean, {name: (score / CLIENTS).float() for name, score in total.items()})
    traffic = strategy.traffic
    assert traffic.payload_down == 4 * CLIENTS * len(flat(state))
    assert traffic.payload_up == 4 * CLIENTS * len(flat(mean))
    envelopes = [
        traffic.bytes_down - traffic.payload_down,
        traffic.bytes_up - traffic.payload_up,
    ]
    assert all(0 < envelope < 500 * CLIENTS for envelope in envelopes)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ("raises", "RuntimeError: no"),
        ("none", "KeyError: 'conv1.weight'"),
        ("short", "importance: found float32 of shape"),
        ("nan", "importance: not finite"),
    ],
)
def test_a_client_with_no_usable_answer_is_left_out(flags, tiny, answers, words, monkeypatch):
    """It does not enter the mean; with too few others the run stops and says why."""
    architecture = architecture_of("cnn", tiny)
    state = new_network(architecture, 1).state_dict()
    original, calls, others = client_app.importance, [], []

    def spoilt(*arguments):
        calls.append(1)
        if len(calls) % CLIENTS != 3:  # client 2, each time all are asked
            others.append(original(*arguments))
            return others[-1]
        if answers == "raises":
            raise RuntimeError("no")
        found = original(*arguments)
        return {
            "nan": {name: tensor * torch.nan for name, tensor in found.items()},
            "short": {name: tensor[1:] for name, tensor in found.items()},
            "none": {},
        }[answers]

    monkeypatch.setattr(client_app, "importance", spoilt)
    settings, _ = settings_of(flags(""))
    with LocalGrid(CLIENT_APP, CLIENTS, settings.run_config()) as grid:
        strategy = SeededFedAvg(architecture, 1, CLIENTS - 1, settings.seed)
        mean = strategy.ask_all(1, "sensitivity", state, grid)
        strategy.min_clients = CLIENTS
        with pytest.raises(TooFewClients, match=f"5 usable answers of 6, .*client 2: {words}"):
            strategy.ask_all(1, "sensitivity", state, grid)
    assert strategy.failures.keys() == {2}
    assert strategy.failures[2].startswith(words)
    five = others[: CLIENTS - 1]
    assert same(mean, {n: (sum(one[n].double() for one in five) / 5).float() for n in mean})


@pytest.mark.parametrize("model", ["cnn", "resnet", "cnn1d", "conformer"])
def test_weights_under_a_mask_stay_zero_in_training(flags, tiny, model, monkeypatch):
    """In the client's own network, not only in what the server makes of the values it sends."""
    held = {}

    def answered(content, context, state, before, masks):
        held.update({name: tensor.clone() for name, tensor in state.items()})
        return original(content, context, state, before, masks)

    original = client_app.answered
    monkeypatch.setattr(client_app, "answered", answered)
    architecture = architecture_of(model, tiny)
    state = new_network(architecture, 1).state_dict()
    stream = torch.Generator().manual_seed(0)
    masks = {n: torch.rand(state[n].shape, generator=stream) < 0.4 for n in maskable(state)}
    sent = {name: t * masks[name] if name in masks else t for name, t in state.items()}
    wire = Sparse()
    wire.use(masks, 2)
    update, *_ = trained(flags, tiny, architecture, sent, {}, wire)
    assert same(update.state, held)
    for name, mask in masks.items():
        assert bool((held[name][~mask] == 0).all()), name
        assert not torch.equal(held[name][mask], sent[name][mask]), name
