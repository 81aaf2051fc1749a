"""The local grid: Flower's own strategies run on it unchanged, and faults stay the client's."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx

from autoprune.federation import local_grid
from autoprune.federation.interruption import Interrupted, interruptible
from autoprune.federation.local_grid import FIRST_NODE, LocalGrid

NODES = 4
app = ClientApp()
sys.path.insert(0, str(Path(__file__).parent))  # so that workers can import this module
APP = "test_local_grid:app"


@app.train()
def add_partition(message: Message, context: Context) -> Message:
    """Adds the partition number to each weight and counts its calls; some numbers misbehave."""
    client = int(context.node_config["partition-id"])
    config = message.content.config_records["config"]
    calls = context.state.metric_records.get("calls", MetricRecord({"n": 0}))
    calls["n"] += 1
    context.state["calls"] = calls
    if config.get("raises") == client:
        raise ValueError("no data here")
    if config.get("exits") == client:
        sys.exit("enough")
    if config.get("dies") == client:
        os.kill(os.getpid(), signal.SIGKILL)
    if config.get("dies-once") == client and not Path(str(config["mark"])).exists():
        Path(str(config["mark"])).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if config.get("interrupts") == client:
        os.kill(os.getpid(), signal.SIGTERM)
    if config.get("sleeps") == client:
        time.sleep(30)
    if "uneven" in config:  # milliseconds, the longest for client 0
        time.sleep([300, 20, 5, 80, 40][client % 5 if client else 0] / 1000)
    if "begun" in config:
        Path(str(config["begun"]), str(client)).touch()
    weights = message.content.array_records["arrays"]["w"].numpy() + client
    metrics = MetricRecord({"num-examples": 1, "calls": calls["n"], "pid": os.getpid()})
    reply = RecordDict({"arrays": ArrayRecord({"w": Array(weights)}), "metrics": metrics})
    return Message(reply, reply_to=message)


@app.evaluate()
def zero(message: Message, context: Context) -> Message:
    """An evaluation that always gives 0."""
    metrics = MetricRecord({"num-examples": 1, "accuracy": 0.0})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


def messages(grid, **config):
    content = RecordDict(
        {
            "arrays": ArrayRecord({"w": Array(np.zeros(2, np.float32))}),
            "config": ConfigRecord(config),
        }
    )
    return [grid.create_message(content, "train", node, "1") for node in grid.get_node_ids()]


@pytest.fixture(params=[1, 2], ids=["in process", "two workers"])
def grid(request):
    with LocalGrid(APP, NODES, {}, workers=request.param) as opened:
        yield opened


def test_replies_come_in_the_order_of_the_messages(grid):
    replies = list(grid.send_and_receive(messages(grid)))
    assert [r.metadata.src_node_id for r in replies] == list(range(FIRST_NODE, FIRST_NODE + NODES))
    values = [r.content.array_records["arrays"]["w"].numpy()[0] for r in replies]
    assert values == [0, 1, 2, 3]


def test_contexts_persist_between_rounds(grid):
    for expected in (1, 2, 3):
        replies = grid.send_and_receive(messages(grid))
        assert [r.content.metric_records["metrics"]["calls"] for r in replies] == [expected] * 4


def test_push_and_pull(grid):
    ids = list(grid.push_messages(messages(grid)))
    assert len(set(ids)) == NODES
    replies = grid.pull_messages(ids[::-1])
    assert [r.metadata.reply_to_message_id for r in replies] == ids[::-1]
    assert all(r.metadata.message_id for r in replies)


def test_a_client_that_raises_is_an_error_reply_and_the_others_answer(grid):
    replies = list(grid.send_and_receive(messages(grid, raises=2)))
    assert [r.has_error() for r in replies] == [False, False, True, False]
    assert replies[2].error.reason == "ValueError: no data here"


def test_a_client_that_exits_ends_nobody_else(grid):
    replies = list(grid.send_and_receive(messages(grid, exits=2)))
    assert [reply.has_error() for reply in replies] == [n == 2 for n in range(len(replies))]
    assert replies[2].error.reason == "SystemExit: enough"


def test_workers_are_other_processes():
    with LocalGrid(APP, NODES, {}, workers=2) as grid:
        replies = grid.send_and_receive(messages(grid))
        pids = {r.content.metric_records["metrics"]["pid"] for r in replies}
    assert os.getpid() not in pids


def test_a_worker_that_dies_is_replaced_and_its_client_tried_again(tmp_path):
    with LocalGrid(APP, NODES, {}, workers=2) as grid:
        config = {"dies-once": 1, "mark": str(tmp_path / "mark")}
        replies = list(grid.send_and_receive(messages(grid, **config)))
        assert [r.has_error() for r in replies] == [False] * 4
        replies = list(grid.send_and_receive(messages(grid, dies=3)))
        assert [r.has_error() for r in replies] == [False, False, False, True]
        assert "died twice" in replies[3].error.reason
        assert not any(r.has_error() for r in grid.send_and_receive(messages(grid)))


def test_a_timeout_returns_the_replies_there_are():
    with LocalGrid(APP, NODES, {}, workers=2) as grid:
        list(grid.send_and_receive(messages(grid)))  # the workers are up
        started = time.monotonic()
        replies = list(grid.send_and_receive(messages(grid, sleeps=0), timeout=3))
        assert time.monotonic() - started < 15
        assert [r.metadata.src_node_id - FIRST_NODE for r in replies] == [1, 2, 3]
        again = [r.metadata.src_node_id - FIRST_NODE for r in grid.send_and_receive(messages(grid))]
        assert again == [0, 1, 2, 3]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_that_hangs_costs_its_own_round_only(workers):
    """In one worker too, where the others wait behind it."""
    with LocalGrid(APP, NODES, {}, workers=workers, client_timeout=2) as grid:
        replies = grid.send_and_receive(messages(grid, sleeps=1))
        assert [r.metadata.src_node_id - FIRST_NODE for r in replies] == [0, 2, 3]
        again = [r.metadata.src_node_id - FIRST_NODE for r in grid.send_and_receive(messages(grid))]
        assert again == [0, 1, 2, 3]


@pytest.mark.parametrize("ahead", [1, 2, 16])
@pytest.mark.parametrize("workers", [2, 3])
def test_uneven_clients_come_in_order_however_few_are_held(workers, ahead, monkeypatch):
    monkeypatch.setattr(local_grid, "AHEAD", ahead)
    with LocalGrid(APP, 20, {}, workers=workers) as grid:
        for _ in range(2):
            replies = list(grid.send_and_receive(messages(grid, uneven=1)))
            assert [r.metadata.src_node_id - FIRST_NODE for r in replies] == list(range(20))
            values = [r.content.array_records["arrays"]["w"].numpy()[0] for r in replies]
            assert values == list(range(20))


def test_no_message_is_begun_far_ahead_of_the_oldest(tmp_path, monkeypatch):
    """Client 0 hangs: so many others have answered meanwhile, and no more."""
    monkeypatch.setattr(local_grid, "AHEAD", 3)
    with LocalGrid(APP, 20, {}, workers=2, client_timeout=3) as grid:
        list(grid.send_and_receive(messages(grid)))  # the workers are up
        replies = grid.send_and_receive(messages(grid, sleeps=0, begun=str(tmp_path)))
        assert not list(tmp_path.iterdir())  # nobody has been called yet
        first = next(replies)
        assert first.metadata.src_node_id - FIRST_NODE == 1
        begun = {int(path.name) for path in tmp_path.iterdir()}
        assert {1, 2, 3, 4, 5} <= begun <= {1, 2, 3, 4, 5, 6, 7}
        others = [reply.metadata.src_node_id - FIRST_NODE for reply in replies]
        assert others == list(range(2, 20))


def test_clients_are_called_as_their_replies_are_read(tmp_path):
    with LocalGrid(APP, NODES, {}) as grid:
        replies = grid.send_and_receive(messages(grid, begun=str(tmp_path)))
        for read in range(NODES):
            assert len(list(tmp_path.iterdir())) == read
            next(replies)
        assert list(replies) == []


def test_replies_that_are_given_up_meet_no_later_round():
    with LocalGrid(APP, 9, {}, workers=2) as grid:
        next(grid.send_and_receive(messages(grid, uneven=1)))
        replies = list(grid.send_and_receive(messages(grid)))
        assert [r.metadata.src_node_id - FIRST_NODE for r in replies] == list(range(9))
        assert not any(r.has_error() for r in replies)


def test_workers_have_one_call_at_a_time():
    with LocalGrid(APP, NODES, {}, workers=2) as grid:
        first = grid.send_and_receive(messages(grid))
        next(first)
        with pytest.raises(RuntimeError, match="not all read yet"):
            next(grid.send_and_receive(messages(grid)))
        assert len(list(first)) == NODES - 1
        assert len(list(grid.send_and_receive(messages(grid)))) == NODES


@pytest.mark.parametrize("strategy", [FedAvg, FedProx, FedAdam])
def test_flowers_strategies_run_unchanged(grid, strategy):
    extra = {"proximal_mu": 0.1} if strategy is FedProx else {}
    result = strategy(**extra).start(
        grid, ArrayRecord({"w": Array(np.zeros(2, np.float32))}), num_rounds=2
    )
    assert result.train_metrics_clientapp[2]["calls"] == 2
    assert result.evaluate_metrics_clientapp[2]["accuracy"] == 0
    if strategy is not FedAdam:  # each round adds the mean of 0, 1, 2, 3
        assert result.arrays["w"].numpy().tolist() == [3.0, 3.0]


def test_a_signal_while_a_client_trains_here_stops_the_run():
    """It is no failure of that client's: the round would go on without it and change the bytes."""
    with LocalGrid(APP, NODES, {}) as grid, pytest.raises(Interrupted), interruptible():
        list(grid.send_and_receive(messages(grid, interrupts=1)))
