"""The local grid by itself: its workers, messages, memory and start."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from bench_parts import (
    WORKERS,
    Bench,
    Measure,
    Pair,
    Part,
    Row,
    plain_part,
    rate,
    same_work,
    seconds,
)
from bench_work import progress

ECHO = "bench_clients:echo"


def workers_part(bench: Bench) -> Part:
    """What more worker processes bring."""
    row = Row(
        "workers",
        f"local grid, {WORKERS} workers",
        "local grid, in process",
        "rounds/s",
        True,
        0.95 * WORKERS,
    )

    def measure() -> dict[str, Pair | str]:
        name = "28x28 dense"
        cohort = min(8 * WORKERS, bench.works[name].cohort)
        config = bench.works[name].settings(bench.folder, "fp32").run_config()
        how = {"cohort": cohort, "rounds": 8, "run_config": config | {"local-epochs": 1}}
        a, b = bench.rounds(name, **how), bench.rounds(name, workers=1, **how)
        same_work(b, a, "fp32")
        return {row.name: (1 / seconds(a), 1 / seconds(b))}

    return plain_part("workers", (row,), measure)


def ceiling_part(bench: Bench) -> Part:
    """What this machine gives to processes that have nothing to do with each other."""
    row = Row(
        "workers/ceiling",
        f"our training loop in {WORKERS} processes at once",
        "in one process",
        "samples/s",
        True,
    )

    @contextmanager
    def opened() -> Iterator[Measure]:
        asked = bench.asked("28x28 dense")
        with ExitStack() as stack:
            loops = [stack.enter_context(bench.loop("ours")) for _ in range(WORKERS)]
            pool = stack.enter_context(ThreadPoolExecutor(WORKERS))

            def together() -> float:
                started = time.perf_counter()
                found = list(pool.map(lambda ask: ask(**asked), loops))
                return sum(f["samples"] for f in found) / (time.perf_counter() - started)

            together()  # warm

            def measure() -> dict[str, Pair | str]:
                return {row.name: (together(), rate(loops[0](**asked)))}

            yield measure

    return Part("workers/ceiling", (row,), opened)


def overhead_part(bench: Bench) -> Part:
    """What a message costs when the client does nothing."""
    runtime = "Flower's simulation runtime"
    rows = tuple(
        Row(f"overhead/{how}", f"local grid, {how}", runtime, "ms/message", False, 1.0, True)
        for how in ("in process", f"{WORKERS} workers")
    )
    nodes = 8 if bench.smoke else 50
    how = {"client": ECHO, "architecture": None, "nodes": nodes, "cohort": nodes}

    def measure() -> dict[str, Pair | str]:
        a1 = bench.rounds("light", workers=1, rounds=100, **how)
        b = bench.rounds("light", grid="flower", client_cpus=1, rounds=10, **how)
        a2 = bench.rounds("light", rounds=100, **how)
        cost = [1000 * seconds(found) / nodes for found in (a1, a2, b)]
        return {rows[0].name: (cost[0], cost[2]), rows[1].name: (cost[1], cost[2])}

    return plain_part("overhead", rows, measure)


def memory_part(bench: Bench) -> Part:
    """What a worker holds for itself after a round."""
    row = Row("memory", "local grid, one worker's private memory", "", "MB", False, 350.0, True)

    def measure() -> dict[str, Pair | str]:
        cohort = min(4 * WORKERS, bench.works["28x28 dense"].cohort)
        found = bench.rounds("28x28 dense", cohort=cohort, rounds=1)
        return {row.name: (found["megabytes"], None)}

    return plain_part("memory", (row,), measure)


def startup_part(bench: Bench) -> Part:
    """From the command to the end of a first round that has next to nothing to do."""
    what = "autoprune.federation from its start to the line of round 1, 2 clients of 1 epoch"
    row = Row("startup", what, "", "s", False, 4.0, True)
    work = bench.works["light"]
    few = {"clients_per_round": 2, "local_epochs": 1}
    settings = work.settings(bench.folder, "fp32").model_copy(update=few)

    def measure() -> dict[str, Pair | str]:
        bench.store(work)
        started, reached = time.perf_counter(), None
        for _, line in progress(settings, WORKERS):
            if line.startswith("round 1/") and reached is None:
                reached = time.perf_counter() - started
        if reached is None:
            raise RuntimeError("autoprune.federation said no line of round 1")
        return {row.name: (reached, None)}

    return plain_part("startup", (row,), measure)
