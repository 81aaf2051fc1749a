"""Nodes that hold several clients, each with its share of the data: the same bytes as one each."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import Message as ProtoMessage

from autoprune.core.errors import InputError
from autoprune.data.partition import Partition
from autoprune.data.prepare import partition
from autoprune.data.prepare.share import write_share
from autoprune.data.store import ClientStore
from autoprune.federation import client_app, nodes, server_app
from autoprune.federation.__main__ import settings_of
from autoprune.federation.communication import decode, encode
from autoprune.federation.local_grid import FIRST_NODE, RUN_ID, Clients, LocalGrid
from autoprune.federation.strategy import TooFewClients

CLIENTS = 6


@dataclass(frozen=True)
class Shares(Clients):
    """Nodes that know a folder of their own and no partition number."""

    folder: Path = Path()

    def call(self, message, state):
        delivered = message_from_proto(ProtoMessage.FromString(message))
        node = delivered.metadata.dst_node_id
        own = {"data": str(self.folder / f"node-{node - FIRST_NODE}")}
        context = Context(RUN_ID, node, own, decode(state), dict(self.run_config))
        reply = client_app.app(delivered, context)
        return message_to_proto(reply).SerializeToString(), encode(context.state)


class ShareGrid(LocalGrid):
    """As Flower's deployment runtime, in this process: the server knows nodes, not clients."""

    def __init__(self, folder, number, run_config):
        super().__init__("", number, run_config)
        self._clients = Shares("", number, run_config, folder=folder)


@pytest.fixture(scope="module")
def shares(tiny, tmp_path_factory):
    """The data of ``tiny`` shared out between two nodes; all others' rows are elsewhere."""
    folder = tmp_path_factory.mktemp("shares")
    store, partition = ClientStore.open(tiny / "store"), Partition.open(tiny / "partition")
    for node in range(2):
        clients = range(node, CLIENTS, 2)
        write_share(store, partition, clients, folder / f"node-{node}" / "tiny")
    return folder


def run_on(folder, words, monkeypatch, number=2):
    """A run by the ServerApp on nodes with these shares, as on one of Flower's runtimes."""
    config = settings_of(words)[0].run_config()
    # a LocalGrid has all clients; the server must take this one for Flower's
    monkeypatch.setattr(server_app, "LocalGrid", type(None))
    with ShareGrid(folder, number, config) as grid:
        server_app.app(grid, Context(RUN_ID, 0, {}, RecordDict(), config))


def test_a_share_has_the_rows_of_its_clients_and_no_others(tiny, shares):
    store, partition = ClientStore.open(tiny / "store"), Partition.open(tiny / "partition")
    for node in range(2):
        own = ClientStore.open(shares / f"node-{node}/tiny/store")
        part = Partition.open(shares / f"node-{node}/tiny/partition")
        own.verify()
        assert part.held == list(range(node, CLIENTS, 2))
        assert part.whole == partition.whole
        assert len(own.images) == sum(len(partition.indices(client)) for client in part.held)
        assert own.client_ids == [store.client_ids[client] for client in part.held]
        for client in part.held:
            here, there = part.indices(client), partition.indices(client)
            assert np.array_equal(own.images[here], store.images[there])
            assert np.array_equal(own.labels[here], store.labels[there])
        text = "".join(path.read_text() for path in (shares / f"node-{node}").rglob("*.json"))
        assert not [c for c in range(1 - node, CLIENTS, 2) if store.client_ids[c] in text]


@pytest.mark.parametrize(
    ("method", "variant"),
    [
        ("autoprune", "inherit"),
        ("l1-int8", "iterative"),  # each client keeps its own rounding errors
        ("geta", "joint"),  # and packed weights
        ("ssfl", "one-shot"),  # asks all, then keeps a mask
    ],
)
def test_nodes_with_several_clients_give_the_bytes_of_nodes_with_one(
    shares, flags, train, follow, tmp_path, contents, monkeypatch, method, variant
):
    more = {} if method == "autoprune" else follow(method)
    done = train(tmp_path / "local", method, variant, **more)
    assert done.returncode == 0, done.stderr
    run_on(shares, flags(tmp_path / "nodes", method, variant, **more), monkeypatch)
    assert contents(tmp_path / "nodes") == contents(tmp_path / "local")


