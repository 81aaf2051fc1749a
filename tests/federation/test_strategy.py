"""The strategy: cohorts, and the mean by hand and by law."""

import csv
import io
import math
import re
import statistics
import weakref
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict
from flwr.common.constant import ErrorCode
from hypothesis import given
from hypothesis import strategies as st

from autoprune.federation.average import mean_of, too_far
from autoprune.federation.client_app import SQUARED_GRADIENTS
from autoprune.federation.cohort import InOrder, cohort
from autoprune.federation.communication import Traffic, decode, encode, payload, size
from autoprune.federation.importance import IMPORTANCES, answer_shapes, importance
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.messages import (
    REASON,
    Unusable,
    Update,
    instruction,
    read_instruction,
    read_update,
    reply,
)
from autoprune.federation.strategy import SeededFedAvg, TooFewClients
from autoprune.federation.wire import Dense, Int8, arrays, only, tensors
from autoprune.models import Architecture, build, count_parameters, new_network
from autoprune.models.state import flat, shapes, unflat
from copies import ROOT


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 1000), min_size=1, max_size=30))
def test_the_mean_of_equal_clients_is_the_identity(seed, examples):
    stream = torch.Generator().manual_seed(seed)
    state = {"weight": torch.randn(7, 3, generator=stream), "variance": torch.rand(4)}
    mean = mean_of([(state, n) for n in examples])
    assert all(torch.equal(mean[name], state[name]) for name in state)


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 10**6), min_size=1, max_size=9))
def test_the_mean_is_within_half_a_step_of_the_exact_one(seed, examples):
    """By fractions: what is rounded is the division, to float64 and then to float32."""
    stream = np.random.default_rng(seed)
    values = stream.normal(0, 10.0 ** stream.integers(-9, 9), len(examples)).astype(np.float32)
    clients = [({"w": torch.from_numpy(values[n : n + 1])}, k) for n, k in enumerate(examples)]
    found = float(mean_of(clients)["w"])
    total = sum(Fraction(float(v)) * n for v, n in zip(values, examples, strict=True))
    exact = total / sum(examples)
    largest = Fraction(float(np.abs(values).max()))
    half_a_step = Fraction(float(np.spacing(np.float32(abs(found))))) / 2
    assert abs(Fraction(found) - exact) <= half_a_step + largest * Fraction(len(values), 2**52)


def test_the_mean_is_weighted_by_examples():
    first, second = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([5.0, 8.0])}
    assert mean_of([(first, 30), (second, 10)])["w"].tolist() == [2.0, 2.0]


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
    """And one flat array, whose shapes follow from it."""
    architecture = Architecture("resnet", (4, 6, 5), (3, 84, 84), 2)
    state = new_network(architecture, 0).state_dict()
    content = instruction(architecture, flat(state), 7)
    arrived = decode(encode(content))
    found, server_round, asked = read_instruction(arrived)
    assert (found, server_round, asked) == (architecture, 7, {})
    weights = unflat(only(arrived, "arrays"), shapes(build(found).state_dict()))
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in state)


def published():
    """All networks that the paper or its notebooks print, by their place in published.tsv."""
    with (ROOT / "config/published.tsv").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["widths"]]
    whole = ("model", "widths", "input_shape", "classes")
    return sorted({tuple(row[name] for name in whole) for row in rows})


@pytest.mark.parametrize(("model", "widths", "shape", "classes"), published())
def test_the_envelope_is_less_than_a_fiftieth_of_each_published_network(
    model, widths, shape, classes
):
    """Both ways: all that is serialised, but for the numbers. The smallest has 27 kB of them."""
    numbers = [tuple(map(int, text.split())) for text in (widths, shape)]
    architecture = Architecture(model, *numbers, int(classes))
    state = new_network(architecture, 0).state_dict()
    up = reply(3399, flat(state), 220, 4.1271)
    for content in (instruction(architecture, flat(state), 500), up):
        wire, numbers = size(content), payload(content)
        assert wire == len(encode(content))
        assert numbers == 4 * count_parameters(build(architecture))[1] >= 4 * 6791
        assert 0 < wire - numbers < 0.02 * numbers


