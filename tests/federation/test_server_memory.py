"""The server's memory in a round is that of a few clients' replies, however many there are."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from flwr.app import ConfigRecord, Context, Message
from flwr.clientapp import ClientApp

from autoprune.federation.importance import answer_shapes
from autoprune.federation.local_grid import LocalGrid
from autoprune.federation.messages import ASK, IMPORTANCE, measured, read_instruction, reply
from autoprune.federation.server_optimizer import ServerOptimizer
from autoprune.federation.strategy import SeededFedAvg
from autoprune.federation.window import AHEAD
from autoprune.federation.wire import arrays, only
from autoprune.models import Architecture, build, new_network

HERE = Path(__file__).parent
NETWORK = Architecture("cnn", (200, 200), (1, 16, 16), 4)
MB = 4.03  # of its 1,006,204 parameters
app = ClientApp()


@app.train()
def echo(message: Message, context: Context) -> Message:
    """A client that moves the weights a little and answers at once."""
    client = int(context.node_config["partition-id"])
    weights = only(message.content, "arrays") + client
    return Message(reply(client, weights, 5, 0.1), reply_to=message)


@app.query(ASK.removeprefix("query."))
def answer(message: Message, context: Context) -> Message:
    """Ones for the importance of each weight."""
    architecture, _, asked = read_instruction(message.content)
    of = answer_shapes(str(asked["importance"]), build(architecture))
    ones = torch.ones(sum(torch.Size(shape).numel() for shape in of.values()))
    client = int(context.node_config["partition-id"])
    return Message(measured(client, IMPORTANCE, ones, 5), reply_to=message)


def one_round(what: str, cohort: int, workers: int) -> None:
    """A round of so many clients; prints MB, the most that this process has had."""
    server = ServerOptimizer({"strategy": "FedAdam"}) if what == "FedAdam" else None
    strategy = SeededFedAvg(NETWORK, cohort, cohort, 0, server=server)
    state = new_network(NETWORK, 0).state_dict()
    with LocalGrid("test_server_memory:app", cohort, {}, workers=workers) as grid:
        if what == "ask":
            strategy.ask_all(1, "sensitivity", state, grid)
        else:
            sent = strategy.configure_train(1, arrays(state), ConfigRecord(), grid)
            strategy.aggregate_train(1, grid.send_and_receive(sent))
    status = Path("/proc/self/status").read_text()
    print("peak", int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024)


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("what", "workers"), [("FedAvg", 1), ("FedAvg", 2), ("FedAdam", 1), ("ask", 1)]
)
def test_500_clients_a_round_take_the_server_no_more_than_10(what, workers):
    """Of 4 MB each. With workers some wait for their turn, a window of them at most."""
    peaks = {}
    for cohort in (10, 500):
        call = f"import test_server_memory as t; t.one_round({what!r}, {cohort}, {workers})"
        done = subprocess.run(
            [sys.executable, "-c", call], cwd=HERE, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        peaks[cohort] = float(done.stdout.split()[-1])
    held = AHEAD * workers if workers > 1 else 0
    assert peaks[500] - peaks[10] < (held + 16) * MB  # the allocator keeps some, too
