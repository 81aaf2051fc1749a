"""A process that runs the rounds of ``bench_rounds.py`` on another simulator: BlazeFL or pfl.

``python bench_peers.py REQUEST OUTPUT``, of a ``Request`` whose ``grid`` is a key of SIDES. What is
timed is the simulator's own call for a cohort.
"""

import importlib.metadata
import json
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench_pfl import pfl
from bench_rounds import NOT_THERE, Request
from bench_turns import Clients, timed
from torch import Tensor

from autoprune.federation.training import keep_memory


@dataclass
class Down:
    """What BlazeFL hands to each client."""

    weights: Tensor
    server_round: int


@dataclass
class Up:
    """What a client hands back; in its processes a handle stands for the weights."""

    client: int
    weights: Any
    loss: float


_forked: list[Clients] = []  # what a process of BlazeFL's pool has from its parent


def in_process(
    config: int, payload: Down, device: str, stop_event: Any, *, shm_buffer: Up | None = None
) -> Up:
    """BlazeFL's worker: it writes the weights into memory that the parent reads."""
    from blazefl.core import SHMHandle

    assert shm_buffer
    weights, loss = _forked[0].answer(payload.weights, payload.server_round, config)
    shm_buffer.weights.copy_(weights)
    return Up(config, SHMHandle(), loss)


def blazefl(request: Request, *, threads: bool) -> dict[str, Any]:
    """Rounds of BlazeFL's pool of threads, or of processes that a round forks anew."""
    from blazefl.core import ProcessPoolClientTrainer, ThreadPoolClientTrainer

    clients = Clients(request)

    class Threads(ThreadPoolClientTrainer):
        def __init__(self) -> None:
            self.num_parallels, self.device, self.device_count = request.workers, "cpu", 0
            self.cache: list[Up] = []
            self.stop_event = threading.Event()

        def worker(self, cid: int, device: str, payload: Down, stop_event: Any) -> Up:
            return Up(cid, *clients.answer(payload.weights, payload.server_round, cid))

    class Processes(ProcessPoolClientTrainer):
        ipc_mode = "SHARED_MEMORY"  # of BlazeFL 2; 3 knows no other
        worker = staticmethod(in_process)

        def __init__(self) -> None:
            self.num_parallels, self.device, self.device_count = request.workers, "cpu", 0
            self.cache: list[Up] = []
            self.manager = torch.multiprocessing.Manager()
            self.stop_event = self.manager.Event()

        def get_client_config(self, cid: int) -> int:
            return cid

        def prepare_uplink_package_buffer(self) -> Up:
            return Up(-1, torch.empty_like(clients.weights), 0.0)

        def convert_buffer_to_uplink(self, buffer: Up) -> Up:
            return buffer

    if not threads:
        # what the children share: all that a first client loads and compiles
        clients.answer(clients.weights, 0, 0)
        _forked[:] = [clients]
    trainer = Threads() if threads else Processes()

    def round_of(server_round: int, cohort: Sequence[int]) -> list[float]:
        trainer.cache = []
        trainer.local_process(Down(clients.weights, server_round), list(cohort))
        return [package.loss for package in trainer.cache]

    found = timed(request, round_of)
    if not threads:
        trainer.manager.shutdown()
    return found


SIDES: dict[str, tuple[str, Callable[[Request], dict[str, Any]]]] = {
    "blazefl-threads": ("blazefl", partial(blazefl, threads=True)),
    "blazefl-processes": ("blazefl", partial(blazefl, threads=False)),
    "pfl": ("pfl", partial(pfl, own=False)),
    "pfl-own-loop": ("pfl", partial(pfl, own=True)),
}


def main(asked: Request, output: Path) -> None:
    """Measure a side and write its answer; ends with NOT_THERE where the peer is not installed."""
    package, side = SIDES[asked.grid]
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        print(f"{package} is not installed; `make peers` installs it", file=sys.stderr)
        sys.exit(NOT_THERE)
    keep_memory()
    torch.set_num_threads(1)
    found = side(asked)
    output.write_text(json.dumps(found | {"version": f"{package} {version}"}), encoding="utf-8")


if __name__ == "__main__":
    main(Request(**json.loads(sys.argv[1])), Path(sys.argv[2]))