def test_traffic_counts_messages():
    content = reply(0, torch.zeros(7), 5, 0.1, torch.zeros(3))
    content["mask-bits"] = arrays({"mask": torch.zeros(11, dtype=torch.uint8)})
    assert payload(content) == 4 * 10 + 11
    traffic = Traffic()
    for _ in range(3):
        traffic.down(content)
    traffic.up(content)
    assert traffic == Traffic(3 * size(content), size(content), 3 * 51, 51)


LIKE = {"w": torch.zeros(2), "b": torch.ones(1)}


def read(weights, examples=5):
    return read_update(reply(0, weights, examples, 0.1), flat(LIKE), Dense(), LIKE, {})


def test_a_whole_reply_is_read():
    update = read(torch.tensor([1.0, 2.0, 3.0]))
    assert {name: tensor.tolist() for name, tensor in update.state.items()} == {
        "w": [1, 2],
        "b": [3],
    }
    assert (update.client, update.examples, update.answers) == (0, 5, {})


@pytest.mark.parametrize(
    ("weights", "examples", "words"),
    [
        (torch.zeros(4), 5, "weights: found float32 of shape (4,), expected float32 of shape (3,)"),
        (torch.zeros(3, 1), 5, "of shape (3, 1), expected"),
        (torch.zeros(3).double(), 5, "weights: found float64 of shape (3,), expected float32"),
        (torch.zeros(3).int(), 5, "found int32"),
        (torch.tensor([1.0, torch.nan, 0]), 5, "weights are not finite"),
        (torch.tensor([0, 1.0, torch.inf]), 5, "weights are not finite"),
        (torch.zeros(3), 0, "trained on 0 examples"),
    ],
)
def test_faults_of_a_reply_are_named(weights, examples, words):
    with pytest.raises(Unusable, match=re.escape(words)):
        read(weights, examples)


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
    if kind in ("taylor", "saliency"):
        more = {"taylor": (), "saliency": (2,)}[kind]
        filters = FILTERS[architecture.family]
        return {name: torch.ones(width, *more) for name, width in filters.items()}
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
    whole = flat(answers_of(kind, architecture)) if kind else None
    for client, message in enumerate(messages):
        sent = only(message.content, "arrays")
        if client == 1 and weights is not None:
            sent = weights(sent)
        own = answered if client == 1 else whole
        replies.append(Message(reply(client, sent, 5, 0.1, own), reply_to=message))
    strategy.aggregate_train(1, replies)
    return strategy


@pytest.mark.parametrize("architecture", [CNN, RESNET], ids=["cnn", "resnet"])
@pytest.mark.parametrize("kind", ["", *KINDS])
def test_whole_answers_go_into_the_mean(kind, architecture):
    whole = answers_of(kind, architecture)
    strategy = aggregated(kind, architecture, 4 * flat(whole) if kind else None)
    assert strategy.failures == {}
    assert strategy.answers.keys() == whole.keys()
    assert all(torch.equal(strategy.answers[name], 2 * whole[name]) for name in whole)


