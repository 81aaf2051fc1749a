"""Stage: a pruned network against its dense twin on this machine, in turn: a host proxy."""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from autoprune.errors import InputError, run_main
from autoprune.files import read_json, write_json
from autoprune.onnx_files import INPUT, OUTPUT, session
from autoprune.provenance import versions
from autoprune.seeds import generator

SCHEMA_VERSION = 1
BLOCK_S = 0.02  # seconds a block lasts at least: far above the clock's resolution
WARM_UP = 20  # runs
RESAMPLES = 2000
CONFIDENCE = 0.95
# what decides how fast int8 and float32 kernels are
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "sve", "sme")


def block(run: Callable[[], Any], runs: int) -> float:
    """Milliseconds of one run, the median over a block of ``runs``."""
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        run()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times) / 1e6


def interleaved(
    dense: Callable[[], Any], pruned: Callable[[], Any], rounds: int
) -> list[tuple[float, float]]:
    """(dense, pruned) milliseconds of each round, measured A B B A, A B B A, ...

    Within a round each side has two blocks, so that a drift of the clock hits both alike. Absolute
    times wander between rounds; their ratio does not.
    """
    sizes = {}
    for run in (dense, pruned):
        start = time.perf_counter()
        for _ in range(WARM_UP):
            run()
        once = (time.perf_counter() - start) / WARM_UP
        sizes[run] = max(5, int(BLOCK_S / once) + 1)
    found = []
    for _ in range(rounds):
        a, b, c, d = (block(run, sizes[run]) for run in (dense, pruned, pruned, dense))
        found.append(((a + d) / 2, (b + c) / 2))
    return found


def speed_up(rounds: Sequence[tuple[float, float]], seed: int = 0) -> dict[str, float]:
    """Median over rounds of dense / pruned, and its 95 % percentile-bootstrap interval."""
    ratios = np.array([dense / pruned for dense, pruned in rounds])
    stream = generator(seed, "bootstrap")
    drawn = ratios[stream.integers(len(ratios), size=(RESAMPLES, len(ratios)))]
    ends = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(np.median(drawn, axis=1), ends)
    return {"speed_up": float(np.median(ratios)), "low": float(low), "high": float(high)}


def runner(path: Path, shape: Sequence[int]) -> Callable[[], Any]:
    """One inference on one image, on onnxruntime and one thread."""
    model = session(path)
    image = generator(0, "latency").random(shape, dtype=np.float32)
    return lambda: model.run([OUTPUT], {INPUT: image})


def instructions() -> list[str]:
    """The instruction sets of this CPU that matter here, as Linux lists them."""
    facts = Path("/proc/cpuinfo")
    text = facts.read_text(encoding="utf-8") if facts.exists() else ""
    words = set(text.split())
    return [name for name in INSTRUCTIONS if name in words]


def compare(dense: Path, pruned: Path, rounds: int) -> dict[str, Any]:
    """All precisions of two manifests, each measured in turn.

    Raises InputError when a manifest is not one, or the two have no precision in common.
    """
    sides = []
    for path in (dense, pruned):
        manifest = read_json(path)
        if not isinstance(manifest, dict) or "models" not in manifest:
            raise InputError(f"{path}: no manifest of an export; run autoprune.export again")
        sides.append({model["precision"]: model for model in manifest["models"]})
    measured = []
    for precision in sorted(sides[0].keys() & sides[1].keys()):
        one, other = sides[0][precision], sides[1][precision]
        runs = [
            runner(path.parent / model["file"], model["input_shape"])
            for path, model in ((dense, one), (pruned, other))
        ]
        times = interleaved(*runs, rounds)
        measured.append(
            {
                "precision": precision,
                "dense": one,
                "pruned": other,
                "rounds": [{"dense_ms": a, "pruned_ms": b} for a, b in times],
                "dense_ms": statistics.median(a for a, _ in times),
                "pruned_ms": statistics.median(b for _, b in times),
                **speed_up(times),
            }
        )
    if not measured:
        raise InputError(f"{pruned}: no precision in common with {dense}; export both again")
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "host_proxy",
        "engine": "onnxruntime",
        "engine_version": onnxruntime.__version__,
        "threads": 1,
        "cpu": versions()["cpu"],
        "machine": platform.machine(),
        "instructions": instructions(),
        "measured": measured,
    }


def main(argv: Sequence[str] | None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="autoprune.latency_host", description=__doc__)
    parser.add_argument("--dense", type=Path, required=True, help="manifest.json of a dense run")
    parser.add_argument("--pruned", type=Path, required=True, help="manifest.json of another run")
    parser.add_argument("--rounds", type=int, default=9, help="of A B B A (default: %(default)s)")
    parser.add_argument("--output", required=True, help="JSON")
    args = parser.parse_args(argv)
    if args.rounds < 2:
        raise InputError(f"--rounds: found {args.rounds}, expected at least 2")
    write_json(args.output, compare(args.dense, args.pruned, args.rounds))


if __name__ == "__main__":
    run_main(main)
