"""Read the logs of phone benchmark tools: one finished measurement each, all times in ms.

The units differ between tools and within one log; each format's are beside its patterns. A log is
read only if the line that its tool prints last is there, so a log that was cut off is refused.
"""

import json
import math
import re
import statistics
from collections.abc import Callable
from typing import Any

from autoprune.core.errors import InputError
from autoprune.phone.measurement import Figure, Measurement, in_ms, measurement

# What Android puts before a line: a date, year and zone or not, or seconds since 1970; then, by
# logcat's -v, threadtime, year, zone, epoch and uid: "24964 24964 I tflite  : ", brief and time:
# "I/tflite  (24964): ", tag: "I/tflite  : ", process: "I(24964) " and the tag behind the line,
# thread: "I(24964:24964) "; or Android Studio: "24964-24964  tflite  a.package  I  "
WHEN = r"(?:(?:(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\.\d+(?: [-+]\d{4})?|\d{9,}\.\d+)\s+(?:\w+\s+)?)?"
LOGCAT = re.compile(
    rf"^{WHEN}(?:\d+\s+\d+ [VDIWEF] (?P<tag>\w+) *: ?"
    r"|[VDIWEF]/(?P<short>\w+) *(?:\( *\d+\))? ?: ?"
    r"|\d+-\d+\s+(?P<studio>\w+)\s+\S+\s+[VDIWEF]\s+"
    r"|[VDIWEF]\( *\d+(?:: *\d+)?\) )"
)
BEHIND = re.compile(r"^(?P<text>[VDIWEF]\( *\d+\) .*)  \((?P<behind>\w+)\)$")  # of -v process
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
INFO = re.compile(r"^(?:INFO|VERBOSE): ")

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# TensorFlow Lite's Stat<int64_t>::OutputToStream, in microseconds; one value prints curr= alone
COUNT = re.compile(r"^count=(\d+) (.*)$")
PART = re.compile(rf"(\w+)=({NUMBER})(?= |$)")
# what benchmark_model prints last of a measurement, in microseconds; below, as until 2019
TIMINGS = re.compile(
    rf"^Inference timings in us: Init: (?P<init>{NUMBER}), First inference: (?P<first>{NUMBER}), "
    rf"Warmup \(avg\): {NUMBER}, Inference \(avg\): (?P<avg>{NUMBER})$"
)
OLD_TIMINGS = re.compile(
    rf"^Average inference timings in us: (?:Warmup: {NUMBER}, )?Init: (?P<init>{NUMBER}), "
    rf"(?:no stats|with stats): (?P<avg>{NUMBER})$"
)
LITERT_BLOCK = "BENCHMARK RESULTS"  # its times have two decimals of a ms: only this one is read
LITERT_INIT = re.compile(rf"^Model initialization: ({NUMBER}) ms$")
NODES = re.compile(r"^Replacing (\d+) out of (\d+) node\(s\) with delegate")
GRAPH = re.compile(r"^Graph: \[(.+)\]$")
LOADED = re.compile(r"^Loaded model (.+)$")
COMMA = re.compile(r"^(?:Inference|Average inference) timings in us: .*\d,\d")
BEGINS = re.compile(r"^(?:STARTING!|Min num runs: |Num threads: |Graph: |Loaded model )")
THREADS = re.compile(r"^(?:Num threads|#threads used for CPU inference): \[(\d+)\]$")

# onnxruntime_perf_test: the mean in ms, all percentiles in s
ORT_MEAN = re.compile(rf"^Average inference time cost(?: total)?: ({NUMBER}) ms$")  # until 1.16
ORT_RUNS = re.compile(r"^Total inference requests: (\d+)$")
ORT_FIRST = re.compile(rf"^First inference time cost: ({NUMBER}) ms$")
ORT_INIT = re.compile(rf"^Session creation time cost: ({NUMBER}) s$")
ORT_LATENCY = re.compile(rf"^(Min|Max|P50|P90|P95|P99|P999) Latency: ({NUMBER}) s$")
ORT_THREADS = re.compile(r"^Setting intra_op_num_threads to (\d+)$")

# executor_runner, all in ms; glog's head before the text
EXECUTOR = re.compile(r"^[IWEF] \d\d:\d\d:\d\d\.\d+ executorch:executor_runner\.cpp:\d+\] ")
ITERATION = re.compile(rf"^Iteration (\d+) of (\d+): ({NUMBER}) ms$")
EXECUTED = re.compile(rf"^Model executed successfully (\d+) time\(s\) in ({NUMBER}) ms\.$")
MODEL_FILE = re.compile(r"^Model file (.+) is loaded\.$")

