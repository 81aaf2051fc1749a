"""The client's step: our training loop, by compiled gradients and by torch's, and a plain one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench_parts import Bench, Measure, Pair, Part, Row, rate, same_work

PLAIN = "cnn"  # the family that ``bench_clients.plain_network`` writes down
COMPILED = ("cnn", "resnet")  # those with gradients of this package's own
# a row's last word: the precision and gradients of ours, what it is compared with, and the goal
AGAINST_PLAIN = {"fp32": ("fp32", "compiled", 1.5), "bf16": ("bf16", "torch", None)}


def peak_part(bench: Bench) -> Part:
    """What a core can do: the most that any loop could reach."""
    row = Row("peak", "product of two 1024x1024 float32 matrices, one core", "", "GFLOP/s", True)

    @contextmanager
    def opened() -> Iterator[Measure]:
        with bench.loop("ours") as ask:
            yield lambda: {row.name: (ask(task="peak")["gflops"], None)}

    return Part("peak", (row,), opened)


def loop_part(bench: Bench) -> Part:
    """Client samples a second of each network that has a loop, on one core.

    Of families with gradients of this package's own; one without a plain loop has their row alone.
    """
    names = [name for name, work in bench.works.items() if work.loop and work.family in COMPILED]
    compiled, plain = {}, {}
    for name in names:
        work, more = bench.works[name], {"gflop": bench.gflop(bench.works[name])}
        sides = "our loop, fp32, compiled gradients", "our loop, fp32, torch's gradients"
        compiled[name] = Row(f"loop/{name} compiled", *sides, "samples/s", True, **more)
        for precision, (_, gradients, goal) in AGAINST_PLAIN.items():
            if work.family == PLAIN:
                what = f"our loop, {precision}, {gradients} gradients", "plain loop, fp32"
                row = Row(f"loop/{name} {precision}", *what, "samples/s", True, goal, **more)
                plain[name, precision] = row

    @contextmanager
    def opened() -> Iterator[Measure]:
        asked = {name: bench.asked(name) for name in names}
        for name in names:
            active = bench.active(bench.works[name])
            bench.notes[compiled[name].name] = f"active: {active}" if active else ""
        with bench.loop("ours") as ours, bench.loop("plain") as other:

            def of(name: str, **how: Any) -> dict[str, dict[str, Any]]:
                """Each side once, in turn."""
                request = asked[name] | how
                found = {"fp32": ours(**request), "torch": ours(**request | {"gradients": "torch"})}
                if (name, "fp32") in plain:
                    found["plain"] = other(**request)
                    precision, gradients, _ = AGAINST_PLAIN["bf16"]
                    changed = {"precision": precision, "gradients": gradients}
                    found["bf16"] = ours(**request | changed)
                return found

            for name in names:
                of(name, clients=1)  # warm

            def measure() -> dict[str, Pair | str]:
                pairs: dict[str, Pair | str] = {}
                for name in names:
                    found = of(name)
                    same_work(found["torch"], found["fp32"], "fp32")
                    pairs[compiled[name].name] = (rate(found["fp32"]), rate(found["torch"]))
                    for precision in AGAINST_PLAIN:
                        if row := plain.get((name, precision)):
                            same_work(found["plain"], found[precision], precision)
                            pairs[row.name] = (rate(found[precision]), rate(found["plain"]))
                return pairs

            yield measure

    return Part("loop", (*compiled.values(), *plain.values()), opened)


def torchs_part(bench: Bench) -> Part:
    """Client samples a second of the families with torch's gradients alone, on one core."""
    rows = {
        name: Row(
            *(f"loop/{name}", "our loop, fp32, torch's gradients", "", "samples/s", True),
            gflop=bench.gflop(work),
        )
        for name, work in bench.works.items()
        if work.loop and work.family not in COMPILED
    }

    @contextmanager
    def opened() -> Iterator[Measure]:
        asked = {name: bench.asked(name) | {"gradients": "torch"} for name in rows}
        with bench.loop("ours") as ours:
            for request in asked.values():
                ours(**request | {"clients": 1})  # warm
            yield lambda: {row.name: (rate(ours(**asked[n])), None) for n, row in rows.items()}

    return Part("loop/torch", tuple(rows.values()), opened)


def profile(bench: Bench) -> dict[str, Any]:
    """Where the time of the dense 28x28 client goes; see ``bench_loop.profile``."""
    with bench.loop("ours") as ask:
        return ask(task="profile", **bench.asked("28x28 dense"))
