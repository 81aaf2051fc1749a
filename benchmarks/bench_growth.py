"""A process that trains rounds of one size and says how long they take and what memory they need.

``python bench_growth.py REQUEST``: a ``Request`` as JSON; the answer is JSON on stdout.
"""

import json
import logging
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "workflow"))
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"  # before flwr is imported, which reads it

PATIENCE = 60.0  # seconds, after which no more rounds are begun
ROUNDS = 1000  # none of which is the last, which would be evaluated


@dataclass(frozen=True)
class Request:
    """A round's size: ``cohort`` clients of a partition, a CNN of two layers of ``width`` filters.

    Rounds are timed after one that is not, ``rounds`` at least and for ``seconds`` at least; of no
    rounds and seconds that one is timed. With
    ``workers`` above 1 clients are in other processes, and the memory is the server's alone.
    """

    store: str
    partition: str
    nothing: tuple[str, str]  # the same of a few clients, for a round of next to nothing
    cohort: int
    width: int
    workers: int
    rounds: int
    seconds: float


def memory(name: str) -> float:
    """MB of this process, by its name in /proc: VmRSS now, VmHWM the most so far."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) / 1024


@contextmanager
def federation(request: Request) -> Iterator[tuple[Callable[[], float], int]]:
    """A federation of this size: a function that trains a round, in seconds, and parameters."""
    from autoprune.data.partition import Partition
    from autoprune.federation.__main__ import CLIENT_APP, settings_of
    from autoprune.federation.local_grid import LocalGrid
    from autoprune.federation.run import Run
    from autoprune.models import count_parameters

    told = {
        "dataset": "scale", "stands-for": "none", "target": "label", "model": "cnn",
        "widths": f"{request.width} {request.width}", "method": "dense", "variant": "fedavg",
        "seed": 0, "rounds": ROUNDS, "clients-per-round": request.cohort, "local-epochs": 1,
        "batch-size": 4, "learning-rate": 0.001, "epsilon": 1e-7, "precision": "fp32",
        "optimizer-state": "fresh", "batch-norm": "averaged", "min-clients": 1,
        "evaluate-every": ROUNDS, "checkpoint-every": ROUNDS,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as output:
        files = ["--store", request.store, "--partition", request.partition, "--output", output]
        settings, _ = settings_of(["--settings", json.dumps(told), *files])
        clients = Partition.open(request.partition).clients
        with LocalGrid(CLIENT_APP, clients, settings.run_config(), workers=request.workers) as grid:
            run, done = Run(settings, grid), 0

            def step() -> float:
                nonlocal done
                done += 1
                began = time.perf_counter()
                run.round(done)
                return time.perf_counter() - began

            yield step, count_parameters(run.network)[0]


def measure(request: Request) -> dict[str, float]:
    """Median seconds of a round, how many were timed, and MB above those of a round of next to
    nothing."""
    store, partition = request.nothing
    least = replace(request, store=store, partition=partition, cohort=1, width=2)
    with federation(least) as (step, _):
        step()  # all libraries are loaded, which takes hundreds of MB
    before = memory("VmRSS")
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the most so far is what it is now
    with federation(request) as (step, parameters):
        seconds = [step()]
        while sum(seconds) < PATIENCE and (
            len(seconds) <= request.rounds or sum(seconds[1:]) < request.seconds
        ):
            seconds.append(step())
    timed = seconds[1:] or seconds
    return {
        "parameters": parameters,
        "seconds": statistics.median(timed),
        "rounds": len(timed),
        "MB": max(0.0, memory("VmHWM") - before),
        "MB in all": memory("VmHWM"),
    }


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.ERROR)
    request = Request(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(request) | measure(request)))