# ExecuTorch's minibench writes a JSON list of metrics, those in ms named so
MINIBENCH = re.compile(r"\s*\[\s*(?:[\]{]|$)")  # which "[ 11-05 10:11" of logcat's -v long is not
MINIBENCH_MEAN = "avg_inference_latency(ms)"


def parse(text: str, name: str) -> Measurement:
    """The measurement of a log; ``name`` is the file's, for messages.

    Raises InputError for a log without a finished measurement, with two, that contradicts itself,
    or of a tool that is not known.
    """
    if MINIBENCH.match(text):
        return _minibench(text, name)
    lines = [COLOUR.sub("", line).strip() for line in text.split("\n")]
    for reader, known in READERS:
        if any(known(line) for line in map(plain, lines)):
            return reader(lines, name)
    raise InputError(
        f"{name}: no line of a known tool; expected a log of TFLite's or LiteRT's benchmark_model, "
        "onnxruntime_perf_test or executor_runner, from its start to its end, or minibench's "
        "benchmark_results.json"
    )


def plain(line: str) -> str:
    """A line without what logcat or the console put before it, or behind it."""
    return INFO.sub("", LOGCAT.sub("", BEHIND.sub(r"\g<text>", line)))


def _tflite(lines: list[str], name: str) -> Measurement:
    texts = [plain(line) for line in lines]
    tagged = [
        match for line in lines for match in (LOGCAT.match(line), BEHIND.match(line)) if match
    ]
    apk = any("tflite" in match.groups() for match in tagged)
    litert = any(LITERT_BLOCK in text for text in texts)
    ends = [
        (place, (TIMINGS.match(text) or OLD_TIMINGS.match(text)))
        for place, text in enumerate(texts)
        if TIMINGS.match(text) or OLD_TIMINGS.match(text) or LITERT_BLOCK in text
    ]
    if litert:  # both may be printed of one measurement: the block is the last
        ends = [end for end in ends if end[1] is None]
    if not ends and (comma := next(filter(COMMA.match, texts), None)):
        raise InputError(
            f"{name}: {comma[:60]!r}: found decimal commas, expected points; run it with LC_ALL=C"
        )
    if not ends:
        raise InputError(
            f"{name}: no finished measurement: the line of timings is missing; run again"
        )
    if len(ends) > 1:
        raise InputError(f"{name}: {len(ends)} measurements, expected one; give a log each")
    place, timing = ends[0]
    if any(BEGINS.match(text) for text in texts[place:]):
        raise InputError(
            f"{name}: behind the measurement another run begins, which has no end; give a log each"
        )
    counts = [COUNT.match(text) for text in texts[:place] if COUNT.match(text)]
    if not counts:
        raise InputError(f"{name}: no line count=... before the timings; give the whole log")
    last = counts[-1]
    assert last is not None
    parts = dict(PART.findall(last[2]))
    if timing is not None and parts.get("avg", parts.get("curr")) != timing["avg"]:
        raise InputError(
            f"{name}: the last count= line has an average of {parts.get('avg', parts.get('curr'))} "
            f"us but the timings say {timing['avg']} us; give the whole log of one run"
        )
    if int(last[1]) == 1:  # one run has no spread
        parts = dict.fromkeys(("min", "max", "avg", "median"), parts["curr"])
    missing = [key for key in ("min", "max", "avg") if key not in parts]
    if missing:
        raise InputError(f"{name}: {missing[0]}= is missing in the last count= line; run it again")
    kept = ("median", "min", "max", "std", "p5", "p95")
    figures = {key: in_ms(parts[key], 1e-3) for key in kept if key in parts}
    figures["mean"] = in_ms(parts["avg"], 1e-3)
    printed = timing.groupdict() if timing is not None else {}
    figures |= {key: in_ms(printed[key], 1e-3) for key in ("init", "first") if key in printed}
    if litert and (text := _one(LITERT_INIT, texts, name)):
        figures["init"] = in_ms(text, 1)
    nodes = [match for match in map(NODES.match, texts) if match]
    tool = "litert_benchmark_model" if litert else "tflite_benchmark_model"
    return measurement(
        name,
        figures,
        tool="tflite_benchmark_apk" if apk and not litert else tool,
        runs=int(last[1]),
        threads=_one(THREADS, texts, name, int),
        graph=_one(GRAPH, texts, name) or _one(LOADED, texts, name),
        warmup_runs=int(counts[-2][1]) if len(counts) > 1 else None,  # type: ignore[index]
        nodes=(int(nodes[0][1]), int(nodes[0][2])) if len(nodes) == 1 else None,
    )