@pytest.mark.parametrize("architecture", [CNN, RESNET], ids=["cnn", "resnet"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["none", "short", "long", "shape", "type", "nan", "infinite"])
def test_a_client_with_a_bad_answer_is_left_out_and_recorded(kind, architecture, how):
    whole = flat(answers_of(kind, architecture))
    number = len(whole)
    bad = {
        "none": None,
        "short": whole[1:],
        "long": torch.cat([whole, whole[:1]]),
        "shape": whole.view(1, -1),
        "type": whole.double(),
        "nan": torch.cat([whole[1:], torch.tensor([torch.nan])]),
        "infinite": torch.cat([whole[1:], torch.tensor([torch.inf])]),
    }[how]
    if how == "none":
        words = "the importance that was asked for is missing"
    elif how in ("nan", "infinite"):
        words = "importance: not finite"
    else:
        found = f"{str(bad.dtype).removeprefix('torch.')} of shape {tuple(bad.shape)}"
        words = f"importance: found {found}, expected float32 of shape ({number},)"
    strategy = aggregated(kind, architecture, bad)
    assert strategy.failures == {1: words}
    assert all(bool((mean == 1).all()) for mean in strategy.answers.values())
    with pytest.raises(TooFewClients, match=f"2 usable replies of 3.*client 1: {re.escape(words)}"):
        aggregated(kind, architecture, bad, min_clients=3)


def test_replies_in_any_order_give_the_same_bits():
    """Sums of floats depend on their order, and clients finish in any."""
    strategy = SeededFedAvg(CNN, 5, 5, 0)
    states = [new_network(CNN, seed).state_dict() for seed in range(5)]
    with LocalGrid("", 5, {}) as grid:
        messages = strategy.configure_train(1, arrays(states[0]), ConfigRecord(), grid)
    replies = [
        Message(reply(client, flat(states[client]), 3 + client, 0.1 * client), reply_to=message)
        for client, message in enumerate(messages)
    ]
    found = []
    for order in (replies, replies[::-1], replies[2:] + replies[:2]):
        mean, metrics = strategy.aggregate_train(1, order)
        found.append((encode(RecordDict({"mean": mean})), metrics["train-loss"]))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("bound", [0, 1e9])
def test_updates_are_added_as_they_come(bound):
    """None of those before is in memory when the next is made, unless their median is needed."""
    strategy = SeededFedAvg(CNN, 5, 4, 0, max_update_ratio=bound)
    state, alive = new_network(CNN, 0).state_dict(), []
    with LocalGrid("", 5, {}) as grid:
        messages = strategy.configure_train(1, arrays(state), ConfigRecord(), grid)
    read = strategy.read

    def watched(content):
        update = read(content)
        found.append(weakref.ref(update))
        return update

    def replies():
        for client, message in enumerate(messages):
            if client == 2:  # late: nobody waits for it
                continue
            alive.append(sum(one() is not None for one in found))
            yield Message(reply(client, flat(state) + client, 5, 0.1), reply_to=message)

    found, strategy.read = [], watched
    mean, _ = strategy.aggregate_train(1, InOrder(replies()))
    assert strategy.failures == {2: "no reply in time"}
    assert torch.allclose(flat(tensors(mean)), flat(state) + 2)
    assert len(found) == 4
    assert alive == ([0, 1, 2, 3] if bound else [0, 1, 1, 1])  # the last is still in hand


def test_losses_and_answers_count_by_examples():
    strategy = SeededFedAvg(CNN, 2, 2, 0)
    strategy.ask = {"importance": "sensitivity"}
    state, ones = new_network(CNN, 0).state_dict(), flat(answers_of("sensitivity", CNN))
    with LocalGrid("", 2, {}) as grid:
        messages = strategy.configure_train(1, arrays(state), ConfigRecord(), grid)
    contents = [
        reply(0, flat(state), 30, 1.0, ones),
        reply(1, flat(state), 10, 5.0, 9 * ones),
    ]
    replies = [Message(c, reply_to=m) for c, m in zip(contents, messages, strict=True)]
    _, metrics = strategy.aggregate_train(1, replies)
    assert dict(metrics) == {"num-examples": 40, "train-loss": 2.0}
    assert all(bool((mean == 3).all()) for mean in strategy.answers.values())


def test_an_answer_to_nothing_asked_is_a_fault():
    strategy = aggregated("", CNN, torch.ones(1))
    words = "importance: found float32 of shape (1,), expected float32 of shape (0,)"
    assert strategy.failures == {1: words}
    assert strategy.answers == {}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (lambda sent: sent[1:], "weights: found uint8 of shape"),
        (lambda sent: sent.view(torch.int8), "weights: found int8 of shape"),
        # the last four bytes are a number of the last bias
        (
            lambda sent: torch.cat([sent[:-4], torch.full((4,), 255, dtype=torch.uint8)]),
            "not finite",
        ),
    ],
)
def test_faults_of_an_int8_reply_are_named(weights, words):
    strategy = aggregated("", CNN, None, Int8(), weights)
    assert strategy.failures.keys() == {1}
    assert words in strategy.failures[1]


