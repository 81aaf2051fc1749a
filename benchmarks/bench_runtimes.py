"""A round on the local grid against other simulators: BlazeFL, pfl and Flower's own runtime."""

from dataclasses import dataclass, field
from typing import Any

from bench_parts import (
    WORKERS,
    Bench,
    CannotRun,
    Pair,
    Part,
    Row,
    plain_part,
    same_work,
    seconds,
)

OUR_CLIENT = "our client"
GRID = f"local grid, {WORKERS} workers, {OUR_CLIENT}"


@dataclass(frozen=True)
class Side:
    """Another simulator; ``how`` is of ``Bench.rounds``, ``like`` the precision that its losses
    are held to ours at: the wider one where it shuffles as it likes, or numbers its nodes as it
    likes, so that its cohort is of other clients of the same size.
    """

    name: str
    text: str
    how: dict[str, Any] = field(hash=False)
    like: str = "fp32"


BLAZEFL_THREADS = Side(
    "BlazeFL threads", f"BlazeFL, {WORKERS} threads, {OUR_CLIENT}", {"grid": "blazefl-threads"}
)
BLAZEFL = Side(
    "BlazeFL processes",
    f"BlazeFL, {WORKERS} processes by fork, shared memory, {OUR_CLIENT}",
    {"grid": "blazefl-processes"},
)
PFL = Side("pfl", f"pfl's simulated backend, {WORKERS} processes, {OUR_CLIENT}", {"grid": "pfl"})
PFL_LOOP = Side(
    "pfl its own loop",
    f"pfl's simulated backend, {WORKERS} processes, its own loop over a plain network",
    *({"grid": "pfl-own-loop"}, "bf16"),
)
FLOWER = Side(
    "Flower",
    f"Flower's simulation runtime, {OUR_CLIENT}, 1 CPU each",
    *({"grid": "flower", "client_cpus": 1}, "bf16"),
)
TUTORIAL = Side(
    "Flower tutorial",
    "Flower's simulation runtime, its tutorial's client, default resources",
    *({"grid": "flower", "client": "bench_clients:tutorial", "rounds": 1}, "bf16"),
)
PEERS = (BLAZEFL_THREADS, BLAZEFL, PFL)
# of each work the sides, Flower's with the least ratios that are wanted
TABLE: dict[str, dict[Side, float]] = {
    "28x28 dense": dict.fromkeys((*PEERS, PFL_LOOP, FLOWER), 1.0) | {TUTORIAL: 2.5},
    "28x28 pruned": dict.fromkeys(PEERS, 1.0) | {FLOWER: 1.3},
    "light": dict.fromkeys((*PEERS, PFL_LOOP), 1.0) | {FLOWER: 3.0},
}
MANY = {"light": {"rounds": 20}}  # that are too short to be timed by two


def runtime_part(bench: Bench, name: str) -> Part:
    """A work's rounds on the local grid and on each side, all from one trained network.

    The local grid is measured before and after the others, whose A is the mean of both.
    """
    work = bench.works[name]
    share = bench.gflop(work) * work.cohort * work.samples * work.epochs / WORKERS
    rows = {
        side: Row(
            *(f"peers/{name}/{side.name}", f"{GRID}, fp32", f"{side.text}, fp32"),
            *("s/round", False, goal),
            gflop=share,
        )
        for side, goal in TABLE[name].items()
    }

    def measure() -> dict[str, Pair | str]:
        how = {"state": str(bench.state_file(work)), **MANY.get(name, {})}
        ours = bench.rounds(name, **how)
        found: dict[Side, dict[str, Any]] = {}
        pairs: dict[str, Pair | str] = {}
        for side, row in rows.items():
            try:
                found[side] = bench.rounds(name, **how | side.how)
                same_work(found[side], ours, side.like)
            except CannotRun as reason:
                pairs[row.name] = f"cannot run: {reason}"
            except RuntimeError as error:  # the other sides can still be measured
                found.pop(side, None)
                pairs[row.name] = f"failed: {str(error).splitlines()[-1]}"
        a = (seconds(ours) + seconds(bench.rounds(name, **how))) / 2
        for side, answer in found.items():
            bench.notes[rows[side].name] = answer.get("version", "")
            pairs[rows[side].name] = (a, seconds(answer))
        return pairs

    return plain_part(f"peers/{name}", tuple(rows.values()), measure)


def runtime_parts(bench: Bench) -> list[Part]:
    """One part a work; a smoke run leaves out what differs in the network alone."""
    return [runtime_part(bench, n) for n in TABLE if not (bench.smoke and n == "28x28 pruned")]
