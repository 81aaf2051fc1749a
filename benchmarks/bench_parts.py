"""What a part of the benchmark is, and what all parts need."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bench_learned import Pool, active, pool_of, trained
from bench_rounds import NOT_THERE, Request
from bench_work import HERE, Work, make_data, say
from safetensors.torch import load_file, save_file

from autoprune.measure.complexity import macs
from autoprune.models import build

OURS = "autoprune.federation.client_app:app"
WORKERS = len(os.sched_getaffinity(0))  # of the local grid, and Ray's CPUs
TIMEOUT = 300  # seconds a run of rounds may take; Flower's simulation runtime can hang
PEERS = HERE.parent / ".venv.peers/bin/python"  # where `make peers` installs them
STEP = 3 * 2  # FLOP a step takes for each multiply-add of a forward pass: backward counts as two
SAME_LOSS = {"fp32": 0.01, "bf16": 0.1}  # relative; the two sides must have done the same work
# what losses below it are held to: of a network that has learned, rounding moves a larger share
SMALL_LOSS = 0.1

Pair = tuple[float, float | None]
# a pair, or why there is none
Measure = Callable[[], dict[str, Pair | str]]


class CannotRun(Exception):
    """What a comparison needs is not installed."""


@dataclass(frozen=True)
class Row:
    """One comparison. The ratio is A/B where more is better, else B/A: above 1, A is better.

    ``goal`` is the least ratio or, with ``on_a``, the most that A may be. ``gflop`` is what a core
    does for a unit of A and of B: a sample, or its share of a round.
    """

    name: str
    a: str
    b: str
    unit: str
    more_is_better: bool
    goal: float | None = None
    on_a: bool = False
    gflop: float | None = None

    def gflops(self, value: float) -> float | None:
        """GFLOP a second of a core at this A or B."""
        if self.gflop is None:
            return None
        return self.gflop * value if self.more_is_better else self.gflop / value

    def ratio(self, a: float, b: float) -> float:
        """How many times better A is than B."""
        return a / b if self.more_is_better else b / a


@dataclass(frozen=True)
class Part:
    """Rows measured together; ``open`` prepares, and yields what measures them once."""

    name: str
    rows: tuple[Row, ...]
    open: Callable[[], Any]


@dataclass(frozen=True)
class Bench:
    """What every part needs: the works, where their data are, what ends child processes.

    ``peers_python`` is the interpreter that has what else is compared; ``notes`` are filled by the
    parts with what is to be said of a row.
    """

    works: dict[str, Work]
    folder: Path
    end: Callable[[], None]
    smoke: bool
    peers_python: str = str(PEERS)
    notes: dict[str, str] = field(default_factory=dict)

    def pool(self, work: Work) -> Pool:
        """The images and labels of which a work's clients have some."""
        path = self.pool_file(work)
        with np.load(path) as arrays:
            return arrays["images"], arrays["labels"]

    def pool_file(self, work: Work) -> Path:
        """Where ``pool`` is; drawn at the first call."""
        path = self.folder / f"pool-{work.side}.npz"
        if not path.exists():
            images, labels = pool_of(work, self.smoke)
            np.savez(path, images=images, labels=labels)
        return path

    def state_file(self, work: Work) -> Path:
        """Weights of the work's network that have learned its pool; trained at the first call."""
        architecture = work.architecture
        widths = "-".join(map(str, architecture.widths))
        path = self.folder / f"{architecture.family}-{work.side}-{widths}.safetensors"
        if not path.exists():
            save_file(trained(work, self.pool(work), self.smoke), path)
        return path

    def active(self, work: Work) -> str:
        """The shares of active places behind the pools of that network, in words."""
        shares = active(work, load_file(self.state_file(work)), self.pool(work))
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())

    def store(self, work: Work) -> None:
        """Draw the clients' data, if nobody has."""
        if not (self.folder / work.data / "store").exists():
            make_data(self.folder, work, self.pool(work))

    def gflop(self, work: Work) -> float:
        """GFLOP of a step for one sample, by the forward pass' multiply-adds."""
        architecture = work.architecture
        return STEP * macs(build(architecture), architecture.input_shape) / 1e9

    def rounds(self, work: str, **changes: Any) -> dict[str, Any]:
        """Run rounds of a work in a process of their own; see ``bench_rounds.Request``.

        On one of ``bench_peers.SIDES`` by ``peers_python``. Raises CannotRun where that is not
        installed.
        """
        w = self.works[work]
        precision = changes.pop("precision", "fp32")
        values: dict[str, Any] = {
            "grid": "local",
            "client": OURS,
            "workers": WORKERS,
            "nodes": w.clients,
            "cohort": w.cohort,
            "rounds": 2,
            "architecture": w.architecture.to_json(),
            "run_config": w.settings(self.folder, precision).run_config(),
        }
        values |= changes
        values["warm_up"] = min(values["cohort"], 4 * WORKERS)  # some for each worker
        if values["architecture"]:  # an echo reads nothing
            self.store(w)
        if self.smoke:
            values["rounds"] = min(values["rounds"], 2)
        request = json.dumps(asdict(Request(**values)))
        output = self.folder / "rounds.json"
        script, python = "bench_rounds.py", sys.executable
        if values["grid"] not in ("local", "flower"):
            script, python = "bench_peers.py", self.peers_python
            if not Path(python).exists():
                raise CannotRun(f"{python} is not there; `make peers` makes it")
        for attempt in (1, 2):
            output.unlink(missing_ok=True)
            command = [python, str(HERE / script), request, str(output)]
            try:
                done = subprocess.run(
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    timeout=TIMEOUT,
                )
            except subprocess.TimeoutExpired:
                say(f"    no answer in {TIMEOUT} s (attempt {attempt} of 2)")
                continue
            finally:
                self.end()
            if done.returncode == NOT_THERE:
                raise CannotRun(done.stderr.strip().splitlines()[-1])
            if done.returncode or not output.exists():
                raise RuntimeError(f"{script} {request}\n{done.stderr}")
            return json.loads(output.read_text(encoding="utf-8"))
        raise RuntimeError(f"{script} {request}\nhung twice")

    @contextmanager
    def loop(self, kind: str) -> Iterator[Callable[..., dict[str, Any]]]:
        """A ``bench_loop.py`` process; yields what asks it."""
        command = [sys.executable, str(HERE / "bench_loop.py"), kind]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin
            assert process.stdout

            def ask(**request: Any) -> dict[str, Any]:
                print(json.dumps(request), file=process.stdin, flush=True)
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"bench_loop.py {kind} died; its last words are above")
                return json.loads(line)

            yield ask
            process.stdin.close()

    def asked(self, name: str) -> dict[str, Any]:
        """What ``bench_loop.py`` is asked for, of a work with a ``loop``."""
        work = self.works[name]
        return {
            "architecture": work.architecture.to_json(),
            "data": str(self.pool_file(work)),
            "state": str(self.state_file(work)),
            "samples": work.samples,
            "epochs": work.epochs,
            "clients": work.loop,
            "precision": "fp32",
            "gradients": "compiled",
        }


def rate(found: dict[str, Any]) -> float:
    """Samples a second of an answer of ``bench_loop.py``."""
    return found["samples"] / found["seconds"]


def seconds(found: dict[str, Any]) -> float:
    """The median round of an answer of ``bench_rounds.py``."""
    return statistics.median(found["seconds"])


def same_work(b: dict[str, Any], a: dict[str, Any], precision: str) -> None:
    """Raise RuntimeError when the losses of two sides say that they did not train alike."""
    if not abs(a["loss"] - b["loss"]) <= SAME_LOSS[precision] * max(b["loss"], SMALL_LOSS):
        raise RuntimeError(f"not the same work: the loss of A is {a['loss']}, of B {b['loss']}")


def plain_part(name: str, rows: tuple[Row, ...], measure: Measure) -> Part:
    """A part with nothing to prepare."""

    @contextmanager
    def opened() -> Iterator[Measure]:
        yield measure

    return Part(name, rows, opened)