def test_a_node_with_a_share_of_another_partition_is_refused(
    shares, flags, tmp_path, tiny, monkeypatch
):
    """Its rows would train as if they were this run's."""
    told = ["--store", str(tiny / "store"), "--target", "character", "--scheme", "iid"]
    partition.main([*told, "--clients", str(CLIENTS), "--output", str(tmp_path / "partition")])
    words = flags(tmp_path / "run", partition=tmp_path / "partition")
    with pytest.raises(InputError, match="its data is a share of another store or partition"):
        run_on(shares, words, monkeypatch)
    assert not (tmp_path / "run/history.csv").exists()


def test_a_run_waits_for_all_clients_and_names_one_that_no_node_holds(
    shares, flags, tmp_path, monkeypatch
):
    monkeypatch.setattr(nodes, "WAIT", 2.0)
    with pytest.raises(TooFewClients, match="holds the data of 3 of 6 clients, such as 1; start"):
        run_on(shares, flags(tmp_path), monkeypatch, number=1)


class Lossy(ShareGrid):
    """Of each round's replies the last does not come, and the first says that it failed."""

    lives = ()  # seconds that a round's messages live

    def push_messages(self, messages):
        asked = list(messages)
        Lossy.lives = [m.metadata.ttl for m in asked if m.metadata.group_id] or Lossy.lives
        return super().push_messages(asked)

    def pull_messages(self, message_ids):
        replies = super().pull_messages([sent for sent in message_ids if sent in self._queue])
        if replies and replies[0].metadata.group_id:  # not of the questions who holds what
            replies[0] = Message(Error(1, "it is\nnot there"), reply_to=replies[0])
            replies[0].metadata.__dict__["_reply_to_message_id"] = message_ids[0]
            del replies[-1]
        return replies


@pytest.mark.parametrize(("limit", "of_the_run"), [("3", 0), ("900", 3), ("0.01", 3)])
def test_who_fails_and_why_is_said_and_the_round_ends_in_time(
    shares, flags, tmp_path, monkeypatch, capsys, limit, of_the_run
):
    """After the run's own seconds, or the deployment's where it has none."""
    monkeypatch.setenv(nodes.LIMIT, limit)
    monkeypatch.setitem(globals(), "ShareGrid", Lossy)
    how = {"min_clients": 1, "rounds": 1, "batch_norm": "averaged", "client_timeout": of_the_run}
    run_on(shares, flags(tmp_path, **how), monkeypatch)
    assert Lossy.lives == [3 + nodes.SLACK] * len(Lossy.lives) != []
    with (tmp_path / "history.csv").open() as stream:
        row = list(csv.DictReader(stream))[1]
    # replies come in any order, so which of the two clients is which is not fixed
    clients = {why: int(c) for c, why in (f.split(": ") for f in row["failures"].split("; "))}
    assert set(clients) == {"not there", "no reply in time"}
    said = capsys.readouterr().err
    for told, why in (("not there",) * 2, ("no reply in time", "no reply within 3 seconds")):
        client = clients[told]
        node = FIRST_NODE + client % 2
        assert f"round 1: client {client}, on node {node}: {why}\n" in said


@pytest.mark.parametrize(("told", "seconds"), [(None, math.inf), ("90", 90), ("0.5", 0.5)])
def test_a_limit_is_a_number_of_seconds(monkeypatch, told, seconds):
    if told:
        monkeypatch.setenv(nodes.LIMIT, told)
    assert nodes.limit() == seconds


@pytest.mark.parametrize("told", ["", "soon", "0", "-1", "nan"])
def test_another_limit_is_refused(monkeypatch, told):
    monkeypatch.setenv(nodes.LIMIT, told)
    with pytest.raises(InputError, match=f"{nodes.LIMIT}: found '{told}', expected a number"):
        nodes.limit()
