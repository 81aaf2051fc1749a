"""The ClientApp itself: when it takes importances, and what it does with weights under a mask."""

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord

from autoprune.data.partition import Partition
from autoprune.data.store import ClientStore
from autoprune.federation import client_app
from autoprune.federation.encoding import maskable
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.messages import read_reply
from autoprune.federation.strategy import SeededFedAvg
from autoprune.federation.training import importance, to_input, workspace
from autoprune.federation.wire import Dense, Sparse, arrays
from autoprune.methods.ssfl import Method as Ssfl
from autoprune.models import Architecture, load_state, new_network
from autoprune.train import CLIENT_APP, settings_of

CLIENTS = 6
ONE_SHOT = Ssfl.ask(None, 1)  # what ssfl asks in its first round


def architecture_of(model, tiny):
    widths = {"cnn": (6, 7), "resnet": (4, 5, 6)}[model]
    classes = len(ClientStore.open(str(tiny / "store")).classes("character"))
    return Architecture(model, widths, (1, 28, 28), classes)


def trained(flags, tiny, architecture, state, ask, wire):
    """The update of one client of the first round, and its (images, labels), batch size."""
    settings, _ = settings_of(flags("", model=architecture.family))
    strategy = SeededFedAvg(architecture, 1, 1, settings.seed, wire)
    strategy.ask = ask
    with LocalGrid(CLIENT_APP, CLIENTS, settings.run_config()) as grid:
        messages = strategy.configure_train(2, arrays(state), ConfigRecord(), grid)
        replies = grid.send_and_receive(messages)
    assert not replies[0].has_error(), replies[0].error.reason
    update = read_reply(replies[0].content)
    store = ClientStore.open(settings.store)
    rows = Partition.open(settings.partition).indices(update.client)
    labels = store.labels[rows, store.target_column("character")].astype(np.int64)
    data = to_input(store.images[rows], store.pixel_range), torch.from_numpy(labels)
    return update, data, settings.batch_size


def same(found, expected):
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("model", ["cnn", "resnet"])
@pytest.mark.parametrize("ask", [ONE_SHOT, {"importance": "sensitivity"}], ids=["before", "after"])
def test_importance_is_that_of_the_weights_before_or_after_training(flags, tiny, model, ask):
    """To the bit, by ``importance`` on the client's data: of what came, or of what goes back."""
    architecture = architecture_of(model, tiny)
    state = new_network(architecture, 1).state_dict()
    update, data, batch_size = trained(flags, tiny, architecture, state, ask, Dense())
    network, found = workspace(architecture), []
    for weights in (state, update.state):
        load_state(network, weights)
        found.append(importance("sensitivity", network, *data, batch_size))
    before, after = found
    asked, other = (before, after) if ask is ONE_SHOT else (after, before)
    assert same(update.answers, asked)
    assert not any(torch.equal(update.answers[name], other[name]) for name in other)


@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_weights_under_a_mask_stay_zero_in_training(flags, tiny, model, monkeypatch):
    """In the client's own network, not only in what the server makes of the values it sends."""
    held = {}

    def answered(content, context, state, masks):
        held.update({name: tensor.clone() for name, tensor in state.items()})
        return original(content, context, state, masks)

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
    back = wire.incoming(update.state)
    assert same(back, held)
    for name, mask in masks.items():
        assert bool((held[name][~mask] == 0).all()), name
        assert not torch.equal(held[name][mask], sent[name][mask]), name
