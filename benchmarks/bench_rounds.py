"""A process that runs federated rounds on one grid and writes down how long each took.

``python bench_rounds.py REQUEST OUTPUT``: a ``Request`` as JSON, and a file for the answer.
"""

import json
import logging
import multiprocessing
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from flwr.app import Array, ArrayRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from safetensors.torch import load_file

from autoprune.federation.local_grid import LocalGrid, load_app
from autoprune.federation.messages import instruction
from autoprune.models import Architecture, new_network
from autoprune.models.state import flat

NOT_THERE = 3  # exit status where a side is not installed
NODES_WITHIN = 60  # seconds for Flower's runtime to show its nodes


@dataclass(frozen=True)
class Request:
    """``grid`` "local" or "flower"; ``client`` "module:attribute"; an echo has no architecture.

    ``client_cpus`` and ``client_gpus`` are Ray's for one client, None for Flower's default. The
    first round, which is not timed, is of ``warm_up`` clients. ``state`` is the file of the weights
    that every round begins with; without one they are those of a new network.
    """

    grid: str
    client: str
    workers: int
    nodes: int
    cohort: int
    rounds: int
    warm_up: int
    architecture: dict[str, Any] | None
    run_config: dict[str, Any]
    client_cpus: int | None = None
    client_gpus: float = 0.0
    state: str = ""


def initial(request: Request, architecture: Architecture) -> torch.Tensor:
    """The weights (number,) that every round begins with."""
    state = new_network(architecture, 0).state_dict()
    if request.state:
        learned = load_file(request.state)  # in another order
        state = {name: learned[name] for name in state}
    return flat(state)


def measure(grid: Grid, request: Request) -> dict[str, Any]:
    """The server: the same messages round for round; seconds a round and the mean loss."""
    until = time.monotonic() + NODES_WITHIN
    while len(nodes := sorted(grid.get_node_ids())) < request.nodes:
        if time.monotonic() > until:
            raise RuntimeError(f"{len(nodes)} of {request.nodes} nodes have come")
        time.sleep(0.1)
    architecture = request.architecture and Architecture.from_json(request.architecture)
    if architecture:
        weights = initial(request, architecture)
    seconds, losses = [], []
    for server_round in range(request.rounds + 1):
        if architecture:
            content = instruction(architecture, weights, server_round)
        else:
            small = Array(np.zeros(16, np.float32))
            content = RecordDict({"arrays": ArrayRecord({"w": small})})
        cohort = nodes[: request.cohort if server_round else request.warm_up]
        messages = [
            Message(content, node, MessageType.TRAIN, group_id=str(server_round)) for node in cohort
        ]
        started = time.perf_counter()
        replies = list(grid.send_and_receive(messages))
        seconds.append(time.perf_counter() - started)
        if len(replies) < len(cohort):
            raise RuntimeError(f"{len(replies)} replies to {len(cohort)} messages")
        for reply in replies:
            if reply.has_error():
                raise RuntimeError(f"a client failed: {reply.error.reason}")
            if architecture:
                losses.append(float(reply.content.metric_records["metrics"]["train-loss"]))
    private = [
        psutil.Process(worker.pid).memory_full_info().uss / 1e6
        for worker in multiprocessing.active_children()
    ]
    return {
        "seconds": seconds[1:],
        "loss": statistics.mean(losses) if losses else 0.0,
        "megabytes": max(private, default=None),
    }


def on_local_grid(request: Request) -> dict[str, Any]:
    """``measure`` on the project's grid."""
    with LocalGrid(
        request.client, request.nodes, request.run_config, workers=request.workers
    ) as grid:
        return measure(grid, request)


def on_flower(request: Request) -> dict[str, Any]:
    """``measure`` on Flower's simulation runtime."""
    try:
        import ray  # noqa: F401
        from flwr.simulation import run_simulation
    except ImportError as error:
        print(f"Flower's simulation runtime is not installed: {error}", file=sys.stderr)
        sys.exit(NOT_THERE)
    backend: dict[str, Any] = {
        "init_args": {
            "num_cpus": request.workers,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        },
    }
    if request.client_cpus is not None:
        share = {"num_cpus": request.client_cpus, "num_gpus": request.client_gpus}
        backend["client_resources"] = share
        backend["init_args"]["num_gpus"] = int(request.client_gpus > 0)  # the one that is measured
    reference, config = request.client, dict(request.run_config)
    client, server = ClientApp(), ServerApp()
    answers: list[dict[str, Any]] = []
    failures: list[BaseException] = []

    @client.train()
    def deliver(message: Message, context: Context) -> Message:
        known = Context(
            context.run_id, context.node_id, context.node_config, context.state, dict(config)
        )
        return load_app(reference)(message, known)

    @server.main()
    def main(grid: Grid, context: Context) -> None:
        try:
            answers.append(measure(grid, request))
        except BaseException as error:  # the runtime hides what is raised in its thread
            failures.append(error)
            raise

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            run_simulation(server, client, request.nodes, backend_config=backend)
        except Exception:
            if not failures:
                raise
    if failures:
        raise failures[0]
    return answers[0]


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.ERROR)
    asked = Request(**json.loads(sys.argv[1]))
    found = on_local_grid(asked) if asked.grid == "local" else on_flower(asked)
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
