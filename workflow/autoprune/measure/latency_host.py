"""Stage: pruned networks against their dense twin on this machine, in turn: a host proxy."""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import InputError, run_main
from autoprune.core.files import read_json, write_json
from autoprune.core.provenance import versions
from autoprune.core.seeds import generator
from autoprune.measure import formats as exports

SCHEMA_VERSION = 1
BLOCK_S = 0.01  # seconds a block lasts at least; 0.02 gave the same ratios, on a busy machine too
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


def runner(path: Path, model: dict[str, Any]) -> Callable[[], Any]:
    """One inference on one image, on the format's engine and one thread."""
    _, *sides = model["input_shape"]
    channels, height, width = sides if model["input_layout"] == "NCHW" else (sides[-1], *sides[:-1])
    image = generator(0, "latency").random((1, channels, height, width), dtype=np.float32)
    timed: Callable[[], Any] = exports.load(model["format"]).timed(path, image)
    return timed


def models_of(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """A manifest's models by (format, precision); raises InputError when it is none."""
    manifest = read_json(path)
    if not isinstance(manifest, dict) or "models" not in manifest:
        raise InputError(f"{path}: no manifest of an export; run autoprune.measure.export again")
    return {(model["format"], model["precision"]): model for model in manifest["models"]}


def instructions() -> list[str]:
    """The instruction sets of this CPU that matter here, as Linux lists them."""
    facts = Path("/proc/cpuinfo")
    text = facts.read_text(encoding="utf-8") if facts.exists() else ""
    words = set(text.split())
    return [name for name in INSTRUCTIONS if name in words]


def compare(dense: Sequence[Path], pruned: Sequence[Path], rounds: int) -> dict[str, Any]:
    """Each file of the ``pruned`` manifests in turn with the dense one of its kind.

    Of a kind are files of one format and precision. Raises InputError when a manifest is not
    one, or has nothing in common with the dense ones.
    """
    twins = {key: (path, model) for path in dense for key, model in models_of(path).items()}
    measured = []
    for path in pruned:
        common = [(k, model) for k, model in sorted(models_of(path).items()) if k in twins]
        if not common:
            raise InputError(
                f"{path}: no format and precision in common with "
                f"{', '.join(map(str, dense))}; export them again"
            )
        for key, model in common:
            measured.append(measure(*twins[key], path, model, rounds))
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "host_proxy",
        "threads": 1,
        "cpu": versions()["cpu"],
        "machine": platform.machine(),
        "instructions": instructions(),
        "measured": measured,
    }


def measure(
    dense_path: Path, dense: dict[str, Any], path: Path, model: dict[str, Any], rounds: int
) -> dict[str, Any]:
    """Two models of two manifests, measured in turn."""
    one, other = (runner(p.parent / m["file"], m) for p, m in ((dense_path, dense), (path, model)))
    times = interleaved(one, other, rounds)
    package, version = exports.engine(model["format"])
    return {
        "engine": package,
        "engine_version": version,
        "format": model["format"],
        "precision": model["precision"],
        "dense": dense,
        "pruned": model,
        "rounds": [{"dense_ms": a, "pruned_ms": b} for a, b in times],
        "dense_ms": statistics.median(a for a, _ in times),
        "pruned_ms": statistics.median(b for _, b in times),
        **speed_up(times),
    }


def main(argv: Sequence[str] | None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="autoprune.measure.latency_host", description=__doc__)
    parser.add_argument(
        "--dense", type=Path, nargs="+", required=True, help="manifests, a format each"
    )
    parser.add_argument(
        "--pruned", type=Path, nargs="+", required=True, help="manifests of another run"
    )
    parser.add_argument("--rounds", type=int, default=9, help="of A B B A (default: %(default)s)")
    parser.add_argument("--output", required=True, help="JSON")
    args = parser.parse_args(argv)
    if args.rounds < 2:
        raise InputError(f"--rounds: found {args.rounds}, expected at least 2")
    write_json(args.output, compare(args.dense, args.pruned, args.rounds))


if __name__ == "__main__":
    run_main(main)
