"""Logs of TensorFlow Lite's and LiteRT's benchmark_model, the program and the app."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from autoprune.core.errors import InputError
from autoprune.phone import delegates
from autoprune.phone.lines import NUMBER, WHOLE, of_its_process, only, plain, tags
from autoprune.phone.measurement import Figure, Measurement, in_ms, measurement

# TensorFlow Lite's Stat<int64_t>::OutputToStream, in microseconds; one value prints curr= alone
COUNT = re.compile(rf"^count=({WHOLE}) (.*)$")
PART = re.compile(rf"\b(\w{{1,20}})=({NUMBER})(?= |$)")
# what benchmark_model prints last of a measurement, in microseconds; below, as until 2019
TIMINGS = re.compile(
    rf"^Inference timings in us: Init: (?P<init>{NUMBER}), First inference: (?P<first>{NUMBER}), "
    rf"Warmup \(avg\): {NUMBER}, Inference \(avg\): (?P<avg>{NUMBER})$"
)
OLD_TIMINGS = re.compile(
    rf"^Average inference timings in us: (?:Warmup: {NUMBER}, )?Init: (?P<init>{NUMBER}), "
    rf"(?:no stats|with stats): (?P<avg>{NUMBER})$"
)
# The block that LiteRT's CompiledModel prints behind them, in ms with two decimals, the number of
# runs behind an average: litert/tools/benchmark_litert_model.h at f677457
BLOCK = re.compile(r"^=+ BENCHMARK RESULTS =+$")
BLOCK_ENDS = re.compile(r"^={20,}$")
IN_BLOCK = re.compile(
    rf"^(Model initialization|Warmup \(first\)|Warmup \(avg\)|Inference \((?:avg|min|max|std)\)): +"
    rf"({NUMBER})(?: ms)?(?: \(({WHOLE}) runs\))?$"
)
BLOCK_NAMES = {
    **{"Model initialization": "init", "Warmup (first)": "first", "Inference (avg)": "mean"},
    **{"Inference (min)": "min", "Inference (max)": "max", "Inference (std)": "std"},
}
LEAST_STEPS = 50  # of the block's 0.01 ms in its mean: coarser says nothing of a speed-up

GRAPH = re.compile(r"^Graph: \[(.+)\]$")
LOADED = re.compile(r"^(?:Loaded model|Loading model from:) (.+)$")
COMMA = re.compile(r"^(?:Inference|Average inference) timings in us: .*\d,\d")
STARTING = re.compile(r"^STARTING!")
BEGINS = re.compile(
    r"^(?:STARTING!|Min num runs: |Num threads: |Graph: |Loaded model |Loading model )"
)
SIZE = re.compile(rf"^The input model file size \(MB\): ({NUMBER})$")
THREADS = re.compile(rf"^(?:Num threads|#threads used for CPU inference): \[({WHOLE})\]$")
KNOWN = (COUNT, TIMINGS, OLD_TIMINGS, GRAPH, THREADS, BLOCK)


class Counted(NamedTuple):
    """What stands before the end of a measurement: figures by name, numbers of runs."""

    figures: dict[str, Figure]
    runs: int
    warmup_runs: int | None


def known(text: str) -> bool:
    """Whether a plain line is one of these programs'."""
    return any(pattern.match(text) for pattern in KNOWN)


def read(lines: Sequence[str], name: str) -> Measurement:
    """The measurement of a log's lines; raises InputError, naming the log, without just one."""
    lines = of_its_process(lines, known)
    texts = [plain(line) for line in lines]
    place, timing = _end(texts, name)
    block = _block(texts, name)
    found = _counted(texts[:place], timing, name)
    if found is None:
        if block is None:
            raise InputError(f"{name}: no line count=... before the timings; give the whole log")
        found = _alone(block, name)
    elif block is not None:
        _same(found, block, name)
    extra: dict[str, Figure] = {}
    if block is not None:
        extra = {key: block.figures[key] for key in ("init", "first") if key in block.figures}
    printed = timing.groupdict() if timing is not None else {}
    extra |= {key: in_ms(printed[key], 1e-3) for key in ("init", "first") if key in printed}
    litert = any(BLOCK.match(text) for text in texts)
    apk = "tflite" in tags(lines) and not litert
    tool = "litert_benchmark_model" if litert else "tflite_benchmark_model"
    delegate, nodes = delegates.of_log(texts)
    size = only(SIZE, texts, name)
    return measurement(
        name,
        found.figures | extra,
        tool="tflite_benchmark_apk" if apk else tool,
        runs=found.runs,
        threads=only(THREADS, texts, name, int),
        graph=only(GRAPH, texts, name) or only(LOADED, texts, name),
        warmup_runs=found.warmup_runs,
        delegate=delegate,
        nodes=nodes,
        size_mb=in_ms(size, 1) if size else None,
    )


