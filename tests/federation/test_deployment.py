"""Flower's deployment runtime as docs/deployment.md starts it: equal bytes, and four faults.

A SuperLink, two SuperNodes, TLS, keys, network namespaces where root allows them: some minutes.
"""

import csv
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from autoprune.core.errors import InputError
from autoprune.federation import deploy
from autoprune.federation.deployment import Deployment, ip
from autoprune.federation.nodes import LIMIT

pytestmark = [
    pytest.mark.soak,  # every message is a process that loads torch
    pytest.mark.skipif(
        " " in sys.executable, reason="Flower's SuperLink does not work from a path with a space"
    ),
    pytest.mark.skipif(
        not Path(sys.executable).with_name("flower-superlink").exists(),
        reason="Flower's commands are not beside this Python",
    ),
]

CUT = 10  # seconds, of 60 after which Flower takes a node for lost
FEW = {"rounds": 3, "evaluate_every": 3}  # each message to a client is a process that loads torch
# a seed whose rounds have one client of each node: 0 and 1, 0 and 3, 2 and 3
ONE_EACH = FEW | {"seed": 8, "clients_per_round": 2, "min_clients": 1, "batch_norm": "averaged"}
LATE = 90  # seconds that a round waits, where a node is to be late


@pytest.fixture(scope="module")
def deployed(tiny, tmp_path_factory):
    """Two SuperNodes with three of six clients each."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "data").mkdir()
    (folder / "data/tiny").symlink_to(tiny)
    words = ["--data", str(folder / "data"), "--folder", str(folder / "all"), "--nodes", "2"]
    deploy.main(["prepare", *words])
    with Deployment(folder / "all") as deployment:
        yield deployment


class Submitted:
    """A run that is submitted, and what it has said so far."""

    def __init__(self, deployment, words):
        command = [sys.executable, "-m", "autoprune.federation", *words, "--backend", "deployment"]
        self.process = subprocess.Popen(
            deployment.inside("superlink", command),
            env=deployment.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said = ""

    def until(self, words):
        """Wait for a line with these words, a pattern; or for the end, with None."""
        for line in self.process.stderr:
            self.said += line
            print(line, end="", file=sys.stderr)  # what pytest shows of a failure
            if words and re.search(words, line):
                return line
        assert words is None, f"{words!r} was never said: {self.said}"
        return ""

    def end(self):
        """Its end, which must be a good one."""
        self.until(None)
        assert self.process.wait() == 0, self.said


@contextmanager
def submitted(deployment, words):
    run = Submitted(deployment, words)
    try:
        yield run
    finally:
        run.process.terminate()
        run.until(None)
        run.process.wait()
        run.process.stderr.close()


@pytest.fixture(scope="module")
def local(train, tmp_path_factory):
    """The folder of the same run on the local grid."""
    folder = tmp_path_factory.mktemp("local")
    done = train(folder, "autoprune", "inherit", **FEW)
    assert done.returncode == 0, done.stderr
    return folder


def failures(folder):
    """Of each round, who was left out and why."""
    with (folder / "history.csv").open() as stream:
        return [row["failures"] for row in csv.DictReader(stream)][1:]


def test_the_bytes_are_those_of_the_local_grid(deployed, flags, local, tmp_path, contents):
    with submitted(deployed, flags(tmp_path, "autoprune", "inherit", **FEW)) as run:
        run.end()
    assert contents(tmp_path) == contents(local)


def test_a_key_that_is_not_registered_is_turned_away(deployed):
    """Another machine with the certificate, the script and a key of its own."""
    stranger = deployed.folder / "stranger"
    shutil.copytree(deployed.folder / "node-1", stranger, ignore=lambda *_: ["data", "log"])
    deploy.write_key(
        stranger / "node.key",
        deploy.ec.generate_private_key(deploy.ec.SECP384R1()),
        deploy.PrivateFormat.OpenSSH,
    )
    script = stranger / "start.sh"
    script.write_text(script.read_text().replace("--port 9095", "--port 9099"))
    space = deployed.space
    deployed.space = lambda name: space("node-1" if name == "stranger" else name)
    try:
        deployed.start("stranger")
        deadline = time.monotonic() + 120
        while "Failed to initialize the connection" not in (stranger / "log").read_text():
            assert time.monotonic() < deadline, (stranger / "log").read_text()
            time.sleep(1)
    finally:
        deployed.end("stranger")
        del deployed.space
    assert "SuperNode ID" not in (stranger / "log").read_text()


def test_a_link_that_is_cut_and_restored_costs_time_only(
    deployed, flags, local, tmp_path, contents
):
    if not deployed.isolated:
        pytest.skip("needs network namespaces: root and iproute2")
    with submitted(deployed, flags(tmp_path, "autoprune", "inherit", **FEW)) as run:
        run.until("^round 1/")
        ip("-n", deployed.space("superlink"), "link", "set", "node-1", "down")
        time.sleep(CUT)
        ip("-n", deployed.space("superlink"), "link", "set", "node-1", "up")
        run.end()
    assert contents(tmp_path) == contents(local)


def test_a_run_goes_on_when_its_superlink_is_started_again(
    deployed, flags, local, tmp_path, contents
):
    with submitted(deployed, flags(tmp_path, "autoprune", "inherit", **FEW)) as run:
        run.until("^round 2/")
        deployed.end("superlink", how=signal.SIGKILL)
        run.until("the SuperLink does not answer; waiting for it")
        deployed.start("superlink")
        run.until("ended with its SuperLink")
        run.until("going on after round 2")
        run.end()
    assert contents(tmp_path) == contents(local)


def test_a_second_start_of_a_running_deployment_is_refused(deployed):
    words = "runs already, or was killed" if deployed.isolated else "superlink/log: it ended"
    with pytest.raises(InputError, match=words):
        deploy.main(["start", "--folder", str(deployed.folder)])


def test_on_the_loopback_it_says_how_to_submit_and_ends_with_ctrl_c(tiny, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/tiny").symlink_to(tiny)
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{found.getsockname()[1]}"
    words = ["--folder", str(tmp_path / "all"), "--nodes", "1"]
    deploy.main(["prepare", "--data", str(tmp_path / "data"), "--address", address, *words])
    command = [sys.executable, "-m", "autoprune.federation.deploy", "start", *words[:2]]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert "a SuperLink and 1 SuperNodes are up, on the loopback" in process.stdout.readline()
        assert process.stdout.readline().startswith("submit runs")
        assert process.stdout.readline() == f"    export FLWR_HOME={tmp_path}/all/flwr\n"
        assert process.stdout.readline() == "    COMMAND\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    left = [p for p in psutil.process_iter(["cmdline"]) if address in (p.info["cmdline"] or [])]
    assert left == []


@pytest.fixture(scope="module")
def impatient(deployed):
    """The same whose rounds wait for less long."""
    script = deployed.folder / "superlink/start.sh"
    text = re.sub(f'{LIMIT}="[0-9]+"', f'{LIMIT}="{LATE}"', script.read_text())
    script.write_text(text)
    deployed.end("superlink")
    deployed.start("superlink")
    deployed.wait()
    return deployed


def test_a_node_that_is_late_costs_its_clients_the_round(impatient, flags, tmp_path):
    """It is there, but its clients do not get to work in time; then it takes part again."""
    words = flags(tmp_path, **ONE_EACH)
    with submitted(impatient, words) as run:
        run.until("^round 1/")
        node = psutil.Process(impatient.processes["node-1"].pid)
        others = node.children(recursive=True)
        for child in others:
            child.suspend()
        run.until("^round 2: client 3, on node [0-9]+: no reply within 90 seconds")
        for child in others:
            child.resume()
        run.end()
    assert failures(tmp_path) == ["", "3: no reply in time", ""]


def test_a_node_that_is_killed_costs_its_clients_their_rounds(impatient, flags, tmp_path):
    """The run goes on with the others; the node takes part in the next one when it is back."""
    words = flags(tmp_path / "a", **ONE_EACH)
    with submitted(impatient, words) as run:
        run.until("^round 1/")
        impatient.end("node-1", how=signal.SIGKILL)
        run.end()
    found = [each.partition(": ") for each in failures(tmp_path / "a")]
    assert [client for client, _, _ in found] == ["", "3", "3"]
    assert "" not in [why for _, _, why in found[1:]]
    impatient.start("node-1")
    words = flags(tmp_path / "b", **ONE_EACH | {"rounds": 1})
    with submitted(impatient, words) as run:
        run.end()
    assert failures(tmp_path / "b") == [""]
