"""The same app on Flower's simulation runtime (Ray): the other grid that `backend` can name."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, UserConfig
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from flwr.serverapp import Grid, ServerApp

from autoprune.core.errors import InputError
from autoprune.federation import client_app, inquiry, server_app


def with_run_config(config: UserConfig) -> tuple[ServerApp, ClientApp]:
    """Our two apps, with this run configuration in every context.

    ``run_simulation`` hands out empty ones; `flwr run` fills them itself and needs no wrapper.
    """

    def configure(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
        # the runtime refuses a context whose run configuration was changed, so another is passed
        # on; its state is the same object and persists
        known = Context(
            context.run_id, context.node_id, context.node_config, context.state, dict(config)
        )
        return call_next(message, known)

    def deliver(message: Message, context: Context) -> Message:
        return client_app.app(message, context)

    client = ClientApp(mods=[configure])
    client.train()(deliver)
    client.query()(deliver)
    client.query("refresh")(deliver)
    client.query(inquiry.ACTION)(deliver)
    server = ServerApp()

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        server_app.main_on(grid, config)

    return server, client


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
    try:
        import ray  # noqa: F401
        from flwr.simulation import run_simulation
    except ImportError as error:
        raise InputError(
            f"backend simulation: {error}; install the lock file, which has Ray"
        ) from None
    # Ray's workers are other processes and must find this package
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    backend: dict[str, Any] = {
        "init_args": {
            "num_cpus": workers,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        },
        "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
    }
    failure: list[BaseException] = []
    server, client = with_run_config(config)
    guarded = ServerApp()

    @guarded.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            server(grid, context)
        except BaseException as error:  # the runtime runs us in a thread and hides what is raised
            failure.append(error)
            raise

    try:
        with warnings.catch_warnings():
            # deprecated in favour of `flwr run`, which starts daemons that outlive a job
            warnings.simplefilter("ignore", DeprecationWarning)
            run_simulation(guarded, client, clients, backend_config=backend)
    except Exception:
        if not failure:
            raise
    if failure:
        print("the server stopped on Flower's simulation runtime", file=sys.stderr)
        raise failure[0]
