"""Logs of onnxruntime_perf_test: the mean in ms, all percentiles in s."""

import re
from collections.abc import Sequence

from autoprune.core.errors import InputError
from autoprune.phone import delegates
from autoprune.phone.lines import NUMBER, WHOLE, only, plain
from autoprune.phone.measurement import Measurement, in_ms, measurement

MEAN = re.compile(rf"^Average inference time cost(?: total)?: ({NUMBER}) ms$")  # until 1.16
RUNS = re.compile(rf"^Total inference requests: ({WHOLE})$")
FIRST = re.compile(rf"^First inference time cost: ({NUMBER}) ms$")
INIT = re.compile(rf"^Session creation time cost: ({NUMBER}) s$")
LATENCY = re.compile(rf"^(Min|Max|P50|P90|P95|P99|P999) Latency: ({NUMBER}) s$")
THREADS = re.compile(rf"^Setting intra_op_num_threads to ({WHOLE})$")


def known(text: str) -> bool:
    """Whether a plain line is this program's."""
    return bool(MEAN.match(text) or LATENCY.match(text) or RUNS.match(text))


def read(lines: Sequence[str], name: str) -> Measurement:
    """The measurement of a log's lines; raises InputError, naming the log, without just one."""
    texts = [plain(line) for line in lines]
    found = [match for match in map(LATENCY.match, texts) if match]
    latencies = {match[1]: in_ms(match[2], 1e3) for match in found}
    means = [m for m in map(MEAN.match, texts) if m]
    runs = [m for m in map(RUNS.match, texts) if m]
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
    first, init = only(FIRST, texts, name), only(INIT, texts, name)
    delegate, nodes = delegates.of_placements(texts)
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
        threads=only(THREADS, texts, name, int),
        graph=None,
        delegate=delegate,
        nodes=nodes,
    )
