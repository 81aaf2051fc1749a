"""The same app on Flower's simulation runtime (Ray): the other grid that `backend` can name."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, UserConfig
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

from autoprune.core.errors import InputError
from autoprune.federation import client_app, device, server_app
from autoprune.federation.messages import ASK, REFRESH


def knowing(context: Context, config: UserConfig) -> Context:
    """A context with this run configuration; its state is the same object and persists.

    ``run_simulation`` hands out contexts without one, where `flwr run` fills it in, and refuses a
    context whose run configuration was changed.
    """
    return Context(
        context.run_id, context.node_id, context.node_config, context.state, dict(config)
    )


def client_with(config: UserConfig) -> ClientApp:
    """Our ClientApp, with this run configuration in every context."""

    def deliver(message: Message, context: Context) -> Message:
        return client_app.app(message, knowing(context, config))

    client = ClientApp()
    client.train()(deliver)
    client.query()(deliver)
    for kind in (ASK, REFRESH):
        client.query(kind.removeprefix("query."))(deliver)
    return client


def run(config: UserConfig, clients: int, workers: int) -> None:
    """One run with ``clients`` nodes, ``workers`` of them at a time, one core each.

    Raises InputError when Ray is not installed, and what the server raised.
    """
    if " " in sys.executable:
        # seen with Ray 2.55: its workers start but never answer, and the run waits for ever
        raise InputError(
            f"backend simulation: Ray does not work from a path with a space ({sys.executable}); "
            "move the environment or use backend local"
        )
    # at niceness 15, Ray's own, workers starve beside other work, and a run seems to hang
    os.environ.setdefault("RAY_worker_niceness", "0")
    # what Ray will do by itself one day, and warns of until then
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # noqa: F401
        from flwr.simulation import run_simulation
    except ImportError as error:
        raise InputError(
            f"backend simulation: {error}; install the lock file, which has Ray"
        ) from None
    # Ray's workers are other processes and must find this package
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    gpus = device.visible() if config.get("device") == device.CUDA else 0
    backend: dict[str, Any] = {
        "init_args": {
            "num_cpus": workers,
            "num_gpus": gpus,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        },
        "client_resources": {"num_cpus": 1, "num_gpus": min(1.0, gpus / workers)},
    }
    failure: list[BaseException] = []
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            server_app.app(grid, knowing(context, config))
        except BaseException as error:  # the runtime runs us in a thread and hides what is raised
            failure.append(error)
            raise

    try:
        with warnings.catch_warnings():
            # deprecated in favour of `flwr run`, which starts daemons that outlive a job
            warnings.simplefilter("ignore", DeprecationWarning)
            run_simulation(server, client_with(config), clients, backend_config=backend)
    except Exception:
        if not failure:
            raise
    if failure:
        print("the server stopped on Flower's simulation runtime", file=sys.stderr)
        raise failure[0]
