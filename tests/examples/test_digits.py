"""examples/digits by `flwr run` from a clean environment: simulated, deployed, fit for the Hub."""

import io
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from contextlib import ExitStack, contextmanager, suppress

import httpx
import psutil
import pytest
from flwr.app import Context, RecordDict
from flwr.cli.app_cmd.publish import _collect_file_paths, _validate_description, _validate_files
from flwr.cli.build import build_fab_from_disk
from safetensors.torch import load_file

import autoprune
from autoprune.federation.local_grid import LocalGrid
from copies import ROOT

APP = ROOT / "examples/digits"
CONFIG = tomllib.loads((APP / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
README = (APP / "README.md").read_text()
NODES, ROUNDS = 2, 2
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",  # nothing asks the network
    "RAY_worker_niceness": "0",  # at Ray's own 15 clients stand still on a busy machine
}
unspaced = pytest.mark.skipif(
    " " in sys.executable, reason="neither Ray nor Flower's SuperLink work from such a path"
)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The app's folder, somewhere else."""
    return shutil.copytree(APP, tmp_path_factory.mktemp("app") / "digits")


def end(process):
    """End a process and all that it started, by their ids."""
    family = [*process.children(recursive=True), process]
    for member in family:
        with suppress(psutil.NoSuchProcess):  # it went with another of them
            member.terminate()
    for member in psutil.wait_procs(family, timeout=20)[1]:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def flwr_run(app, variables, output, *words):
    """`flwr run` to its end; what it printed. The run's outputs lie in ``output``."""
    config = f'rounds={ROUNDS} output="{output}"'
    command = ["flwr", "run", ".", *words, "--stream", "--run-config", config]
    done = subprocess.run(
        command, cwd=app, env=variables, capture_output=True, text=True, timeout=1200
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert (output / "weights.safetensors").exists(), said
    return said


@contextmanager
def running(command, variables, log):
    """A server that is ended afterwards."""
    with log.open("w") as stream:
        process = psutil.Popen(command, env=variables, stdout=stream, stderr=stream)
    try:
        yield
    finally:
        end(process)


def until(said, folder, wanted):
    """Wait until ``said()`` says so; the logs in a folder where it does not."""
    deadline = time.monotonic() + 240
    while not wanted(found := said()):
        logs = "\n".join(path.read_text() for path in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"{found}{logs}"
        time.sleep(1)


def healthy(port):
    """Whether a SuperLink answers at a port."""
    with suppress(httpx.HTTPError):
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success
    return False


@pytest.fixture(scope="module")
def simulated(app, alone, tmp_path_factory):
    """What a run in Flower's simulation printed, and the folder of its outputs."""
    home, output = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("simulated")
    variables = alone | QUIET | {"HOME": str(home)}
    port = variables["FLWR_LOCAL_SUPERLINK_HTTP_API_PORT"] = str(free_port())
    # `flwr run` starts one by itself, gives it 15 seconds, and leaves it running
    link = ["flower-superlink", "--insecure", "--simulation", "--host", "127.0.0.1", "--port", port]
    with running(link, variables, home / "superlink.log"):
        until(lambda: healthy(port), home, bool)
        yield (
            flwr_run(app, variables, output, "--federation-config", f"num-supernodes={NODES}"),
            output,
        )


@pytest.fixture
def deployment(app, alone, tmp_path):
    """The variables with which a run goes to a SuperLink with two SuperNodes on the loopback."""
    port, shares = free_port(), tmp_path / "shares"
    address = f"127.0.0.1:{port}"
    (tmp_path / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "{address}"\ninsecure = true\n'
    )
    variables = alone | QUIET | {"FLWR_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command = ["python", "-m", "pruned_digits.share", str(shares), str(NODES)]
    subprocess.run(command, cwd=app, env=variables, check=True)
    link = ["flower-superlink", "--insecure", "--host", "127.0.0.1", "--port", str(port)]
    ask = ["flwr", "supernode", "list", "here", "--format", "json"]
    told = {"env": variables, "capture_output": True, "text": True}
    with ExitStack() as stack:
        stack.enter_context(running(link, variables, tmp_path / "superlink.log"))
        until(lambda: healthy(port), tmp_path, bool)
        for number in range(NODES):
            node = ["flower-supernode", "--insecure", "--superlink", address]
            data = f'data-path="{shares}/node-{number}.safetensors"'
            node += ["--port", str(free_port()), "--node-config", data]
            stack.enter_context(running(node, variables, tmp_path / f"node-{number}.log"))
        until(
            lambda: subprocess.run(ask, **told).stdout,
            tmp_path,
            lambda found: found.count('"online"') == NODES,
        )
        yield variables


@unspaced
@pytest.mark.long
def test_it_runs_simulated_and_its_network_is_made_again_from_two_files(simulated, task):
    said, output = simulated
    rounds = re.findall(r'round (\d+): \{"accuracy": ([\d.]+), "parameters": (\d+)\}', said)
    assert [int(number) for number, _, _ in rounds] == list(range(ROUNDS + 1))
    accuracy, parameters = float(rounds[-1][1]), [int(count) for _, _, count in rounds]
    assert accuracy > 0.85
    assert parameters[0] == parameters[1] > parameters[2]
    plan = json.loads((output / "plan.json").read_text())
    net = autoprune.shrink(task.build(), task.EXAMPLE, autoprune.kept(plan)).eval()
    net.load_state_dict(load_file(output / "weights.safetensors"))
    assert sum(tensor.numel() for tensor in net.parameters()) == parameters[-1]
    assert task.accuracy(net, task.held_out()) == pytest.approx(accuracy)


@unspaced
@pytest.mark.long  # every message of a deployment is a process that loads torch
def test_the_same_code_deployed_leaves_the_same_bytes(simulated, deployment, app, tmp_path):
    flwr_run(app, deployment, tmp_path / "deployed", "here")
    for name in ("plan.json", "weights.safetensors"):
        assert (tmp_path / "deployed" / name).read_bytes() == (simulated[1] / name).read_bytes()


@pytest.mark.long
def test_the_example_passes_the_strictest_types_with_the_wheel(app, clean, alone, tmp_path):
    words = ["--strict", "--config-file=", "--cache-dir", str(tmp_path), "pruned_digits"]
    command = [sys.executable, "-m", "mypy", "--python-executable", str(clean / "python"), *words]
    done = subprocess.run(command, cwd=app, env=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def task():
    """The example's module of that name."""
    sys.path.insert(0, str(APP))
    from pruned_digits import task

    yield task
    sys.path.remove(str(APP))


def test_on_our_grid_it_learns_and_loses_most_of_itself(task, tmp_path, capfd):
    from pruned_digits import server_app

    config = CONFIG | {"output": str(tmp_path)}
    with LocalGrid("pruned_digits.client_app:app", NODES, config) as grid:
        server_app.app(grid, Context(1, 1, {}, RecordDict(), config))
    found = [json.loads(line) for line in re.findall(r"round \d+: (.*)", capfd.readouterr().out)]
    assert found[0]["parameters"] == 21578
    assert found[-1]["parameters"] < 0.2 * 21578
    assert found[-1]["accuracy"] > 0.9
    for line, was in zip(re.findall(r"    round \d+: (\{.*\})", README), found, strict=False):
        digits = json.dumps(was)
        assert re.fullmatch(re.escape(line).replace(r"\.\.\.", r"\d*"), digits), (line, digits)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # of flwr 1.41
def test_it_is_an_app_as_the_hub_takes_it():
    """What `flwr app publish` checks before it sends."""
    files = _collect_file_paths(APP)
    _validate_files(files)
    project = tomllib.loads((APP / "pyproject.toml").read_text())["project"]
    _validate_description(project["description"])
    assert len(project["description"]) <= 200
    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(APP))) as bundle:
        names = {name for name in bundle.namelist() if name.endswith(".py")}
        assert tomllib.loads(bundle.read("pyproject.toml").decode())["tool"]["flwr"]["app"][
            "fab-format-version"
        ]
    assert names == {f"pruned_digits/{path.name}" for path in APP.glob("pruned_digits/*.py")}
    assert (APP / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_readme_says_what_is_in_the_files(task):
    named = set(re.findall(r"`(\w+\.(?:py|toml))`", README))
    assert named == {"client_app.py", "task.py", "pyproject.toml"}
    assert [name for name in named if not list(APP.rglob(name))] == []
    assert "autoprune.received" in (APP / "pruned_digits/client_app.py").read_text()
    assert "autoprune" not in (APP / "pruned_digits/task.py").read_text()
