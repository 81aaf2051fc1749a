"""The strategy: cohorts, and the mean by hand and by law."""

import re

import pytest
import torch
from flwr.app import ConfigRecord, Message
from hypothesis import given
from hypothesis import strategies as st

from autoprune.communication import decode, encode, size
from autoprune.federation.client_app import SQUARED_GRADIENTS
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.messages import Update, instruction, read_instruction, reply
from autoprune.federation.replies import fault
from autoprune.federation.strategy import (
    SeededFedAvg,
    TooFewClients,
    cohort,
    weighted_mean,
)
from autoprune.federation.training import IMPORTANCES, answer_shapes, importance
from autoprune.federation.wire import Int8, arrays, tensors
from autoprune.models import Architecture, new_network


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 1000), min_size=1, max_size=30))
def test_the_mean_of_equal_clients_is_the_identity(seed, examples):
    stream = torch.Generator().manual_seed(seed)
    state = {"weight": torch.randn(7, 3, generator=stream), "variance": torch.rand(4)}
    mean = weighted_mean([Update(i, state, n, 0.0) for i, n in enumerate(examples)])
    assert all(torch.equal(mean[name], state[name]) for name in state)


def test_the_mean_is_weighted_by_examples():
    first = Update(0, {"w": torch.tensor([1.0, 0.0])}, 30, 0.0)
    second = Update(1, {"w": torch.tensor([5.0, 8.0])}, 10, 0.0)
    assert weighted_mean([first, second])["w"].tolist() == [2.0, 2.0]


@given(st.integers(0, 10**6), st.integers(1, 500), st.integers(1, 60), st.integers(1, 60))
def test_a_cohort_is_a_function_of_seed_and_round(seed, server_round, clients, size):
    chosen = cohort(seed, server_round, clients, size)
    assert chosen == cohort(seed, server_round, clients, size)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(size, clients)
    assert all(0 <= client < clients for client in chosen)


def test_cohorts_differ_between_rounds_and_seeds():
    assert cohort(0, 1, 100, 10) != cohort(0, 2, 100, 10)
    assert cohort(0, 1, 100, 10) != cohort(1, 1, 100, 10)


def test_every_client_gets_its_turn():
    seen = {client for r in range(1, 200) for client in cohort(0, r, 20, 3)}
    assert seen == set(range(20))


def test_a_message_brings_the_architecture_along():
    architecture = Architecture("resnet", (4, 6, 5), (3, 84, 84), 2)
    state = new_network(architecture, 0).state_dict()
    content = instruction(architecture, arrays(state), 7)
    arrived = decode(encode(content))
    found, server_round, asked = read_instruction(arrived)
    assert (found, server_round, asked) == (architecture, 7, {})
    weights = tensors(arrived.array_records["arrays"])
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in state)


def test_bytes_are_those_of_the_serialised_content():
    """4 bytes a number, and for each array the name and NumPy's header of 128 bytes."""
    architecture = Architecture("cnn", (5, 7), (1, 28, 28), 10)
    state = new_network(architecture, 0).state_dict()
    content = instruction(architecture, arrays(state), 1)
    assert size(content) == len(encode(content))
    numbers = sum(tensor.numel() for tensor in state.values())
    assert 4 * numbers + 128 * len(state) < size(content) < 4 * numbers + 250 * len(state) + 250


SENT = {"w": (2,), "b": (1,)}


def update(**changes):
    state = {"w": torch.zeros(2), "b": torch.zeros(1)} | changes.pop("state", {})
    return Update(0, state, changes.pop("examples", 5), 0.1)


def test_a_whole_reply_has_no_fault():
    assert fault(update(), SENT, {}) == ""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": {"w": torch.zeros(3)}}, "w has shape (3,), expected (2,)"),
        ({"state": {"x": torch.zeros(1)}}, "['x'] are missing or were not asked for"),
        ({"state": {"w": torch.tensor([1.0, torch.nan])}}, "not finite"),
        ({"state": {"b": torch.tensor([torch.inf])}}, "not finite"),
        ({"examples": 0}, "trained on 0 examples"),
    ],
)
def test_faults_of_a_reply_are_named(changes, words):
    assert words in fault(update(**changes), SENT, {})


CNN = Architecture("cnn", (3, 4), (1, 28, 28), 10)
RESNET = Architecture("resnet", (3, 4, 5), (1, 28, 28), 10)
KINDS = [*IMPORTANCES, SQUARED_GRADIENTS]
FILTERS = {
    "cnn": {"conv1": 3, "conv2": 4},
    "resnet": {"stem": 3, "blocks.0.conv1": 4, "blocks.1.conv1": 5},
}


