"""A second witness: a SuperLink that counts a run's traffic itself, and the same run on our grid.

Starts servers on the loopback and some ten processes, a minute or two; so it must be asked for.
"""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from autoprune.data.prepare import partition
from autoprune.federation.settings import Settings
from copies import ROOT
from stages import run_flags

pytestmark = pytest.mark.skipif(
    os.environ.get("AUTOPRUNE_TEST_SUPERLINK") != "1",
    reason="starts Flower's servers and clients; set AUTOPRUNE_TEST_SUPERLINK=1 to run it",
)

CLIENTS = 2
RUN = {"method": "dense", "variant": "fedavg", "rounds": 1, "clients-per-round": CLIENTS}
CONTROL = 5_000  # bytes a client: two messages' ids, time stamps and tables of their parts


@contextmanager
def running(command, environment, log):
    """A process and what it starts, ended afterwards."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture
def flwr(tmp_path):
    """Run the command ``flwr`` against a SuperLink with two SuperNodes."""
    bin_ = Path(sys.executable).parent
    port = free_port()
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n"
    )
    environment = {
        **os.environ,
        "FLWR_HOME": str(home),
        "PATH": os.pathsep.join([str(bin_), os.environ["PATH"]]),
    }
    link = ["flower-superlink", "--insecure", "--port", str(port)]
    link += ["--disable-runtime-dependency-installation"]  # all is in this environment
    with ExitStack() as stack:
        stack.enter_context(running(link, environment, tmp_path / "superlink.log"))
        for number in range(CLIENTS):
            node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}"]
            node += ["--port", str(free_port())]
            node += ["--node-config", f"partition-id={number} num-partitions={CLIENTS}"]
            log = tmp_path / f"supernode-{number}.log"
            stack.enter_context(running(node, environment, log))
        yield lambda *words: subprocess.run(
            ["flwr", *words], env=environment, capture_output=True, text=True, timeout=600
        )


def test_flowers_own_count_agrees_and_the_bytes_are_those_of_our_grid(
    flwr, tiny, tmp_path, contents
):
    """Flower counts more: what clients are asked before, ids, a table of each message's parts."""
    divided = ["--scheme", "iid", "--clients", str(CLIENTS), "--seed", "0", "--target", "character"]
    partition.main(
        ["--store", str(tiny / "store"), *divided, "--output", str(tmp_path / "partition")]
    )
    told = RUN | {"store": f"{tiny}/store", "partition": f"{tmp_path}/partition"}
    told |= {"output": f"{tmp_path}/deployed"}
    words = " ".join(f"{name}={json.dumps(value)}" for name, value in told.items())
    deadline = time.monotonic() + 120
    while (done := flwr("run", f"{ROOT}/workflow", "here", "--run-config", words)).returncode:
        assert time.monotonic() < deadline, done.stdout + done.stderr  # it is not yet up
        time.sleep(2)
    deadline = time.monotonic() + 600
    while True:
        found = json.loads(flwr("list", "here", "--format", "json").stdout)["runs"][0]
        if found["status"].startswith("finished"):
            break
        assert time.monotonic() < deadline, found
        time.sleep(2)
    assert found["status"] == "finished:completed"
    with (tmp_path / "deployed/history.csv").open() as stream:
        row = list(csv.DictReader(stream))[1]
    for ours, theirs in (("bytes_down", "outbound-bytes"), ("bytes_up", "inbound-bytes")):
        more = found["network-traffic"][theirs] - int(row[ours])
        assert 0 < more < CONTROL * CLIENTS

    app = tomllib.loads((ROOT / "workflow/pyproject.toml").read_text())["tool"]["flwr"]["app"]
    settings = {name.replace("-", "_"): value for name, value in (app["config"] | told).items()}
    known = {name: settings[name] for name in Settings.model_fields if name in settings}
    words = run_flags(**known | {"output": tmp_path / "local"})
    command = [sys.executable, "-m", "autoprune.federation", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    deployed, local = (contents(tmp_path / name) for name in ("deployed", "local"))
    assert deployed == local
