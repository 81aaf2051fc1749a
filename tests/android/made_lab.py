"""Result files of LiteRT's benchmark_model, encoded by hand after the published schema.

tflite/tools/benchmark/proto/benchmark_result.proto and
tflite/profiling/proto/model_runtime_info.proto of google-ai-edge/LiteRT at f677457: numbers of
fields as there, with fields that nobody here reads among them.
"""

import struct

TIMES = ("avg", "min", "max", "stddev", "median", "p5", "p95", "init", "first_inference", "warm_up")


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def whole(field, number):
    return varint(field << 3) + varint(number)


def real(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def inside(field, content):
    return varint(field << 3 | 2) + varint(len(content)) + content


def results(times, runs=200, warmup_runs=20, size_mb=None, without=()):
    """``times`` in ms by the names of TIMES."""
    latency = b"".join(
        real(number, times[name])
        for number, name in enumerate(TIMES, 1)
        if name in times and name not in without
    )
    memory = whole(1, 1234) + whole(2, 4321) + real(3, 0.0)
    misc = (real(1, size_mb) if size_mb else b"") + whole(2, runs) + whole(3, warmup_runs)
    return inside(2, latency) + inside(3, memory) + inside(4, misc + real(4, 57.5))


def times(median_us):
    """All times of a run, in ms, as ``made_sessions.tflite_log`` has them."""
    low, high = round(0.95 * median_us) / 1000, round(1.2 * median_us) / 1000
    mean = float(f"{1.01 * median_us:.6g}") / 1000
    found = {"median": median_us / 1000, "avg": mean, "min": low, "max": high, "stddev": 0.002}
    return found | {"p5": low, "p95": high, "init": 0.812, "first_inference": high, "warm_up": 3.0}


def runtime_info(total, taken, others=1):
    """Subgraph 0 of ``total`` nodes, some replaced by delegates: how many, by a delegate's name.

    Behind it ``others`` subgraphs, one of a delegate's own, which do not count.
    """
    first, edge = 0, inside(2, whole(1, 0) + inside(2, b"serving_default_args_0:0"))
    nodes = [whole(1, number) + inside(2, b"CONV_2D") + inside(4, b"\0") for number in range(total)]
    for number, (name, count) in enumerate(taken.items(), total):
        ids = b"".join(map(varint, range(first, first + count)))
        first += count
        details = inside(1, name.encode()) + inside(2, ids)
        nodes.append(whole(1, number) + inside(2, name.encode()) + inside(8, details))
    main = whole(1, 0) + edge + b"".join(inside(3, node) for node in nodes) + inside(4, b"\0\1")
    graphs = [main + whole(5, 1) + inside(6, b"main")]
    for number in range(1, others + 1):
        graphs.append(whole(1, number) + inside(3, whole(1, 0)) * 3 + whole(5, 1))
    graphs.append(whole(1, 0) + inside(3, whole(1, 0)) * 30 + whole(5, 2))
    return inside(1, b"a name") + b"".join(inside(2, graph) for graph in graphs)