def test_a_reply_that_is_none_is_a_fault_and_no_traceback():
    strategy = SeededFedAvg(CNN, 3, 2, 0)
    state = new_network(CNN, 0).state_dict()
    with LocalGrid("", 3, {}) as grid:
        messages = list(strategy.configure_train(1, arrays(state), ConfigRecord(), grid))
    good = [Message(reply(c, flat(state), 5, 0.1), reply_to=messages[c]) for c in (0, 2)]
    for name, record in (("arrays", arrays(state)), ("nothing", arrays({"x": torch.ones(1)}))):
        content = reply(1, flat(state), 5, 0.1)
        del content["arrays"]
        content[name] = record
        strategy.aggregate_train(1, [*good, Message(content, reply_to=messages[1])])
        assert strategy.failures[1].startswith("reply cannot be read: ")


def as_numpy(values):
    """A flat array as Flower serialises it."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def in_the_place_of_weights(data):
    def change(content):
        like = next(iter(content.array_records["arrays"].values()))
        found = Array(like.dtype, like.shape, like.stype, data)
        content["arrays"] = ArrayRecord({"weights": found})

    return change


def with_metrics(**more):
    def change(content):
        content["metrics"] = MetricRecord({**content.metric_records["metrics"], **more})

    return change


def of_client(number):
    def change(content):
        content["client"] = ConfigRecord({"partition-id": number})

    return change


HUGE = b"\x93NUMPY\x01\x00v\x00" + (
    b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }".ljust(117) + b"\n"
)
BAD = {
    "infinite examples": (with_metrics(**{"num-examples": math.inf}), "cannot be read"),
    "more examples than it has": (with_metrics(**{"num-examples": 2**62}), "its partition has 5"),
    "no examples": (with_metrics(**{"num-examples": 0}), "0 examples"),
    "a loss that is no number": (with_metrics(**{"train-loss": math.nan}), "training loss is nan"),
    "another partition": (of_client(2), "says that it is of client 2"),
    "no bytes": (in_the_place_of_weights(b""), "cannot be read"),
    "a zip": (in_the_place_of_weights(b"PK\x03\x04" + bytes(40)), "cannot be read"),
    "four terabytes": (in_the_place_of_weights(HUGE), "cannot be read"),
    "complex numbers": (in_the_place_of_weights(as_numpy(np.ones(3, "c8"))), ""),
    "objects": (in_the_place_of_weights(as_numpy(np.array([{}], object))), "cannot be read"),
}


@pytest.mark.parametrize("how", BAD)
@pytest.mark.parametrize("bad", [0, 1])
def test_a_bad_reply_costs_its_client_the_round_and_nobody_else(how, bad):
    """Be it the first one: the mean is that of the others, bit for bit."""
    change, words = BAD[how]
    strategy = SeededFedAvg(CNN, 3, 1, 0, sizes=[5, 5, 5])
    state = new_network(CNN, 0).state_dict()
    with LocalGrid("", 3, {}) as grid:
        messages = list(strategy.configure_train(1, arrays(state), ConfigRecord(), grid))
    contents = [reply(client, flat(state) + client, 5, 0.1) for client in range(3)]
    change(contents[bad])
    found, _ = strategy.aggregate_train(
        1, [Message(own, reply_to=to) for own, to in zip(contents, messages, strict=True)]
    )
    assert strategy.failures.keys() == {bad}
    assert words in strategy.failures[bad]
    assert "\n" not in strategy.failures[bad]
    others = [flat(state) + client for client in range(3) if client != bad]
    expected = mean_of([({"all": own}, 5) for own in others])["all"]
    assert torch.equal(flat(tensors(found)), expected)


def test_failures_are_counted_by_kind_and_fit_in_a_cell():
    """Of six clients one is late, one raises in many words, one says nonsense; three are left."""
    strategy = SeededFedAvg(CNN, 6, 1, 0)
    state = new_network(CNN, 0).state_dict()
    with LocalGrid("", 6, {}) as grid:
        messages = list(strategy.configure_train(1, arrays(state), ConfigRecord(), grid))
    says = "Traceback\nValueError: \x1b[31mred; <b>bold</b>\x07 " + 9999 * "x"
    raised = Message(Error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, says), reply_to=messages[1])
    nonsense = Message(RecordDict(), reply_to=messages[2])
    good = [Message(reply(c, flat(state), 5, 0.1), reply_to=messages[c]) for c in (3, 4, 5)]
    strategy.aggregate_train(1, [raised, nonsense, *good])
    assert asdict(strategy.replies) == {
        "usable": 3, "late": 1, "raised": 1, "refused": 1, "unanswered": 0
    }  # fmt: skip
    assert strategy.failures[0] == "no reply in time"
    assert strategy.failures[1].startswith("ValueError: [31mred, <b>bold</b> xxx")
    assert len(strategy.failures[1]) == REASON
    assert strategy.failures[2].startswith("reply cannot be read: ")


@given(
    st.lists(st.floats(0, 2.0**127, width=32), min_size=1, max_size=9),
    st.floats(1, 100),
)
def test_who_moves_further_than_the_bound_is_left_out(moves, bound):
    """By a plain loop; with a bound of 1 or more never all of them, so that a mean is left."""
    before = {"w": torch.zeros(2)}
    updates = [
        Update(client, {"w": torch.tensor([move, 0.0])}, 5, 0.1)
        for client, move in enumerate(moves)
    ]
    usual = statistics.median(moves)
    expected = {client for client, move in enumerate(moves) if move > bound * usual}
    assert too_far(updates, before, bound).keys() == expected
    assert len(expected) < len(moves)


def test_an_update_far_from_the_others_enters_no_mean():
    state = new_network(CNN, 0).state_dict()
    found = {}
    for bound in (0, 3):
        strategy = SeededFedAvg(CNN, 4, 1, 0, max_update_ratio=bound)
        with LocalGrid("", 4, {}) as grid:
            messages = strategy.configure_train(1, arrays(state), ConfigRecord(), grid)
        moves = (1, 1, 1, 1e30)
        replies = [
            Message(reply(c, flat(state) + move, 5, 0.1), reply_to=message)
            for c, (move, message) in enumerate(zip(moves, messages, strict=True))
        ]
        mean, _ = strategy.aggregate_train(1, replies)
        found[bound] = float(flat(tensors(mean)).max()), strategy.replies.refused
    assert found[0][0] > 1e29
    assert found[0][1] == 0
    assert found[3][0] < 3
    assert found[3][1] == 1
    assert "more than 3 times the round's median" in strategy.failures[3]


def test_a_reply_that_nobody_asked_for_or_that_comes_twice_counts_for_nothing(capsys):
    strategy = SeededFedAvg(CNN, 2, 2, 0, sizes=[5, 5, 5])
    state = new_network(CNN, 0).state_dict()
    with LocalGrid("", 3, {}) as grid:
        messages = list(strategy.configure_train(1, arrays(state), ConfigRecord(), grid))
        outside = next(
            n for n in grid.get_node_ids() if n not in [m.metadata.dst_node_id for m in messages]
        )
    first, second = strategy.clients
    good = [
        Message(reply(client, flat(state), 5, 0.1), reply_to=to)
        for client, to in zip(strategy.clients, messages, strict=True)
    ]
    again = Message(reply(first, flat(state) + 9, 5, 0.1), reply_to=messages[0])
    stranger = Message(reply(second, flat(state) + 9, 5, 0.1), reply_to=messages[1])
    stranger.metadata._src_node_id = outside
    found, _ = strategy.aggregate_train(1, [good[0], again, stranger, good[1]])
    assert strategy.failures == {}
    assert torch.equal(flat(tensors(found)), flat(state))
    assert capsys.readouterr().err.count("a reply that was not asked for; left out") == 2


@pytest.mark.parametrize("architecture", [CNN, RESNET], ids=["cnn", "resnet"])
@pytest.mark.parametrize("kind", IMPORTANCES)
def test_the_shapes_expected_are_those_that_clients_make(kind, architecture):
    images, labels = torch.rand(4, 1, 28, 28), torch.tensor([0, 1, 2, 3])
    network = new_network(architecture, 0)
    made = importance(kind, network, images, labels, 4)
    shapes = {name: tuple(tensor.shape) for name, tensor in made.items()}
    assert answer_shapes(kind, network) == shapes