def _end(texts: Sequence[str], name: str) -> tuple[int, re.Match[str] | None]:
    """Where the one measurement ends, and its line of timings where it has one."""
    ends: list[tuple[int, re.Match[str] | None]] = []
    opened = False
    for place, text in enumerate(texts):
        timing = TIMINGS.match(text) or OLD_TIMINGS.match(text)
        if timing:
            ends.append((place, timing))
        elif BLOCK.match(text):
            opened = True
        elif opened and BLOCK_ENDS.match(text):
            opened = False
            before = ends[-1][0] if ends else 0
            # a block behind a line of timings is of the same measurement
            if not ends or any(COUNT.match(text) for text in texts[before:place]):
                ends.append((place, None))
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
    if any(BEGINS.match(text) for text in texts[ends[0][0] :]):
        raise InputError(
            f"{name}: behind the measurement another run begins, which has no end; give a log each"
        )
    if any(len(list(filter(begin.match, texts))) > 1 for begin in (STARTING, GRAPH, LOADED)):
        raise InputError(
            f"{name}: before the measurement another run begins, which has no end; give a log each"
        )
    return ends[0]


def _counted(texts: Sequence[str], timing: re.Match[str] | None, name: str) -> Counted | None:
    """The figures of the last line count=..., None without one."""
    counts = [match for match in map(COUNT.match, texts) if match]
    if not counts:
        return None
    last = counts[-1]
    parts = dict(PART.findall(last[2]))
    average = parts.get("avg", parts.get("curr"))
    if timing is not None and average != timing["avg"]:
        raise InputError(
            f"{name}: the last count= line has an average of {average} us but the timings say "
            f"{timing['avg']} us; give the whole log of one run"
        )
    if int(last[1]) == 1:  # one run has no spread
        parts = dict.fromkeys(("min", "max", "avg", "median"), parts["curr"])
    missing = [key for key in ("min", "max", "avg") if key not in parts]
    if missing:
        raise InputError(f"{name}: {missing[0]}= is missing in the last count= line; run it again")
    kept = ("median", "min", "max", "std", "p5", "p95")
    figures = {key: in_ms(parts[key], 1e-3) for key in kept if key in parts}
    figures["mean"] = in_ms(parts["avg"], 1e-3)
    return Counted(figures, int(last[1]), int(counts[-2][1]) if len(counts) > 1 else None)


def _block(texts: Sequence[str], name: str) -> Counted | None:
    """The figures of LiteRT's block, None without one; the last where it was printed twice."""
    starts = [place for place, text in enumerate(texts) if BLOCK.match(text)]
    if not starts:
        return None
    found = [match for match in map(IN_BLOCK.match, texts[starts[-1] :]) if match]
    figures = {BLOCK_NAMES[m[1]]: in_ms(m[2], 1) for m in found if m[1] in BLOCK_NAMES}
    runs = {match[1]: int(match[3]) for match in found if match[3]}
    if "Inference (avg)" not in runs:
        return None
    return Counted(figures, runs["Inference (avg)"], runs.get("Warmup (avg)"))


def _alone(block: Counted, name: str) -> Counted:
    """A block as all there is: InputError for times of which its two decimals say too little."""
    mean = block.figures["mean"]
    if mean.ms < LEAST_STEPS * mean.step:
        raise InputError(
            f"{name}: LiteRT's block alone, which has {mean.ms:g} ms in two decimals; give the "
            "whole log, with its lines count=..., or results.pb"
        )
    return block


def _same(found: Counted, block: Counted, name: str) -> None:
    """Refuse a block that is not of the runs that the line count=... is of."""
    for key in ("mean", "min", "max"):
        mine, other = found.figures.get(key), block.figures.get(key)
        if mine and other and abs(mine.ms - other.ms) > 0.501 * other.step + mine.step:
            raise InputError(
                f"{name}: LiteRT's block has a {key} of {other.ms:g} ms, the last count= line "
                f"{mine.ms:g} ms; give the whole log of one run"
            )
    if block.runs != found.runs:
        raise InputError(
            f"{name}: LiteRT's block has {block.runs} runs, the last count= line {found.runs}; "
            "give the whole log of one run"
        )
