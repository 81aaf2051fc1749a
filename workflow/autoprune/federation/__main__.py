"""Train one run: federated rounds of a method on a partitioned data set, on the local grid."""

import argparse
import logging
import os
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")  # before flwr is imported, which reads it

from flwr.app import Context, RecordDict

from autoprune import methods
from autoprune.core.errors import InputError, run_main
from autoprune.core.files import parse_json, read_json
from autoprune.core.refusal import unknown
from autoprune.data.partition import Partition
from autoprune.federation import client_app, device, simulation, submit
from autoprune.federation.interruption import Interrupted
from autoprune.federation.local_grid import RUN_ID, LocalGrid
from autoprune.federation.server_app import app
from autoprune.federation.settings import Settings
from autoprune.federation.strategy import TooFewClients

FOLLOWED = ("plan", "dense", "latency_table", "start")
BACKENDS = ("local", "simulation", "deployment")
# imported, not only named: the client's code is part of this stage's code version
CLIENT_APP = f"{client_app.__name__}:app"


def parser_of_run() -> argparse.ArgumentParser:
    """The flags: the run's settings, its files, and how it goes."""
    parser = argparse.ArgumentParser(prog="autoprune.federation", description=__doc__)
    add = parser.add_argument
    add(
        "--settings",
        required=True,
        help="JSON, or a file of it: a run's settings, or the run.json of a run to repeat",
    )
    add("--store", required=True, help="folder of the client store")
    add("--partition", required=True, help="folder of the partition")
    add("--plan", help="plan.json of the autoprune run that the method follows")
    add("--dense", help="history.csv of the dense run, for methods that prune trained networks")
    add("--latency-table", help="of the device, for a target in milliseconds; else the settings'")
    add("--start", help="weights to begin with: a run's folder, safetensors, a torch state dict")
    add("--backend", default="local", choices=BACKENDS, help="the grid to run on")
    add("--workers", type=int, default=1, help="client processes; 1 trains in this process")
    add("--output", required=True, help="folder for the run's files")
    return parser


def read_file(settings: str) -> tuple[dict[str, Any], str]:
    """The flat settings of JSON or a file of it, and what it is for people; raises InputError."""
    if settings.lstrip().startswith("{"):
        where = "--settings"
        try:
            found = parse_json(settings)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: not valid JSON ({error})") from None
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    else:
        where, found = settings, read_json(settings)
    found = found.get("settings", found) if isinstance(found, dict) else found
    if not isinstance(found, dict):
        raise InputError(f"{where}: expected settings by name, found {found!r}")
    return found, where


def settings_of(argv: Sequence[str] | None) -> tuple[Settings, argparse.Namespace]:
    """The run's settings, and all flags, from the command line; raises InputError."""
    args = parser_of_run().parse_args(argv)
    if args.workers < 1:
        raise InputError(f"workers: found {args.workers}, expected at least 1")
    found, where = read_file(args.settings)
    files = {name: getattr(args, name) for name in ("store", "partition", "output")}
    followed = {name: getattr(args, name) for name in FOLLOWED if getattr(args, name)}
    settings = Settings.from_run_config(found | files | followed, where)
    if args.backend != "deployment":  # whose clients compute elsewhere
        settings = settings.model_copy(update={"device": device.resolved(settings.device)})
    known = [*Settings.model_fields, *methods.load(settings.method).Settings.model_fields]
    for name in settings.method_settings:
        if name not in known:
            raise InputError(f"{where}: {unknown('key', name, known)}")
    return settings, args


def main(argv: Sequence[str] | None) -> None:
    """The command: run the ServerApp on a grid of the partition's clients."""
    settings, args = settings_of(argv)
    logging.getLogger("flwr").setLevel(logging.ERROR)  # our own line a round says more
    clients = Partition.open(settings.partition).clients
    try:
        if args.backend == "simulation":
            simulation.run(settings.run_config(), clients, args.workers)
        elif args.backend == "deployment":
            submit.run(settings.run_config())
        else:
            run_locally(settings, clients, args.workers)
    except TooFewClients as failure:
        raise InputError(f"{settings.output}: {failure}") from failure
    except OSError as error:  # a full disk, a folder that may not be written
        where = error.filename or settings.output
        raise InputError(
            f"{where}: {error.strerror or error}; make room, or choose another"
        ) from error
    except Interrupted as interruption:
        raise InputError(f"{settings.output}: stopped by {interruption}") from interruption


def run_locally(settings: Settings, clients: int, workers: int) -> None:
    """Run the ServerApp on a LocalGrid, its workers ended afterwards."""
    run_config = settings.run_config()
    limit = settings.client_timeout or None
    with LocalGrid(CLIENT_APP, clients, run_config, workers=workers, client_timeout=limit) as grid:
        app(grid, Context(RUN_ID, 0, {}, RecordDict(), run_config))


if __name__ == "__main__":
    run_main(main)
