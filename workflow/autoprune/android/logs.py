"""Read the logs of phone benchmark tools: one finished measurement each, all times in ms.

The units differ between tools and within one log; each format's are beside its patterns. A log is
read only if the line that its tool prints last is there, so a log that was cut off is refused.
"""

import itertools
import math
import re
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from autoprune.errors import InputError


@dataclass(frozen=True)
class Measurement:
    """One measurement. Times in ms; None where the log has no such figure.

    ``graph`` is the model file as the log names it.
    """

    tool: str
    median_ms: float | None
    mean_ms: float | None
    min_ms: float | None
    max_ms: float | None
    std_ms: float | None
    p5_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    runs: int
    threads: int | None
    graph: str | None

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


# "07-14 13:20:57.778 24964 24964 I tflite  : " of logcat, with or without a year; "INFO: "
LOGCAT = re.compile(r"^(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\.\d+\s+\d+\s+\d+ [VDIWEF] (\w+) *: ?")
INFO = re.compile(r"^INFO: ")

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# TensorFlow Lite's Stat<int64_t>::OutputToStream, in microseconds; one value prints curr= alone
COUNT = re.compile(r"^count=(\d+) (.*)$")
PART = re.compile(rf"(\w+)=({NUMBER})(?= |$)")
# what benchmark_model prints last of a measurement, in microseconds; below, as until 2019
TIMINGS = re.compile(
    rf"^Inference timings in us: Init: {NUMBER}, First inference: {NUMBER}, "
    rf"Warmup \(avg\): {NUMBER}, Inference \(avg\): ({NUMBER})$"
)
OLD_TIMINGS = re.compile(
    rf"^Average inference timings in us: (?:Warmup: {NUMBER}, )?Init: {NUMBER}, "
    rf"(?:no stats|with stats): ({NUMBER})$"
)
LITERT_BLOCK = "BENCHMARK RESULTS"  # its own times have two decimals of a ms: not read
GRAPH = re.compile(r"^Graph: \[(.+)\]$")
LOADED = re.compile(r"^Loaded model (.+)$")
THREADS = re.compile(r"^(?:Num threads|#threads used for CPU inference): \[(\d+)\]$")

# onnxruntime_perf_test: the mean in ms, all percentiles in s
ORT_MEAN = re.compile(rf"^Average inference time cost total: ({NUMBER}) ms$")
ORT_RUNS = re.compile(r"^Total inference requests: (\d+)$")
ORT_LATENCY = re.compile(rf"^(Min|Max|P50|P90|P95|P99|P999) Latency: ({NUMBER}) s$")
ORT_THREADS = re.compile(r"^Setting intra_op_num_threads to (\d+)$")

# executor_runner, all in ms; glog's head before the text
EXECUTOR = re.compile(r"^[IWEF] \d\d:\d\d:\d\d\.\d+ executorch:executor_runner\.cpp:\d+\] ")
ITERATION = re.compile(rf"^Iteration (\d+) of (\d+): ({NUMBER}) ms$")
EXECUTED = re.compile(rf"^Model executed successfully (\d+) time\(s\) in ({NUMBER}) ms\.$")
MODEL_FILE = re.compile(r"^Model file (.+) is loaded\.$")


def parse(text: str, name: str) -> Measurement:
    """The measurement of a log; ``name`` is the file's, for messages.

    Raises InputError for a log without a finished measurement, with two, that contradicts itself,
    or of a tool that is not known.
    """
    lines = [line.rstrip("\r") for line in text.split("\n")]
    for reader, known in READERS:
        if any(known(line) for line in map(plain, lines)):
            return reader(lines, name)
    raise InputError(
        f"{name}: no line of a known tool; expected a log of TFLite's or LiteRT's benchmark_model, "
        "onnxruntime_perf_test or executor_runner, from its start to its end"
    )


def plain(line: str) -> str:
    """A line without what logcat or the console put before it."""
    return INFO.sub("", LOGCAT.sub("", line))


def _tflite(lines: list[str], name: str) -> Measurement:
    texts = [plain(line) for line in lines]
    apk = any(LOGCAT.match(line) and LOGCAT.match(line)[1] == "tflite" for line in lines)  # type: ignore[index]
    litert = any(LITERT_BLOCK in text for text in texts)
    ends = [
        (place, (TIMINGS.match(text) or OLD_TIMINGS.match(text)))
        for place, text in enumerate(texts)
        if TIMINGS.match(text) or OLD_TIMINGS.match(text) or LITERT_BLOCK in text
    ]
    if litert:  # both may be printed of one measurement: the block is the last
        ends = [end for end in ends if end[1] is None]
    if not ends:
        raise InputError(
            f"{name}: no finished measurement: the line of timings is missing; run again"
        )
    if len(ends) > 1:
        raise InputError(f"{name}: {len(ends)} measurements, expected one; give a log each")
    place, timing = ends[0]
    counts = [COUNT.match(text) for text in texts[:place] if COUNT.match(text)]
    if not counts:
        raise InputError(f"{name}: no line count=... before the timings; give the whole log")
    last = counts[-1]
    assert last is not None
    parts = dict(PART.findall(last[2]))
    if timing is not None and parts.get("avg", parts.get("curr")) != timing[1]:
        raise InputError(
            f"{name}: the last count= line has an average of {parts.get('avg', parts.get('curr'))} "
            f"us but the timings say {timing[1]} us; give the whole log of one run"
        )
    if int(last[1]) == 1:  # one run has no spread
        parts = dict.fromkeys(("min", "max", "avg", "median"), parts["curr"])
    figures = {key: _ms(parts[key], 1e-3) for key in parts}
    missing = [key for key in ("min", "max", "avg") if key not in figures]
    if missing:
        raise InputError(f"{name}: {missing[0]}= is missing in the last count= line; run it again")
    tool = "litert_benchmark_model" if litert else "tflite_benchmark_model"
    return _checked(
        Measurement(
            tool="tflite_benchmark_apk" if apk and not litert else tool,
            median_ms=figures.get("median"),
            mean_ms=figures["avg"],
            min_ms=figures["min"],
            max_ms=figures["max"],
            std_ms=figures.get("std"),
            p5_ms=figures.get("p5"),
            p90_ms=None,
            p95_ms=figures.get("p95"),
            runs=int(last[1]),
            threads=_one(THREADS, texts, name, int),
            graph=_one(GRAPH, texts, name) or _one(LOADED, texts, name),
        ),
        name,
    )


