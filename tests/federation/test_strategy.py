"""The strategy: cohorts, and the mean by hand and by law."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.communication import decode, encode, size
from autoprune.federation.messages import Update, instruction, read_instruction
from autoprune.federation.strategy import cohort, fault, weighted_mean
from autoprune.federation.wire import arrays, tensors
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
    assert fault(update(), SENT) == ""


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
    assert words in fault(update(**changes), SENT)
