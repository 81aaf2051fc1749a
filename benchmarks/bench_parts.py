"""What is compared with what: each part measures its rows once, A and B side by side."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench_rounds import NO_RAY, Request
from bench_work import HERE, Work, say, train_flags

OURS, TUTORIAL, ECHO = (
    "autoprune.federation.client_app:app",
    "bench_clients:tutorial",
    "bench_clients:echo",
)
WORKERS = len(os.sched_getaffinity(0))  # of the local grid, and Ray's CPUs
TIMEOUT = 300  # seconds a run of rounds may take; Flower's simulation runtime can hang
# clients in one measurement of a loop, which then takes about 1 to 3 seconds
LOOP_CLIENTS = {"28x28 dense": 5, "28x28 pruned": 6, "84x84 dense": 3, "84x84 pruned": 6}
SAME_LOSS = {"fp32": 0.01, "bf16": 0.1}  # relative; the two sides must have done the same work

Pair = tuple[float, float | None]
Measure = Callable[[], dict[str, Pair]]


class CannotRun(Exception):
    """What a comparison needs is not installed."""


@dataclass(frozen=True)
class Row:
    """One comparison. The ratio is A/B where more is better, else B/A: above 1, A is better.

    ``goal`` is the least ratio or, with ``on_a``, the most that A may be.
    """

    name: str
    a: str
    b: str
    unit: str
    more_is_better: bool
    goal: float | None = None
    on_a: bool = False

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
    """What every part needs: the works, where their data are, what ends child processes."""

    works: dict[str, Work]
    folder: Path
    end: Callable[[], None]
    smoke: bool

    def rounds(self, work: str, **changes: Any) -> dict[str, Any]:
        """Run rounds of a work in a process of their own; see ``bench_rounds.Request``."""
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
        if self.smoke:
            values["rounds"] = min(values["rounds"], 2)
        request = json.dumps(asdict(Request(**values)))
        output = self.folder / "rounds.json"
        for attempt in (1, 2):
            output.unlink(missing_ok=True)
            command = [sys.executable, str(HERE / "bench_rounds.py"), request, str(output)]
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
            if done.returncode == NO_RAY:
                raise CannotRun(done.stderr.strip().splitlines()[-1])
            if done.returncode or not output.exists():
                raise RuntimeError(f"bench_rounds.py {request}\n{done.stderr}")
            return json.loads(output.read_text(encoding="utf-8"))
        raise RuntimeError(f"bench_rounds.py {request}\nhung twice")

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

    def loop_part(self) -> Part:
        """Client samples a second of each network, on one core."""
        asked, rows = {}, {}
        for name, clients in LOOP_CLIENTS.items():
            work = self.works[name]
            asked[name] = {
                "architecture": work.architecture.to_json(),
                "samples": work.samples,
                "epochs": work.epochs,
                "clients": 1 if self.smoke else clients,
            }
            for p, goal in (("fp32", 1.5), ("bf16", None)):
                what = f"our training loop, {p}", "plain loop, fp32", "samples/s"
                rows[name, p] = Row(f"loop/{name} {p}", *what, True, goal)

        @contextmanager
        def opened() -> Iterator[Measure]:
            with self.loop("ours") as ours, self.loop("plain") as plain:
                for what in asked.values():
                    ours(**what | {"clients": 1}, precision="fp32")
                    plain(**what | {"clients": 1}, precision="fp32")
                    ours(**what | {"clients": 1}, precision="bf16")

                def measure() -> dict[str, Pair]:
                    pairs: dict[str, Pair] = {}
                    for name, what in asked.items():
                        found = {"fp32": ours(**what, precision="fp32")}
                        b = plain(**what, precision="fp32")
                        found["bf16"] = ours(**what, precision="bf16")
                        for p, a in found.items():
                            same_work(b, a, p)
                            pairs[rows[name, p].name] = (rate(a), rate(b))
                    return pairs

                yield measure

        return Part("loop", tuple(rows.values()), opened)

    def workers_part(self) -> Part:
        """What more worker processes bring."""
        row = Row(
            "workers",
            f"local grid, {WORKERS} workers",
            "local grid, in process",
            "rounds/s",
            True,
            0.95 * WORKERS,
        )

        def measure() -> dict[str, Pair]:
            name = "28x28 dense"
            cohort = min(8 * WORKERS, self.works[name].cohort)
            config = self.works[name].settings(self.folder, "fp32").run_config()
            how = {"cohort": cohort, "rounds": 8, "run_config": config | {"local-epochs": 1}}
            a, b = self.rounds(name, **how), self.rounds(name, workers=1, **how)
            same_work(b, a, "fp32")
            return {row.name: (1 / seconds(a), 1 / seconds(b))}

        return plain_part("workers", (row,), measure)

    def ceiling_part(self) -> Part:
        """What this machine gives to processes that have nothing to do with each other."""
        row = Row(
            "workers/ceiling",
            f"our training loop in {WORKERS} processes at once",
            "in one process",
            "samples/s",
            True,
        )
        work = self.works["28x28 dense"]
        asked = {
            "architecture": work.architecture.to_json(),
            "samples": work.samples,
            "epochs": work.epochs,
            "clients": 1 if self.smoke else LOOP_CLIENTS["28x28 dense"],
            "precision": "fp32",
        }

        @contextmanager
        def opened() -> Iterator[Measure]:
            with ExitStack() as stack:
                loops = [stack.enter_context(self.loop("ours")) for _ in range(WORKERS)]
                pool = stack.enter_context(ThreadPoolExecutor(WORKERS))

                def together() -> float:
                    started = time.perf_counter()
                    found = list(pool.map(lambda ask: ask(**asked), loops))
                    return sum(f["samples"] for f in found) / (time.perf_counter() - started)

                together()  # warm

                def measure() -> dict[str, Pair]:
                    return {row.name: (together(), rate(loops[0](**asked)))}

                yield measure

        return Part("workers/ceiling", (row,), opened)

    def overhead_part(self) -> Part:
        """What a message costs when the client does nothing."""
        runtime = "Flower's simulation runtime"
        rows = tuple(
            Row(f"overhead/{how}", f"local grid, {how}", runtime, "ms/message", False, 1.0, True)
            for how in ("in process", f"{WORKERS} workers")
        )
        nodes = 8 if self.smoke else 50
        how = {"client": ECHO, "architecture": None, "nodes": nodes, "cohort": nodes}

        def measure() -> dict[str, Pair]:
            a1 = self.rounds("light", workers=1, rounds=100, **how)
            b = self.rounds("light", grid="flower", client_cpus=1, rounds=10, **how)
            a2 = self.rounds("light", rounds=100, **how)
            cost = [1000 * seconds(found) / nodes for found in (a1, a2, b)]
            return {rows[0].name: (cost[0], cost[2]), rows[1].name: (cost[1], cost[2])}

        return plain_part("overhead", rows, measure)

    def flower_part(self, name: str, goal: float, tutorial: dict[str, float]) -> Part:
        """A round on the local grid against Flower's simulation runtime.

        ``goal`` is for our client on both; ``tutorial`` the goals against the tutorial's client,
        by precision of ours; empty to leave it out.
        """
        grid = f"local grid, {WORKERS} workers, our client"
        ours = Row(
            f"flower/{name}/our client",
            f"{grid}, fp32",
            "Flower's simulation runtime, our client, 1 CPU each, fp32",
            *("s/round", False, goal),
        )
        theirs = {
            p: Row(
                f"flower/{name}/tutorial {p}",
                f"{grid}, {p}",
                "Flower's simulation runtime, the tutorial's client, default resources",
                *("s/round", False, wanted),
            )
            for p, wanted in tutorial.items()
        }
        many = {"rounds": 20} if name == "light" else {}

        def measure() -> dict[str, Pair]:
            local = {"fp32": self.rounds(name, **many)}
            flower = self.rounds(name, grid="flower", client_cpus=1, **many)
            same_work(flower, local["fp32"], "fp32")
            pairs: dict[str, Pair] = {ours.name: (seconds(local["fp32"]), seconds(flower))}
            if theirs:
                b = self.rounds(name, grid="flower", client=TUTORIAL, rounds=1)
                for p, row in theirs.items():
                    if p not in local:
                        local[p] = self.rounds(name, precision=p)
                    same_work(b, local[p], "bf16")  # the tutorial shuffles as it likes
                    pairs[row.name] = (seconds(local[p]), seconds(b))
            return pairs

        return plain_part(f"flower/{name}", (ours, *theirs.values()), measure)

    def memory_part(self) -> Part:
        """What a worker holds for itself after a round."""
        row = Row("memory", "local grid, one worker's private memory", "", "MB", False, 350.0, True)

        def measure() -> dict[str, Pair]:
            cohort = min(4 * WORKERS, self.works["28x28 dense"].cohort)
            found = self.rounds("28x28 dense", cohort=cohort, rounds=1)
            return {row.name: (found["megabytes"], None)}

        return plain_part("memory", (row,), measure)

    def startup_part(self) -> Part:
        """From the command to the end of a first round that has next to nothing to do."""
        what = "autoprune.federation from its start to the line of round 1, 2 clients of 1 epoch"
        row = Row("startup", what, "", "s", False, 4.0, True)
        work = self.works["light"]
        few = {"clients_per_round": 2, "local_epochs": 1}
        flags = train_flags(work.settings(self.folder, "fp32").model_copy(update=few))

        def measure() -> dict[str, Pair]:
            command = [
                sys.executable,
                "-m",
                "autoprune.federation",
                *flags,
                "--workers",
                str(WORKERS),
            ]
            started, reached, lines = time.perf_counter(), None, []
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr
                for line in process.stderr:
                    lines.append(line)
                    if line.startswith("round 1/") and reached is None:
                        reached = time.perf_counter() - started
            if process.returncode or reached is None:
                raise RuntimeError(f"autoprune.federation failed:\n{''.join(lines)}")
            return {row.name: (reached, None)}

        return plain_part("startup", (row,), measure)

    def parts(self) -> list[Part]:
        """All parts, in the order of the report; a smoke run leaves out what others go through."""
        more = (
            self.flower_part("28x28 pruned", 1.3, {}),
            self.flower_part("light", 3.0, {}),
        )
        return [
            self.loop_part(),
            self.workers_part(),
            self.ceiling_part(),
            self.overhead_part(),
            self.flower_part("28x28 dense", 1.0, {"fp32": 2.5, "bf16": 4.5}),
            *(() if self.smoke else more),
            self.memory_part(),
            self.startup_part(),
        ]

    def profile(self) -> dict[str, Any]:
        """Where the time of the dense 28x28 client goes; see ``bench_loop.profile``."""
        architecture = self.works["28x28 dense"].architecture.to_json()
        with self.loop("ours") as ask:
            return ask(profile=True, architecture=architecture, precision="fp32")


def rate(found: dict[str, Any]) -> float:
    """Samples a second of an answer of ``bench_loop.py``."""
    return found["samples"] / found["seconds"]


def seconds(found: dict[str, Any]) -> float:
    """The median round of an answer of ``bench_rounds.py``."""
    return statistics.median(found["seconds"])


def same_work(b: dict[str, Any], a: dict[str, Any], precision: str) -> None:
    """Raise RuntimeError when the losses of two sides say that they did not train alike."""
    if not abs(a["loss"] - b["loss"]) <= SAME_LOSS[precision] * abs(b["loss"]):
        raise RuntimeError(f"not the same work: the loss of A is {a['loss']}, of B {b['loss']}")


def plain_part(name: str, rows: tuple[Row, ...], measure: Measure) -> Part:
    """A part with nothing to prepare."""

    @contextmanager
    def opened() -> Iterator[Measure]:
        yield measure

    return Part(name, rows, opened)