def _onnxruntime(lines: list[str], name: str) -> Measurement:
    texts = [plain(line) for line in lines]
    found = [match for match in map(ORT_LATENCY.match, texts) if match]
    latencies = {match[1]: _ms(match[2], 1e3) for match in found}
    means = [m for m in map(ORT_MEAN.match, texts) if m]
    runs = [m for m in map(ORT_RUNS.match, texts) if m]
    if len(means) > 1 or len(found) > len(latencies):
        raise InputError(f"{name}: more than one measurement, expected one; give a log each")
    needed = ("Min", "Max", "P50", "P90", "P95", "P99", "P999")
    if not means or not runs or any(key not in latencies for key in needed):
        raise InputError(
            f"{name}: no finished measurement: the latencies up to P999 are missing; run it again"
        )
    return _checked(
        Measurement(
            tool="onnxruntime_perf_test",
            median_ms=latencies["P50"],
            mean_ms=_ms(means[0][1], 1),
            min_ms=latencies["Min"],
            max_ms=latencies["Max"],
            std_ms=None,
            p5_ms=None,
            p90_ms=latencies["P90"],
            p95_ms=latencies["P95"],
            runs=int(runs[0][1]),
            threads=_one(ORT_THREADS, texts, name, int),
            graph=None,
        ),
        name,
    )


def _executorch(lines: list[str], name: str) -> Measurement:
    texts = [EXECUTOR.sub("", plain(line)) for line in lines]
    totals = [m for m in map(EXECUTED.match, texts) if m]
    if not totals:
        raise InputError(
            f"{name}: no finished measurement: no line `Model executed successfully`; run it again"
        )
    if len(totals) > 1:
        raise InputError(f"{name}: {len(totals)} measurements, expected one; give a log each")
    number, total = int(totals[0][1]), _ms(totals[0][2], 1)
    each = [(int(m[1]), int(m[2]), _ms(m[3], 1)) for m in map(ITERATION.match, texts) if m]
    times = [time for *_, time in each]
    if each and [(n, of) for n, of, _ in each] != [(n + 1, number) for n in range(number)]:
        raise InputError(
            f"{name}: {len(each)} lines `Iteration i of n` do not count to {number}; give the "
            "whole log"
        )
    if times and not math.isclose(sum(times), total, rel_tol=0.01, abs_tol=1e-3):
        raise InputError(
            f"{name}: the iterations sum to {sum(times):g} ms but the total says {total:g} ms"
        )
    if number < 1:
        raise InputError(f"{name}: {number} iterations, expected at least 1; run it again")
    return _checked(
        Measurement(
            tool="executor_runner",
            median_ms=statistics.median(times) if times else None,
            mean_ms=total / number,
            min_ms=min(times) if times else None,
            max_ms=max(times) if times else None,
            std_ms=None,
            p5_ms=None,
            p90_ms=None,
            p95_ms=None,
            runs=number,
            threads=None,
            graph=_one(MODEL_FILE, texts, name),
        ),
        name,
    )


def _ms(text: str, factor: float) -> float:
    """A number of a log in ms, without the dust of the multiplication."""
    return float(f"{float(text) * factor:.12g}")


def _one(
    pattern: re.Pattern[str], texts: list[str], name: str, convert: Callable[[str], Any] = str
) -> Any:
    """What a pattern finds, the same wherever it occurs; None where it does not."""
    found = {match[1] for match in map(pattern.match, texts) if match}
    if len(found) > 1:
        raise InputError(
            f"{name}: {' and '.join(sorted(found))} in one log, expected one; give a log each"
        )
    return convert(found.pop()) if found else None


def _checked(found: Measurement, name: str) -> Measurement:
    """Refuse figures that are out of order or not above 0."""
    order = [("min", found.min_ms), ("p5", found.p5_ms), ("median", found.median_ms)]
    order += [("p90", found.p90_ms), ("p95", found.p95_ms), ("max", found.max_ms)]
    known = [(key, value) for key, value in order if value is not None]
    for (low, less), (high, more) in itertools.pairwise(known):
        if less > more * (1 + 1e-9):
            raise InputError(f"{name}: {low} {less:g} ms is above {high} {more:g} ms; run it again")
    if not all(value > 0 for _, value in known) or found.runs < 1:
        raise InputError(f"{name}: times and runs must be above 0; run it again")
    return found


def _is_executorch(line: str) -> bool:
    return "executor_runner.cpp" in line or "Model executed successfully" in line


def _is_onnxruntime(line: str) -> bool:
    return bool(ORT_MEAN.match(line) or ORT_LATENCY.match(line) or ORT_RUNS.match(line))


def _is_tflite(line: str) -> bool:
    patterns = (COUNT, TIMINGS, OLD_TIMINGS, GRAPH, THREADS)
    return any(p.match(line) for p in patterns) or LITERT_BLOCK in line


READERS: list[tuple[Callable[[list[str], str], Measurement], Callable[[str], bool]]] = [
    (_executorch, _is_executorch),
    (_onnxruntime, _is_onnxruntime),
    (_tflite, _is_tflite),
]