def answers_of(kind, architecture):
    """What a client with ones for scores answers, its shapes written down apart from the code."""
    if not kind:
        return {}
    if kind == "taylor":
        return {name: torch.ones(width) for name, width in FILTERS[architecture.family].items()}
    state = new_network(architecture, 0).state_dict()
    return {name: torch.ones_like(tensor) for name, tensor in state.items() if tensor.dim() > 1}


def aggregated(kind, architecture, answered, wire=None, weights=None, min_clients=2):
    """The strategy after a round of 3 clients, of which client 1 answers something else."""
    strategy = SeededFedAvg(architecture, 3, min_clients, 0, wire)
    strategy.ask = {"importance": kind} if kind else {}
    state = new_network(architecture, 0).state_dict()
    with LocalGrid("", 3, {}) as grid:  # it only names the nodes
        messages = strategy.configure_train(1, arrays(state), ConfigRecord(), grid)
    replies = []
    for client, message in enumerate(messages):
        sent = tensors(message.content.array_records["arrays"])
        own = answered if client == 1 else answers_of(kind, architecture)
        content = reply(client, sent | (weights or {} if client == 1 else {}), 5, 0.1, own)
        replies.append(Message(content, reply_to=message))
    strategy.aggregate_train(1, replies)
    return strategy


@pytest.mark.parametrize("architecture", [CNN, RESNET], ids=["cnn", "resnet"])
@pytest.mark.parametrize("kind", ["", *KINDS])
def test_whole_answers_go_into_the_mean(kind, architecture):
    whole = answers_of(kind, architecture)
    twice = {name: 4 * tensor for name, tensor in whole.items()}
    strategy = aggregated(kind, architecture, twice)
    assert strategy.failures == {}
    assert strategy.answers.keys() == whole.keys()
    assert all(torch.equal(strategy.answers[name], 2 * whole[name]) for name in whole)


@pytest.mark.parametrize("architecture", [CNN, RESNET], ids=["cnn", "resnet"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["none", "missing", "extra", "shape", "nan", "infinite"])
def test_a_client_with_a_bad_answer_is_left_out_and_recorded(kind, architecture, how):
    bad = answers_of(kind, architecture)
    name, tensor = next(reversed(bad.items()))
    words = f"importance: arrays ['{name}'] are missing or were not asked for"
    if how == "none":
        bad, words = {}, "the importance that was asked for is missing"
    elif how == "missing":
        del bad[name]
    elif how == "extra":
        bad["x"], words = torch.ones(1), words.replace(name, "x")
    elif how == "shape":
        shape = tuple(tensor.shape)
        other = (shape[0] + 1, *shape[1:])
        bad[name] = torch.ones(other)
        words = f"importance: {name} has shape {other}, expected {shape}"
    else:
        bad[name].view(-1)[0] = torch.nan if how == "nan" else torch.inf
        words = "importance is not finite"
    strategy = aggregated(kind, architecture, bad)
    assert strategy.failures == {1: words}
    assert all(bool((mean == 1).all()) for mean in strategy.answers.values())
    with pytest.raises(TooFewClients, match=f"2 usable replies of 3.*client 1: {re.escape(words)}"):
        aggregated(kind, architecture, bad, min_clients=3)


def test_an_answer_to_nothing_asked_is_a_fault():
    strategy = aggregated("", CNN, {"x": torch.ones(1)})
    assert strategy.failures == {1: "importance: arrays ['x'] are missing or were not asked for"}
    assert strategy.answers == {}


def test_a_faulty_state_is_not_decoded():
    """Scales of another length cannot even be multiplied with; no traceback."""
    strategy = aggregated("", CNN, {}, Int8(), {"conv2.weight.scale": torch.ones(3)})
    assert strategy.failures == {1: "conv2.weight.scale has shape (3,), expected (4,)"}


@pytest.mark.parametrize("architecture", [CNN, RESNET], ids=["cnn", "resnet"])
@pytest.mark.parametrize("kind", IMPORTANCES)
def test_the_shapes_expected_are_those_that_clients_make(kind, architecture):
    images, labels = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])
    network = new_network(architecture, 0)
    made = importance(kind, network, images, labels, 4)
    shapes = {name: tuple(tensor.shape) for name, tensor in made.items()}
    assert answer_shapes(kind, network) == shapes
