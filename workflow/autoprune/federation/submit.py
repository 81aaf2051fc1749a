"""The same app on Flower's deployment runtime: submit a run to a SuperLink and wait for its end.

Which SuperLink is said as for `flwr run`: by the default connection in $FLWR_HOME/config.toml.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flwr.app import UserConfig

from autoprune.core.errors import InputError
from autoprune.core.files import write_text
from autoprune.core.provenance import PACKAGE, ROOT
from autoprune.federation.interruption import Interrupted, interruptible

APP, HEAD = "pyproject.toml", "[tool.flwr.app.config]\n"
FLWR = (sys.executable, "-m", "flwr.cli.app")
QUIET = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
FILES = ("store", "partition", "output", "plan", "dense")  # the server runs in another folder
MARK = "submitted"  # in the run's folder while it lasts: Flower's number of the run
LOST = "No heartbeat"  # what Flower says of a ServerApp that ended with its SuperLink
TRIES = 5  # of a run whose SuperLink ends
LOOK = 5.0  # seconds between looks at a run's state
AWAY = 600.0  # seconds without an answer after which the SuperLink is given up


Answer = dict[str, Any]


def with_config(app: str, config: Mapping[str, Any]) -> str:
    """The text of an app's pyproject.toml, which the run configuration ends, with a new one."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in config.items()]
    return "".join([app.partition(HEAD)[0], HEAD, *lines])


def run(config: UserConfig) -> None:
    """One run, its log on stderr; submitted again, to go on, when it ended with its SuperLink.

    Raises InputError when no SuperLink answers or the run fails, and Interrupted, the run stopped.
    """
    home = os.environ.get("FLWR_HOME", "")
    if not Path(home, "config.toml").is_file() or not home:
        raise InputError(
            f"backend deployment: FLWR_HOME is {home!r}, expected the folder of Flower's "
            "config.toml that names the SuperLink; see docs/deployment.md"
        )
    files = {key: str(Path(str(config[key])).absolute()) for key in FILES if key in config}
    mark = Path(files["output"], MARK)
    if mark.exists():  # this process's forerunner was killed, and its run may still go on
        flwr("stop", mark.read_text(encoding="utf-8"))
    for _ in range(TRIES):
        number = submit({**config, **files})
        write_text(mark, number)
        with interruptible():
            try:
                ended = follow(number)
            except Interrupted:
                flwr("stop", number)
                raise
        if ended["status"] == "finished:completed":
            mark.unlink()
            return
        reason = " ".join(str(ended["status-details"]).split())
        if not reason.startswith(LOST):
            raise InputError(f"{config['output']}: run {number} {ended['status']}: {reason}")
        _say(f"run {number} ended with its SuperLink ({reason}); submitting it again to go on")
    raise InputError(f"{config['output']}: its SuperLink ended {TRIES} times; see its log")


def submit(config: UserConfig) -> str:
    """The number of a new run with this configuration; raises InputError when there is none.

    The app that is sent has the configuration in it: by flag, Flower takes no key of a method
    other than the one that workflow/pyproject.toml has. An installed package has no app.
    """
    if not (ROOT / APP).is_file():
        raise InputError(f"backend deployment: {ROOT / APP}: no such file; run in the repository")
    with tempfile.TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / PACKAGE, Path(folder, PACKAGE), ignore=ignored)
        app = with_config((ROOT / APP).read_text(encoding="utf-8"), config)
        Path(folder, APP).write_text(app, encoding="utf-8")
        found = flwr("run", folder)
    if "run-id" not in found:
        raise InputError(
            f"backend deployment: the SuperLink took no run ({found['error-message']}); is it "
            f"running, and is {os.environ['FLWR_HOME']}/config.toml about it?"
        )
    _say(f"run {found['run-id']} submitted")
    return str(found["run-id"])


def follow(number: str) -> Answer:
    """Show a run's log until it ends or the SuperLink does; its state, as Flower lists it."""
    subprocess.run(
        [*FLWR, "log", number, "--stream"], env=os.environ | QUIET, stdout=sys.stderr, check=False
    )
    seen, answers = time.monotonic(), True
    while True:
        if runs := flwr("list", "--run-id", number).get("runs"):
            found: Answer = runs[0]
            if str(found["status"]).startswith("finished"):
                return found
            seen, answers = time.monotonic(), True
        elif answers:
            _say(f"run {number}: the SuperLink does not answer; waiting for it")
            answers = False
        if time.monotonic() - seen > AWAY:
            raise InputError(f"run {number}: no SuperLink for {AWAY:g} s; start it and run again")
        time.sleep(LOOK)


def flwr(*words: str, inside: Sequence[str] = (), env: dict[str, str] | None = None) -> Answer:
    """What Flower's command answers; "error-message", in one line, where it fails.

    ``inside`` are the words of a command that runs it, ``env`` is the environment.
    """
    done = subprocess.run(
        [*inside, *FLWR, *words, "--format", "json"],
        env=(os.environ if env is None else env) | QUIET,
        capture_output=True,
        text=True,
    )
    try:
        found: Answer = json.loads(done.stdout)
    except json.JSONDecodeError:
        found = {"success": False, "error-message": done.stdout + done.stderr}
    if found.get("success"):
        return found
    return {"error-message": " ".join(str(found.get("error-message")).split())}


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