def _onnxruntime(lines: list[str], name: str) -> Measurement:
    texts = [plain(line) for line in lines]
    found = [match for match in map(ORT_LATENCY.match, texts) if match]
    latencies = {match[1]: in_ms(match[2], 1e3) for match in found}
    means = [m for m in map(ORT_MEAN.match, texts) if m]
    runs = [m for m in map(ORT_RUNS.match, texts) if m]
    if len(means) > 1 or len(found) > len(latencies):
        raise InputError(f"{name}: more than one measurement, expected one; give a log each")
    needed = ("Min", "Max", "P50", "P90", "P95", "P99", "P999")
    if not means or not runs or any(key not in latencies for key in needed):
        raise InputError(
            f"{name}: no finished measurement: the latencies up to P999 are missing; run it again, "
            "with -s"
        )
    names = {"Min": "min", "Max": "max", "P50": "median", "P90": "p90", "P95": "p95", "P99": "p99"}
    figures = {names[key]: figure for key, figure in latencies.items() if key in names}
    first, init = _one(ORT_FIRST, texts, name), _one(ORT_INIT, texts, name)
    return measurement(
        name,
        {
            **figures,
            "mean": in_ms(means[0][1], 1),
            "first": in_ms(first, 1) if first else None,
            "init": in_ms(init, 1e3) if init else None,
        },
        tool="onnxruntime_perf_test",
        runs=int(runs[0][1]),
        threads=_one(ORT_THREADS, texts, name, int),
        graph=None,
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
    number, total = int(totals[0][1]), in_ms(totals[0][2], 1)
    each = [(int(m[1]), int(m[2]), in_ms(m[3], 1)) for m in map(ITERATION.match, texts) if m]
    times = [time.ms for *_, time in each]
    if each and [(n, of) for n, of, _ in each] != [(n + 1, number) for n in range(number)]:
        raise InputError(
            f"{name}: {len(each)} lines `Iteration i of n` do not count to {number}; give the "
            "whole log"
        )
    if times and not math.isclose(sum(times), total.ms, rel_tol=0.01, abs_tol=1e-3):
        raise InputError(
            f"{name}: the iterations sum to {sum(times):g} ms but the total says {total.ms:g} ms"
        )
    if number < 1:
        raise InputError(f"{name}: {number} iterations, expected at least 1; run it again")
    figures = {"mean": Figure(total.ms / number, total.step / number)}
    if times:
        step = max(time.step for *_, time in each)
        of_times = (("median", statistics.median), ("min", min), ("max", max))
        figures |= {key: Figure(of(times), step) for key, of in of_times}
    return measurement(
        name,
        figures,
        tool="executor_runner",
        runs=number,
        threads=None,
        graph=_one(MODEL_FILE, texts, name),
    )


def _minibench(text: str, name: str) -> Measurement:
    try:
        # numbers stay text: their digits say how finely they were written
        records = json.loads(text, parse_float=str, parse_int=str)
        found = [(record["metric"], record["actualValue"]) for record in records]
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{name}: not a whole benchmark_results.json of minibench; pull it again"
        ) from None
    metrics = {metric: value for metric, value in found if isinstance(value, str)}
    if len(found) > len({metric for metric, _ in found}):
        raise InputError(f"{name}: more than one measurement, expected one; give a log each")
    if MINIBENCH_MEAN not in metrics:
        raise InputError(f"{name}: no finished measurement: no {MINIBENCH_MEAN}; run it again")
    status = metrics.get("load_status", "missing")
    if not re.fullmatch(r"0(?:\.0*)?", status):
        raise InputError(f"{name}: load_status is {status}, expected 0; run it again")
    return measurement(
        name,
        # minibench's trimmed mean is no mean and no median: left where it is
        {"mean": in_ms(metrics[MINIBENCH_MEAN], 1)},
        tool="executorch_minibench",
        runs=None,
        threads=None,
        graph=None,
    )


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
